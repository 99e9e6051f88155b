"""LMF: low-rank multimodal fusion (Liu et al., ACL 2018), as MMSA has it. In: a Batch. Out: predictions and losses.

TFN's outer product is never made: the weights behind it are a sum of R products of one factor a modality. B samples,
H width of a modality's vector, R rank, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.data.batches import InputSpec
from lacuna.models.parts import subnets

HIDDEN = {"text": 128, "audio": 16, "vision": 128, "image": 16}
Rank = Literal["learnt", "drawn"]


@dataclass(frozen=True)
class Settings(subnets.Settings):
    """The architecture: MOSI's published one, with the errata mended."""

    hidden: dict[str, int] = field(default_factory=HIDDEN.copy)  # of the sub-networks; SIMS text 64, vision 64
    text_out: int = 64  # width of the text's vector, half of its hidden one
    dropout: dict[str, float] = field(default_factory=subnets.DROPOUT.copy)  # MOSEI and SIMS .2
    rank: int = 3  # R; MOSEI and SIMS 4
    rank_weights: Rank = "learnt"  # or drawn once and never trained, nor the bias (published)


PUBLISHED = Settings(
    encoder="bert-base-uncased",
    finetune=False,
    # Text has a rate too, given to an LSTM of one layer, which has no place for it.
    dropout={"text": 0.0, "audio": 0.3, "vision": 0.3},
    rank_weights="drawn",
    padding="read",
)
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 1e-3,  # SIMS 2e-3, and `rates: {fusion.: 5e-4}`
    "weight_decay": 5e-3,  # MOSEI 1e-3
    "batch_size": 64,
    "epochs": 100,
    "early_stop": 8,
    "pattern": "mixed",
}


class LowRank(nn.Module):
    """Σ_r w_r Π_m ([1 ; x_m] · factor_m,r) + bias: low-rank fusion, with learnt weights w where the paper has ones."""

    def __init__(self, widths: dict[str, int], rank: int, outputs: int) -> None:
        super().__init__()
        self.factors = nn.ParameterDict({m: torch.empty(rank, 1 + width, outputs) for m, width in widths.items()})
        self.weights, self.bias = nn.Parameter(torch.empty(1, rank)), nn.Parameter(torch.zeros(1, outputs))
        for weight in (*self.factors.values(), self.weights):
            nn.init.xavier_normal_(weight)

    def forward(self, vectors: dict[str, Tensor]) -> Tensor:
        """(B, K)."""
        product_RBK: Tensor | float = 1.0
        for m, factor_RHK in self.factors.items():
            product_RBK = product_RBK * (F.pad(vectors[m], (1, 0), value=1.0) @ factor_RHK)
        return torch.einsum("r,rbk->bk", self.weights[0], product_RBK) + self.bias


class Model(subnets.VectorModel):
    """LMF over the modalities that `spec.widths` names."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__(settings, spec)
        widths = {m: settings.width(m) for m in self.modalities}
        self.fusion = LowRank(widths, settings.rank, spec.classes or 1)
        for never_trained in (self.fusion.weights, self.fusion.bias):
            never_trained.requires_grad_(settings.rank_weights == "learnt")

    def outputs(self, vectors: dict[str, Tensor]) -> Tensor:
        """Logits (B, classes), or scores (B, 1)."""
        return self.fusion(vectors)
