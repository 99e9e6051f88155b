"""Gated fusion: one modality's sigmoid lets the others through. In: any modalities. Out: a class or a score.

output = W(σ(W_g g) ⊙ Σ W_m x_m), g the modality of the gate: `x_gate` of the published code is `gate`. Alone, a
modality is gated by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lacuna.data.batches import InputSpec
from lacuna.models.parts import image_text as parts

Gate = Literal["text", "audio", "vision", "image"]


@dataclass(frozen=True)
class Settings(parts.ReadingSettings):
    """Whose gate it is, the width, how the text becomes a vector, and the loss."""

    gate: Gate = "image"  # one that the data lack leaves the gate to the last they have


PUBLISHED = Settings(text_pool="cls", balance="none", encoder="bert-base-multilingual-cased", finetune=False)
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "batch_size": 32,
    "epochs": 40,
    "early_stop": 6,
    "pattern": "none",
}


class Model(parts.ImageText):
    """Projections, one of which is the others' gate, and a linear layer."""

    settings: Settings

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__(settings, spec)
        self.gate = settings.gate if settings.gate in self.names else self.names[-1]
        self.gated = [m for m in self.names if m != self.gate] or [self.gate]
        self.gate_layer = nn.Linear(self.widths[self.gate], settings.size)
        self.project = nn.ModuleDict({m: nn.Linear(self.widths[m], settings.size) for m in self.gated})
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(settings.size, self.task.outputs)

    def outputs(self, frames: dict[str, parts.Frames]) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs (B, K) and `gate` (B, D) in (0, 1)."""
        pooled = parts.vectors(frames, self.settings.text_pool)
        gate_BD = torch.sigmoid(self.gate_layer(pooled[self.gate]))
        let_BD = gate_BD * sum(self.project[m](pooled[m]) for m in self.gated)
        return self.head(self.dropout(let_BD)), {"gate": gate_BD}
