"""The image alone, the measure of every fusion. In: image, whatever else is there. Out: a class or a score."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lacuna.batches import Batch, InputSpec
from lacuna.models import _image_text as parts


@dataclass(frozen=True)
class Settings:
    """The projection's width and the loss."""

    size: int = 512
    dropout: float = 0.3
    balance: parts.Balance = "weights"  # of unequal classes: none (published) | weights | focal

    def __post_init__(self) -> None:
        parts.require("image_only", self.size, balance=(self.balance, parts.Balance))


PUBLISHED = Settings(balance="none")
TRAINING = {"optimizer": "adam", "learning_rate": 1e-4, "batch_size": 32, "epochs": 40, "early_stop": 6}


class Model(nn.Module):
    """The mean over regions, a hidden layer and a linear one."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        self.names = parts.modalities_of(spec, "image_only", "image")
        self.task = parts.Task(spec, settings.balance)
        self.head = nn.Sequential(
            parts.projection(spec.widths["image"], settings.size, settings.dropout),
            nn.Linear(settings.size, self.task.outputs),
        )

    def _outputs(self, batch: Batch) -> Tensor:
        frames = parts.sequences(batch, self.names, None, self.spec.lengths)
        return self.head(parts.vectors(frames, "mean")["image"])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`prediction`: (B, K) class probabilities or (B,) scores."""
        return {"prediction": self.task.prediction(self._outputs(batch))}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """The task's loss alone."""
        return {"loss": self.task.loss(self._outputs(batch), batch.labels["M"])}
