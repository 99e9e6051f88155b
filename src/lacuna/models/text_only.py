"""The text alone, the measure of every fusion. In: text, whatever else is there. Out: a class or a score."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from lacuna.batches import Batch, InputSpec
from lacuna.layers import Source
from lacuna.models import _image_text as parts


@dataclass(frozen=True)
class Settings:
    """The projection's width, how the text becomes a vector, and the loss."""

    size: int = 512
    dropout: float = 0.3
    text_pool: parts.Pool = "mean"  # cls: the first position (published)
    balance: parts.Balance = "weights"  # of unequal classes: none (published) | weights | focal
    encoder: Source = "embedded"  # of token ids: see layers.TextEncoder
    finetune: bool = True  # the text encoder too

    def __post_init__(self) -> None:
        kinds = {"text_pool": (self.text_pool, parts.Pool), "balance": (self.balance, parts.Balance)}
        parts.require("text_only", self.size, **kinds)


PUBLISHED = Settings(text_pool="cls", balance="none", encoder="bert-base-multilingual-cased")
TRAINING = {"optimizer": "adamw", "learning_rate": 1e-4, "batch_size": 32, "epochs": 40, "early_stop": 6}


class Model(nn.Module):
    """The text's vector, a hidden layer and a linear one."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.names = spec, parts.modalities_of(spec, "text_only", "text")
        made = parts.text_encoder_of(spec, self.names, settings.encoder, settings.finetune)
        self.text_encoder, widths, source = made
        self.settings = replace(settings, encoder=source)
        self.task = parts.Task(spec, settings.balance)
        self.head = nn.Sequential(
            parts.projection(widths["text"], settings.size, settings.dropout),
            nn.Linear(settings.size, self.task.outputs),
        )

    def _outputs(self, batch: Batch) -> Tensor:
        frames = parts.sequences(batch, self.names, self.text_encoder, self.spec.lengths)
        return self.head(parts.vectors(frames, self.settings.text_pool)["text"])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`prediction`: (B, K) class probabilities or (B,) scores."""
        return {"prediction": self.task.prediction(self._outputs(batch))}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """The task's loss alone."""
        return {"loss": self.task.loss(self._outputs(batch), batch.labels["M"])}
