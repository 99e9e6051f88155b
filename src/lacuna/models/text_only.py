"""The text alone, the measure of every fusion. In: text, whatever else is there. Out: a class or a score."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lacuna.data.batches import InputSpec
from lacuna.models.parts import image_text as parts


@dataclass(frozen=True)
class Settings(parts.ReadingSettings):
    """The projection's width, how the text becomes a vector, and the loss."""


PUBLISHED = Settings(text_pool="cls", balance="none", encoder="bert-base-multilingual-cased")
TRAINING = {
    "optimizer": "adamw",
    "learning_rate": 1e-4,
    "batch_size": 32,
    "epochs": 40,
    "early_stop": 6,
    "pattern": "none",
}


class Model(parts.ImageText):
    """The text's vector, a hidden layer and a linear one."""

    settings: Settings

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__(settings, spec, only="text")
        hidden = parts.projection(self.widths["text"], settings.size, settings.dropout)
        self.head = nn.Sequential(hidden, nn.Linear(settings.size, self.task.outputs))

    def outputs(self, frames: dict[str, parts.Frames]) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs (B, K); nothing else is shown."""
        return self.head(parts.vectors(frames, self.settings.text_pool)["text"]), {}
