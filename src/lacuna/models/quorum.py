"""Quorum: one expert a modality, each with a precision that is 0 where it saw nothing. In: any modalities. Out: a
score with its variance, or a class.

Ours. Each modality is pooled over what was seen of it, with the evidence of how much that is. Its expert gives a mean
μ_m and a precision λ_m; the answer is (λ_0 μ_0 + Σ λ_m μ_m) / (λ_0 + Σ λ_m), the product of Gaussian experts and a
learnt prior, of variance 1 / (λ_0 + Σ λ_m). Who saw nothing abstains, and where all are lost the prior answers.
B samples, D columns, M modalities, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts.pooled import EVIDENCE, pooled
from lacuna.models.parts.text import Finetune, Source, text_encoder_of
from lacuna.types import MODALITIES


@dataclass(frozen=True)
class Settings:
    """The experts, and how the loss weighs the error against its stated variance."""

    hidden: int = 32  # width of an expert's hidden layer; 0: linear
    dropout: float = 0.3  # of an expert's input, column by column
    deviations: bool = False  # of audio and vision too, beside their means
    variance_weight: float = 0.5  # w: of the Gaussian likelihood; 1 - w of the squared error; both halved
    expert_weight: float = 0.0  # of each expert's own squared error, where it saw anything
    encoder: Source = "embedded"  # of token ids: see layers.TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 500 clips on


PUBLISHED = Settings()
TRAINING = {
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 1e-2,
    "batch_size": 32,
    "epochs": 60,
    "schedule": "warmup_cosine",
    "average": 0.98,
    "pattern": "mixed",
}


class Expert(nn.Module):
    """Pooled columns and evidence (B, D + E) → mean (B, K) and log precision (B,)."""

    def __init__(self, width: int, settings: Settings, outputs: int) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(settings.dropout)
        inner = settings.hidden or outputs + 1
        self.first = nn.Linear(width + EVIDENCE, inner)
        self.second = nn.Sequential(nn.GELU(), nn.Linear(inner, outputs + 1)) if settings.hidden else nn.Identity()

    def forward(self, x_BD: Tensor, evidence_BE: Tensor) -> tuple[Tensor, Tensor]:
        told_BK = self.second(self.first(torch.cat([self.dropout(self.norm(x_BD)), evidence_BE], 1)))
        return told_BK[:, :-1], told_BK[:, -1]


class Model(nn.Module):
    """Quorum over the modalities that `spec.widths` names."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.modalities = sorted(spec.widths, key=lambda m: (m not in MODALITIES, m))
        self.text_encoder, widths = text_encoder_of(spec, settings)
        outputs = spec.classes or 1
        parts = {m: 2 if settings.deviations and m != "text" else 1 for m in self.modalities}
        self.experts = nn.ModuleDict({m: Expert(widths[m] * parts[m], settings, outputs) for m in self.modalities})
        self.prior_mean_K = nn.Parameter(torch.zeros(outputs))
        self.prior_precision = nn.Parameter(torch.zeros(()))  # before softplus

    def opinions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Means (M + 1, B, K) and precisions (M + 1, B), the prior's last."""
        means, precisions = [], []
        for m, expert in self.experts.items():
            told = pooled(batch, m, self.text_encoder)
            vectors = [told.mean_BD, told.deviation_BD] if self.settings.deviations and m != "text" else [told.mean_BD]
            mean_BK, logit_B = expert(torch.cat(vectors, 1), told.evidence_BE)
            means.append(mean_BK)
            precisions.append(F.softplus(logit_B) * told.seen_B)
        means.append(self.prior_mean_K.expand_as(means[0]))
        precisions.append(F.softplus(self.prior_precision).expand_as(precisions[0]) + 1e-3)
        return torch.stack(means).float(), torch.stack(precisions).float()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`prediction`; of scores also `variance` (B,); and `weight_<modality>` (B,), each expert's share."""
        mean_MBK, precision_MB = self.opinions(batch)
        output_BK, total_B = _fused(mean_MBK, precision_MB)
        if self.spec.classes:
            told = {"prediction": output_BK.softmax(-1)}
        else:
            told = {"prediction": output_BK[:, 0], "variance": 1 / total_B}
        return told | {f"weight_{m}": share_B for m, share_B in zip(self.modalities, precision_MB / total_B)}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """½ e² weighed against ¼ (e²/v + log v); or cross-entropy. In evaluation mode the squared error alone."""
        opinions = self.opinions(batch)
        mean_MBK, precision_MB = (all_rows(part, 1) for part in opinions)
        label_B = all_rows(batch.labels["M"])
        known_B = ~label_B.isnan()
        if not known_B.any():
            return {"loss": sum(part.sum() for part in opinions) * 0}
        mean_MBK, precision_MB, label_B = mean_MBK[:, known_B], precision_MB[:, known_B], label_B[known_B]
        output_BK, total_B = _fused(mean_MBK, precision_MB)
        if self.spec.classes:
            return {"loss": F.cross_entropy(output_BK, label_B.long())}
        error_B = (output_BK[:, 0] - label_B).square()
        likelihood = (error_B * total_B - total_B.log()).mean()
        s, terms = self.settings, {"task": error_B.mean(), "likelihood": likelihood}
        total = (1 - s.variance_weight) * terms["task"] + s.variance_weight * likelihood / 2
        if s.expert_weight:
            seen_MB = precision_MB[:-1] > 0
            own_MB = (mean_MBK[:-1, :, 0] - label_B).square() * seen_MB
            terms["experts"] = own_MB.sum() / seen_MB.sum().clamp(min=1)
            total = total + s.expert_weight * terms["experts"]
        return {"loss": total if self.training else terms["task"], **terms}


def _fused(mean_MBK: Tensor, precision_MB: Tensor) -> tuple[Tensor, Tensor]:
    """The precision-weighted mean (B, K), and the sum of precisions (B,)."""
    total_B = precision_MB.sum(0)
    return (mean_MBK * precision_MB[..., None]).sum(0) / total_B[:, None], total_B
