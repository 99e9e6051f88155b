"""Gated fusion: one modality's sigmoid lets the others through. In: any modalities. Out: a class or a score.

output = W(σ(W_g g) ⊙ Σ W_m x_m), g the modality of the gate: `x_gate` of the published code is `gate`. Alone, a
modality is gated by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lacuna.batches import Batch, InputSpec
from lacuna.layers import Source
from lacuna.models import _image_text as parts
from lacuna.types import MODALITIES, MalformedInput


@dataclass(frozen=True)
class Settings:
    """Whose gate it is, the width, how the text becomes a vector, and the loss."""

    gate: str = "image"  # or text, audio, vision; one that the data lack leaves the gate to the last they have
    size: int = 512
    dropout: float = 0.3
    text_pool: parts.Pool = "mean"  # cls: the first position (published)
    balance: parts.Balance = "weights"  # of unequal classes: none (published) | weights | focal
    encoder: Source = "embedded"  # of token ids: see layers.TextEncoder
    finetune: bool = True  # the text encoder too

    def __post_init__(self) -> None:
        kinds = {"text_pool": (self.text_pool, parts.Pool), "balance": (self.balance, parts.Balance)}
        parts.require("gated", self.size, **kinds)
        if self.gate not in MODALITIES:
            raise MalformedInput(f"gated.gate: expected one of {', '.join(MODALITIES)}; got {self.gate!r}")


PUBLISHED = Settings(text_pool="cls", balance="none", encoder="bert-base-multilingual-cased", finetune=False)
TRAINING = {"optimizer": "adam", "learning_rate": 1e-4, "batch_size": 32, "epochs": 40, "early_stop": 6}


class Model(nn.Module):
    """Projections, one of which is the others' gate, and a linear layer."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.names = spec, parts.modalities_of(spec, "gated")
        self.gate = settings.gate if settings.gate in self.names else self.names[-1]
        self.gated = [m for m in self.names if m != self.gate] or [self.gate]
        made = parts.text_encoder_of(spec, self.names, settings.encoder, settings.finetune)
        self.text_encoder, widths, source = made
        self.settings = replace(settings, encoder=source)
        self.gate_layer = nn.Linear(widths[self.gate], settings.size)
        self.project = nn.ModuleDict({m: nn.Linear(widths[m], settings.size) for m in self.gated})
        self.dropout = nn.Dropout(settings.dropout)
        self.task = parts.Task(spec, settings.balance)
        self.head = nn.Linear(settings.size, self.task.outputs)

    def _outputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        frames = parts.sequences(batch, self.names, self.text_encoder, self.spec.lengths)
        pooled = parts.vectors(frames, self.settings.text_pool)
        gate_BD = torch.sigmoid(self.gate_layer(pooled[self.gate]))
        let_BD = gate_BD * sum(self.project[m](pooled[m]) for m in self.gated)
        return self.head(self.dropout(let_BD)), gate_BD

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`prediction`: (B, K) class probabilities or (B,) scores; `gate` (B, D) in (0, 1)."""
        outputs_BK, gate_BD = self._outputs(batch)
        return {"prediction": self.task.prediction(outputs_BK), "gate": gate_BD}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """The task's loss alone."""
        return {"loss": self.task.loss(self._outputs(batch)[0], batch.labels["M"])}
