"""Ridge regression on pooled features, the baseline of every table. In: any modalities. Out: a class or a score.

Each modality is its mean over what was seen, with missing indicators: the share seen, whether all is
lost, and how many frames are left. Solved in closed form from clips masked anew `epochs` times; the penalty is the best
on the validation split under the same losses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts.pooled import EVIDENCE, pooled
from lacuna.models.parts.task import ordered
from lacuna.models.parts.terms import mean_of_known, squared_error
from lacuna.models.parts.text import Finetune, Source, text_encoder_of
from lacuna.types import MalformedInput

LEAST = 1e-9  # probability, so that no logarithm is infinite
PENALTIES = tuple(10 ** (k / 2) for k in range(-6, 9))  # of columns with a variance of 1, per clip


@dataclass(frozen=True)
class Settings:
    """What a modality is pooled to, and what encodes token ids."""

    deviations: bool = False  # of audio and vision too, beside their means (docs/results.md)
    encoder: Source = "embedded"  # of token ids: see layers.TextEncoder
    finetune: Finetune = False  # nothing is tuned: the solution is linear

    def __post_init__(self) -> None:
        if self.finetune is True:
            raise MalformedInput("ridge.finetune: expected false (a linear solution tunes no encoder), got true")


PUBLISHED = Settings()
TRAINING = {"batch_size": 64, "epochs": 10, "pattern": "mixed"}


class Model(nn.Module):
    """A linear layer over standardised columns, whose weights `solve` finds."""

    mean_D: Tensor
    scale_D: Tensor

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.modalities = ordered(spec)
        self.text_encoder, widths = text_encoder_of(spec, settings)
        parts = {m: 2 if settings.deviations and m != "text" else 1 for m in self.modalities}
        columns = sum(widths[m] * parts[m] + EVIDENCE for m in self.modalities)
        self.linear = nn.Linear(columns, spec.classes or 1)
        self.register_buffer("mean_D", torch.zeros(columns))
        self.register_buffer("scale_D", torch.ones(columns))

    def columns(self, batch: Batch) -> Tensor:
        """(B, D): means, deviations and evidence of each modality."""
        parts = []
        for m in self.modalities:
            told = pooled(batch, m, self.text_encoder)
            vectors = [told.mean_BD, told.deviation_BD] if self.settings.deviations and m != "text" else [told.mean_BD]
            parts += [*vectors, told.evidence_BE]
        return torch.cat(parts, 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """{"prediction": (B,) score or (B, classes) probabilities}."""
        output_BK = self._output(batch)
        return {"prediction": _probabilities(output_BK) if self.spec.classes else output_BK[:, 0]}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Squared error, or cross-entropy, over the samples that have a label."""
        output_BK, label_B = all_rows(self._output(batch)), all_rows(batch.labels["M"])
        if self.spec.classes:
            told_BK = _probabilities(output_BK).clamp(min=LEAST).log()
            error_B = F.nll_loss(told_BK, label_B.nan_to_num().long(), reduction="none")
        else:
            error_B = squared_error(output_BK[:, 0], label_B)
        return {"loss": mean_of_known(error_B, label_B)}

    def _output(self, batch: Batch) -> Tensor:
        return self.linear((self.columns(batch) - self.mean_D) / self.scale_D)

    @torch.no_grad()
    def solve(self, train: Iterable[Batch], valid: Iterable[Batch]) -> None:
        """The weights of the penalty that is best on `valid`, of those that fit `train`; float64, in closed form."""
        self.eval()
        x_ND, y_NK = self._table(train)
        asked_MD, wanted_MK = self._table(valid)
        mean_D, spread_D = x_ND.mean(0), x_ND.std(0)
        scale_D = torch.where(spread_D > 1e-6 * (1 + mean_D.abs()), spread_D, 1)
        x_ND, asked_MD, mean_K = (x_ND - mean_D) / scale_D, (asked_MD - mean_D) / scale_D, y_NK.mean(0)
        values_D, vectors_DD = torch.linalg.eigh(x_ND.T @ x_ND / len(x_ND))
        target_DK = vectors_DD.T @ (x_ND.T @ (y_NK - mean_K)) / len(x_ND)
        weights = [vectors_DD @ (target_DK / (values_D.clamp(min=0)[:, None] + p)) for p in PENALTIES]
        errors = [float((asked_MD @ w_DK + mean_K - wanted_MK).square().mean()) for w_DK in weights]
        best_DK = weights[errors.index(min(errors))]
        self.linear.weight.copy_(best_DK.T)
        self.linear.bias.copy_(mean_K)
        self.mean_D.copy_(mean_D)
        self.scale_D.copy_(scale_D)

    def _table(self, batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
        """Columns (N, D) and wanted outputs (N, K) of the samples that have a label, float64."""
        rows, wanted = [], []
        for batch in batches:
            known_B, label_B = ~batch.labels["M"].isnan(), batch.labels["M"]
            rows.append(self.columns(batch)[known_B].double())
            wanted.append(label_B[known_B])
        label_N = torch.cat(wanted)
        if self.spec.classes:
            return torch.cat(rows), F.one_hot(label_N.long(), self.spec.classes).double()
        return torch.cat(rows), label_N[:, None].double()


def _probabilities(output_BK: Tensor) -> Tensor:
    """Outputs that were fitted to 0 and 1 as probabilities: cut at 0 (but for a rest) and divided by their sum."""
    cut_BK = output_BK.float().clamp(min=1e-3)
    return cut_BK / cut_BK.sum(1, keepdim=True)
