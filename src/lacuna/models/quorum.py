"""Quorum: one expert a modality, each with a precision that is 0 where it saw nothing. In: any modalities. Out: a
score with its variance, or a class.

Ours. Each modality is pooled over what was seen of it, with the evidence of how much that is; a small recurrence over
sixteenths of the clip adds what a mean does not tell of sound and faces: how they went. An expert gives a mean μ_m and,
from the evidence, a precision λ_m; the answer is (λ_0 μ_0 + Σ λ_m μ_m) / (λ_0 + Σ λ_m), the product of Gaussian experts
and a learnt prior, of variance 1 / (λ_0 + Σ λ_m). Who saw nothing abstains, and where all is lost the prior answers.
B samples, D columns, E columns of evidence, W windows, M modalities, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts.pooled import EVIDENCE, Pooled, pooled, windows
from lacuna.models.parts.task import ordered
from lacuna.models.parts.terms import cross_entropy, mean_of_known, squared_error
from lacuna.models.parts.text import Finetune, Source, text_encoder_of
from lacuna.types import MalformedInput, require_words

Precision = Literal["evidence", "columns"]
SEQUENCES = ("audio", "vision", "image")
MANY_CLIPS = 500  # from as many on, experts have a hidden layer unless told otherwise


@dataclass(frozen=True)
class Settings:
    """The experts, and how the loss weighs the error against its stated variance."""

    hidden: int | Literal["auto"] = "auto"  # width of an expert's hidden layer; 0: linear; auto: 32 from 500 clips on
    dropout: float = 0.2  # of an expert's input, column by column
    precision: Precision = "evidence"  # what it reads: the evidence alone, or the columns too
    deviations: bool = False  # read beside the means
    recurrent: tuple[str, ...] = ("audio", "vision")  # whose course is read too, where a clip has more than one frame
    units: int = 16  # of the recurrence that reads it, in each direction
    variance_weight: float = 0.5  # w: of the Gaussian likelihood; 1 - w of the squared error; both halved
    expert_weight: float = 0.0  # of each expert's own squared error, where it saw anything
    encoder: Source = "embedded"  # of token ids: see layers.TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on

    def __post_init__(self) -> None:
        require_words(self)
        if unknown := set(self.recurrent) - set(SEQUENCES):
            raise MalformedInput(f"quorum.recurrent: expected some of {', '.join(SEQUENCES)}; got {sorted(unknown)}")
        if not 0 <= self.variance_weight <= 1:
            raise MalformedInput(f"quorum.variance_weight: expected 0 to 1, got {self.variance_weight}")


PUBLISHED = Settings()
TRAINING = {
    "optimizer": "adamw",
    "learning_rate": 5e-3,
    "weight_decay": 1e-2,
    "batch_size": 32,
    "epochs": 60,
    "schedule": "warmup_cosine",
    "early_stop": 20,
    "average": 0.98,
    "select": "main",
    "pattern": "mixed",
}


class Course(nn.Module):
    """How a modality goes through a clip: its windows (B, W, D) → (B, 2 units), zero where nothing was seen."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.recurrence = nn.GRU(width, units, batch_first=True, bidirectional=True)

    def forward(self, x_BWD: Tensor, seen_BW: Tensor) -> Tensor:
        seen_BW1 = seen_BW[..., None].to(x_BWD.dtype)
        said_BWU = self.recurrence(self.norm(x_BWD) * seen_BW1)[0]
        return (said_BWU * seen_BW1).sum(1) / seen_BW1.sum(1).clamp(min=1)


class Expert(nn.Module):
    """Pooled columns (B, D) and evidence (B, E) → mean (B, K) and precision (B,)."""

    def __init__(self, width: int, hidden: int, settings: Settings, outputs: int) -> None:
        super().__init__()
        self.norm, self.dropout, self.settings = nn.LayerNorm(width), nn.Dropout(settings.dropout), settings
        last = nn.Linear(hidden or width + EVIDENCE, outputs)
        between = [nn.Linear(width + EVIDENCE, hidden), nn.GELU(), nn.Dropout(settings.dropout)] if hidden else []
        self.mean = nn.Sequential(*between, last)
        read = EVIDENCE + (width if settings.precision == "columns" else 0)
        first, final = nn.Linear(read, 8), nn.Linear(8, 1)
        self.precision = nn.Sequential(first, nn.GELU(), final)
        for layer in (last, final):
            nn.init.zeros_(layer.weight)  # all begin with one opinion, held alike by all

    def forward(self, told: Pooled, *course_BU: Tensor) -> tuple[Tensor, Tensor]:
        x_BD = [told.mean_BD, told.deviation_BD] if self.settings.deviations else [told.mean_BD]
        columns_BD = torch.cat([self.dropout(self.norm(torch.cat([*x_BD, *course_BU], 1))), told.evidence_BE], 1)
        read_BE = columns_BD if self.settings.precision == "columns" else told.evidence_BE
        return self.mean(columns_BD), F.softplus(self.precision(read_BE)[:, 0]) * told.seen_B


class Model(nn.Module):
    """Quorum over the modalities that `spec.widths` names."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.modalities = ordered(spec)
        self.text_encoder, widths = text_encoder_of(spec, settings)
        outputs, hidden = spec.classes or 1, settings.hidden
        if hidden == "auto":
            hidden = 32 if spec.clips >= MANY_CLIPS else 0
        parts, told = 2 if settings.deviations else 1, 2 * settings.units
        read = [m for m in self.modalities if m in settings.recurrent and spec.lengths[m] > 1]
        self.courses = nn.ModuleDict({m: Course(widths[m], settings.units) for m in read})
        columns = {m: widths[m] * parts + told * (m in read) for m in self.modalities}
        self.experts = nn.ModuleDict({m: Expert(columns[m], hidden, settings, outputs) for m in self.modalities})
        self.prior_mean_K = nn.Parameter(torch.zeros(outputs))
        self.prior_precision = nn.Parameter(torch.zeros(()))  # before softplus

    def opinions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Means (M + 1, B, K) and precisions (M + 1, B), the prior's last."""
        told = [self._opinion(batch, m) for m in self.modalities]
        means, precisions = [mean_BK for mean_BK, _ in told], [precision_B for _, precision_B in told]
        means.append(self.prior_mean_K.expand_as(means[0]))
        precisions.append(F.softplus(self.prior_precision).expand_as(precisions[0]) + 1e-3)
        return torch.stack(means).float(), torch.stack(precisions).float()

    def _opinion(self, batch: Batch, modality: str) -> tuple[Tensor, Tensor]:
        course = [self.courses[modality](*windows(batch[modality]))] if modality in self.courses else []
        return self.experts[modality](pooled(batch, modality, self.text_encoder), *course)

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
        mean_MBK, precision_MB = (all_rows(part, 1) for part in self.opinions(batch))
        label_B = all_rows(batch.labels["M"])
        output_BK, total_B = _fused(mean_MBK, precision_MB)
        if self.spec.classes:
            return {"loss": mean_of_known(cross_entropy(output_BK, label_B), label_B)}
        error_B = squared_error(output_BK[:, 0], label_B)
        likelihood = mean_of_known(error_B * total_B - total_B.log(), label_B)
        s, terms = self.settings, {"task": mean_of_known(error_B, label_B), "likelihood": likelihood}
        total = (1 - s.variance_weight) * terms["task"] + s.variance_weight * likelihood / 2
        if s.expert_weight:
            seen_MB = (precision_MB[:-1] > 0) & ~label_B.isnan()
            own_MB = (mean_MBK[:-1, :, 0] - label_B.nan_to_num()).square() * seen_MB
            terms["experts"] = own_MB.sum() / seen_MB.sum().clamp(min=1)
            total = total + s.expert_weight * terms["experts"]
        return {"loss": total if self.training else terms["task"], **terms}


def _fused(mean_MBK: Tensor, precision_MB: Tensor) -> tuple[Tensor, Tensor]:
    """The precision-weighted mean (B, K), and the sum of precisions (B,)."""
    total_B = precision_MB.sum(0)
    return (mean_MBK * precision_MB[..., None]).sum(0) / total_B[:, None], total_B
