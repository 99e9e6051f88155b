"""Self-MM: each modality learns a label of its own (Yu et al., AAAI 2021). In: a Batch. Out: predictions and losses.

A head reads the vectors of all modalities, and one head each reads one alone; what the latter learn are labels that
`parts.unimodal_labels` makes while the model trains. B samples, D width of a modality's vector, F of a head's feature,
K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec
from lacuna.data.samples import Sample
from lacuna.models.parts.reading import read
from lacuna.models.parts.subnets import Recurrent
from lacuna.models.parts.task import prediction, task_loss
from lacuna.models.parts.text import Finetune, Source, text_encoder_of
from lacuna.models.parts.unimodal_labels import Limits, UnimodalLabels, keys_of
from lacuna.types import MODALITIES, require_words

WHOLE = "M"  # all modalities together, beside the names of single ones
FIRST_OWN = 3  # the first epoch whose labels may differ from the clip's: they are made from epoch 2 on
WIDTHS = {"audio": 16, "vision": 32, "image": 32}
FEATURES = {WHOLE: 128, "text": 32} | WIDTHS
DROPOUT = {"text": 0.1, "audio": 0.1}
TextPool = Literal["mean", "cls"]
Labels = Literal["guarded", "published"]
Unimodal = Literal["wait", "always"]


@dataclass(frozen=True)
class Settings:
    """The architecture: MOSI's published one, with the errata mended. Widths and dropout are by modality."""

    encoder: Source = "embedded"  # of token ids: see TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on
    text_pool: TextPool = "mean"  # of the text's vector: over all positions, or cls, the first one (published)
    hidden: dict[str, int] = field(default_factory=WIDTHS.copy)  # of the LSTMs; SIMS vision 64
    outputs: dict[str, int] = field(default_factory=WIDTHS.copy)  # D, behind the LSTMs
    features: dict[str, int] = field(default_factory=FEATURES.copy)  # F, of each head; SIMS text 64
    dropout: dict[str, float] = field(default_factory=DROPOUT.copy)  # of heads; MOSEI {M: .1}
    labels: Labels = "guarded"  # kept while a sign has no clip, no ratio to almost 0; published: neither
    unimodal: Unimodal = "wait"  # no unimodal loss before labels differ; always: of 0, whose zero gradient Adam decays

    def __post_init__(self) -> None:
        require_words(self)


PUBLISHED = Settings(finetune=True, encoder="bert-base-uncased", text_pool="cls", labels="published", unimodal="always")
TRAINING = {
    "optimizer": "adamw",  # published: adam, whose decay is coupled to the gradient's scale
    "learning_rate": 1e-3,
    "encoder_learning_rate": 5e-5,
    "rates": {"sequences.": 5e-3},  # MOSEI vision 1e-4
    "weight_decay": 1e-3,
    "batch_size": 16,  # MOSEI and SIMS 32
    "accumulate": 4,
    "epochs": 100,
    "early_stop": 8,
    "pattern": "mixed",
}


class Head(nn.Module):
    """Dropout, linear, ReLU → the feature (B, F); linear, ReLU, linear → outputs (B, K)."""

    def __init__(self, width: int, size: int, outputs: int, rate: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(rate)
        self.first, self.second, self.out = nn.Linear(width, size), nn.Linear(size, size), nn.Linear(size, outputs)

    def forward(self, x_BD: Tensor) -> tuple[Tensor, Tensor]:
        feature_BF = F.relu(self.first(self.dropout(x_BD)))
        return self.out(F.relu(self.second(feature_BF))), feature_BF


class Model(nn.Module):
    """Self-MM over the modalities that `spec.widths` names."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        self.modalities = [m for m in MODALITIES if m in spec.widths]
        self.text_encoder, widths = text_encoder_of(spec, settings)
        sequences = [m for m in self.modalities if m != "text"]
        self.sequences = nn.ModuleDict(
            {m: Recurrent(widths[m], settings.hidden.get(m, 32), settings.outputs.get(m, 32), 0.0) for m in sequences}
        )
        widths |= {m: settings.outputs.get(m, 32) for m in sequences}
        widths = {WHOLE: sum(widths.values())} | {m: widths[m] for m in self.modalities}
        sizes = {name: settings.features.get(name, 32) for name in widths}
        self.heads = nn.ModuleDict(
            {
                name: Head(width, sizes[name], spec.classes or 1, settings.dropout.get(name, 0.0))
                for name, width in widths.items()
            }
        )
        # Classes have no sign, so no labels of one's own: single modalities learn the clip's.
        limits = Limits(spec.low, spec.high, settings.labels == "guarded")
        self.own_labels = None if spec.classes else UnimodalLabels(sizes, limits)

    def meet(self, samples: Sequence[Sample]) -> None:
        """Be told of the clips that will be trained on: each gets labels of its own."""
        if self.own_labels is not None:
            labels_N = torch.tensor([sample.clip.label for sample in samples])
            self.own_labels.meet([sample.clip.id for sample in samples], labels_N)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction, and `prediction_<modality>`, what each says alone."""
        outputs, _ = self.read(batch)
        told = {name: prediction(output_BK, self.spec.classes) for name, output_BK in outputs.items()}
        return {"prediction": told.pop(WHOLE)} | {f"prediction_{m}": value for m, value in told.items()}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Task + Σ_m unimodal loss; in evaluation mode the total is the task's alone."""
        outputs, features = self.read(batch)
        terms = {WHOLE: task_loss(outputs[WHOLE], batch.labels["M"], self.spec.classes, "l1")}
        if self.own_labels is None:
            single = {m: task_loss(outputs[m], batch.labels["M"], self.spec.classes, "l1") for m in self.modalities}
        else:
            row_B = self.own_labels.rows(all_rows(keys_of(batch.ids).to(batch.labels["M"].device)))
            single = self._unimodal(self.own_labels, outputs, row_B, batch)
            if self.training:
                self.own_labels.update(row_B, {name: all_rows(x_BF) for name, x_BF in features.items()}, epoch)
        waits = self.own_labels is not None and self.settings.unimodal == "wait" and epoch < FIRST_OWN
        total = terms[WHOLE] if waits or not self.training else terms[WHOLE] + sum(single.values())
        return {"loss": total, **terms, **single}

    def read(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Outputs (B, K) and features (B, F), of `M` and of each modality."""
        vectors = {m: self._vector(m, batch) for m in self.modalities}
        vectors = {WHOLE: torch.cat(list(vectors.values()), -1)} | vectors
        told = {name: self.heads[name](x_BD) for name, x_BD in vectors.items()}
        return {name: output for name, (output, _) in told.items()}, {
            name: feature for name, (_, feature) in told.items()
        }

    def _vector(self, m: str, batch: Batch) -> Tensor:
        frames = read(batch, m, self.text_encoder, self.spec, "masked")
        if m in self.sequences:
            return self.sequences[m](frames)
        if self.settings.text_pool == "cls":
            return frames.values_BTD[:, 0]
        return frames.values_BTD.sum(1) / frames.lengths_B[:, None]

    def _unimodal(
        self, own_labels: UnimodalLabels, outputs: dict[str, Tensor], row_B: Tensor, batch: Batch
    ) -> dict[str, Tensor]:
        """Mean tanh|y_m - y| · |ŷ_m - y_m| over the labelled clips that are trained on."""
        label_B = all_rows(batch.labels["M"])
        learnt_B = ~label_B.isnan() & own_labels.trained(row_B)
        terms = {}
        for m in self.modalities:
            own_B = torch.where(learnt_B, own_labels.of(m, row_B), 0)
            gap_B = torch.where(learnt_B, own_B - label_B, 0)
            error_B = (all_rows(outputs[m])[:, 0].float() - own_B).abs()
            terms[m] = (gap_B.abs().tanh() * error_B).sum() / learnt_B.sum().clamp(min=1)
        return terms
