"""Early concatenation: one vector a modality, projected, side by side. In: any modalities. Out: a class or a score.

As published (text + image): 2048 → 512, 768 → 512, dropout .3, → 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lacuna.data.batches import InputSpec
from lacuna.models.parts import image_text as parts


@dataclass(frozen=True)
class Settings(parts.ReadingSettings):
    """The projections' width, how the text becomes a vector, and the loss."""


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
    """Projections side by side, and a linear layer."""

    settings: Settings

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__(settings, spec)
        size, dropout = settings.size, settings.dropout
        self.project = nn.ModuleDict({m: parts.projection(self.widths[m], size, dropout) for m in self.names})
        self.head = nn.Linear(len(self.names) * size, self.task.outputs)

    def outputs(self, frames: dict[str, parts.Frames]) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs (B, K); nothing else is shown."""
        pooled = parts.vectors(frames, self.settings.text_pool)
        return self.head(torch.cat([self.project[m](pooled[m]) for m in self.names], -1)), {}
