"""TFN: tensor fusion (Zadeh et al., EMNLP 2017), as MMSA has it. In: a Batch. Out: predictions and losses.

One vector per modality, a constant 1 before each, and the outer product of all: every product of features of different
modalities is an input of its own. B samples, H width of a modality's vector, P width of the outer product, K outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.data.batches import InputSpec
from lacuna.models.parts import subnets

Limits = Literal["data", "published"]


@dataclass(frozen=True)
class Settings(subnets.Settings):
    """The architecture: MOSI's published one, with the errata mended."""

    fusion: int = 64  # width behind the outer product; MOSEI 16, SIMS 32
    fusion_dropout: float = 0.5  # MOSEI and SIMS .4
    limits: Limits = "data"  # of a score: those of the data set's labels, or ±3 for all (published)


PUBLISHED = Settings(
    encoder="bert-base-uncased",
    finetune=False,
    # Text has a rate too, given to an LSTM of one layer, which has no place for it.
    dropout={"text": 0.0, "audio": 0.3, "vision": 0.3},
    limits="published",
    padding="read",
)
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 1e-3,  # MOSEI 5e-3, SIMS 5e-4
    "batch_size": 32,
    "epochs": 100,
    "early_stop": 8,
    "pattern": "mixed",
}


class Model(subnets.VectorModel):
    """TFN over the modalities that `spec.widths` names."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__(settings, spec)
        product = math.prod(1 + settings.width(m) for m in self.modalities)
        self.dropout = nn.Dropout(settings.fusion_dropout)
        self.first, self.second = nn.Linear(product, settings.fusion), nn.Linear(settings.fusion, settings.fusion)
        self.out = nn.Linear(settings.fusion, spec.classes or 1)
        self.low, self.high = (-3.0, 3.0) if settings.limits == "published" else (spec.low, spec.high)

    def outputs(self, vectors: dict[str, Tensor]) -> Tensor:
        """Logits (B, classes), or scores (B, 1) within their limits."""
        product_BP = tensor_product([vectors[m] for m in self.modalities])
        output_BK = self.out(F.relu(self.second(F.relu(self.first(self.dropout(product_BP))))))
        return output_BK if self.spec.classes else self.low + (self.high - self.low) * output_BK.sigmoid()


def tensor_product(vectors: list[Tensor]) -> Tensor:
    """(B, P): the outer product of [1 ; x] over all vectors, the last one's index running fastest."""
    product_BP, *others = (F.pad(x_BH, (1, 0), value=1.0) for x_BH in vectors)
    for x_BH in others:
        product_BP = torch.einsum("bp,bh->bph", product_BP, x_BH).flatten(1)
    return product_BP
