"""RCML (Xu et al., AAAI 2024): each view gives evidence, opinions are averaged, conflict between views is minimised.

In: any modalities, one vector each (sequences are averaged over their frames). Out: expected class probabilities,
uncertainty, the degree of conflict and each view's evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts import evidence as ev
from lacuna.models.parts.text import Finetune, Source, text_encoder_of
from lacuna.types import require_words


@dataclass(frozen=True)
class Settings:
    """The collectors, how their opinions are fused, and the weights of the loss."""

    hidden: (
        tuple[int, ...] | dict[str, tuple[int, ...]]
    ) = ()  # widths within a collector (of each view); published: none
    dropout: float = 0.1  # between hidden layers
    fusion: ev.Fusion = (
        "mean"  # mean | sequential, the published code's, where the order of the views changes their weights
    )
    unseen: ev.Unseen = (
        "vacuous"  # a lost view gives no evidence; `read`: its zeros are read as the published code would
    )
    form: ev.Form = "digamma"  # of the evidential loss: digamma | log | mse
    annealing: int = 50  # epochs until the KL term has its full weight
    conflict: float = 1.0  # γ
    unimodal_labels: bool = False  # views learn their own labels (T, A, V) where the data has them
    encoder: Source = "embedded"  # of token ids: see layers.TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on

    def __post_init__(self) -> None:
        require_words(self)


PUBLISHED = Settings(finetune=True, fusion="sequential", unseen="read")
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 3e-3,
    "weight_decay": 1e-5,
    "batch_size": 200,
    "epochs": 500,
    "pattern": "mixed",
}


class Model(nn.Module):
    """An evidence collector per view and their average."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        classes = ev.require_classes(spec, "rcml")
        self.names = sorted(spec.widths)  # so that a model read back has its views in the same order
        self.text_encoder, widths = text_encoder_of(spec, settings)
        self.settings = settings
        self.collectors = nn.ModuleDict(
            {n: ev.collector((widths[n], *self._hidden(n)), classes, settings.dropout) for n in self.names}
        )

    def _hidden(self, name: str) -> tuple[int, ...]:
        hidden = self.settings.hidden
        return tuple(hidden.get(name, ())) if isinstance(hidden, dict) else hidden

    def evidence(self, batch: Batch) -> Tensor:
        """Evidence of each view, (V, B, K)."""
        vectors, seen_VB = ev.view_vectors(batch, self.names, self.text_encoder)
        collected = [collect(x_BD) for collect, x_BD in zip(self.collectors.values(), vectors)]
        return ev.without_unseen(torch.stack(collected).float(), seen_VB, self.settings.unseen)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`prediction` (B, K), `uncertainty` (B,), `conflict` (B,) and `evidence_<view>` (B, K)."""
        evidence_VBK = self.evidence(batch)
        fused_BK = ev.fuse(evidence_VBK, self.settings.fusion)
        told = {
            "prediction": ev.expected(fused_BK),
            "uncertainty": ev.uncertainty(fused_BK),
            "conflict": ev.conflict(evidence_VBK),
        }
        return told | {f"evidence_{name}": evidence for name, evidence in zip(self.names, evidence_VBK)}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Mean evidential loss of the views and of the fused opinion, plus γ · conflict (RCML eq. 13-14).

        In evaluation mode the total is the cross-entropy of the fused opinion's expected probabilities alone.
        """
        evidence_VBK = self.evidence(batch)
        targets = ev.targets(batch, self.names, self.settings.unimodal_labels)
        # Out of training the KL term has its full weight, so that epochs can be compared.
        kl_weight = ev.annealing(epoch, self.settings.annealing) if self.training else 1.0
        evidence_VBK, targets = all_rows(evidence_VBK, 1), all_rows(targets, 1)
        terms = total_loss(evidence_VBK, targets, self.settings, kl_weight)
        terms["task"] = ev.task_loss(ev.fuse(evidence_VBK, self.settings.fusion), targets[-1])
        return terms if self.training else terms | {"loss": terms["task"]}


def total_loss(evidence_VBK: Tensor, target_VB: Tensor, settings: Settings, kl_weight: float) -> dict[str, Tensor]:
    """The loss of V views' evidence for (V + 1, B) targets, the last of which is the fused opinion's."""
    opinions = torch.cat([evidence_VBK, ev.fuse(evidence_VBK, settings.fusion)[None]])
    evidential = ev.edl_loss(opinions, target_VB, settings.form, kl_weight).mean()
    conflict = ev.conflict(evidence_VBK).mean()
    return {"loss": evidential + settings.conflict * conflict, "evidential": evidential, "conflict": conflict}
