"""What TFN and LMF share: one vector a modality, and the frame of a model over such vectors.

Text is read by an LSTM, everything else is averaged over time. B samples, T frames, W width of the input, H width of a
modality's vector, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts.crossmodal import Frames
from lacuna.models.parts.norms import BatchNorm
from lacuna.models.parts.reading import Padding, read
from lacuna.models.parts.task import prediction, task_loss
from lacuna.models.parts.text import Finetune, Source, text_encoder_of
from lacuna.types import require_words

ORDER = ("audio", "vision", "image", "text")  # of the vectors, as published
HIDDEN = {"text": 128, "audio": 32, "vision": 128, "image": 16}
DROPOUT = dict.fromkeys(ORDER, 0.3)


@dataclass(frozen=True)
class Settings:
    """How each modality becomes a vector. Widths and dropout are by modality."""

    encoder: Source = "embedded"  # of token ids: see TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on
    hidden: dict[str, int] = field(default_factory=HIDDEN.copy)  # of the sub-networks; MOSEI audio 16
    text_out: int = 32  # width of the text's vector; MOSEI 128, SIMS 256
    dropout: dict[str, float] = field(default_factory=DROPOUT.copy)  # of the sub-networks; MOSEI and SIMS .4
    padding: Padding = "masked"  # or read as if it were frames, up to spec.lengths (published)

    def __post_init__(self) -> None:
        require_words(self)

    def width(self, modality: str) -> int:
        """H of a modality."""
        return self.text_out if modality == "text" else self.hidden.get(modality, 16)


class Averaged(nn.Module):
    """Mean over time, batch norm of the inputs, dropout, three linear layers, each with a ReLU → (B, H)."""

    def __init__(self, width: int, hidden: int, rate: float) -> None:
        super().__init__()
        self.norm, self.dropout = BatchNorm(width), nn.Dropout(rate)
        self.layers = nn.ModuleList(nn.Linear(w, hidden) for w in (width, hidden, hidden))

    def forward(self, frames: Frames) -> Tensor:
        x_BH = self.dropout(self.norm(frames.values_BTD.sum(1) / frames.lengths_B[:, None]))
        for layer in self.layers:
            x_BH = F.relu(layer(x_BH))
        return x_BH


class Recurrent(nn.Module):
    """An LSTM whose state after the last real frame goes through dropout and a linear layer → (B, H)."""

    def __init__(self, width: int, hidden: int, outputs: int, rate: float) -> None:
        super().__init__()
        self.rnn = nn.LSTM(width, hidden, batch_first=True)
        self.dropout, self.out = nn.Dropout(rate), nn.Linear(hidden, outputs)

    def forward(self, frames: Frames) -> Tensor:
        # It runs over padding too, behind the state that is read: a packed sequence would need lengths on the host.
        states_BTH, _ = self.rnn(frames.values_BTD)
        return self.out(self.dropout(frames.last(states_BTH)[:, 0]))


class VectorModel(nn.Module):
    """A model over one vector a modality: `outputs(vectors)` of each gives (B, K)."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        self.modalities = [m for m in ORDER if m in spec.widths]
        self.text_encoder, widths = text_encoder_of(spec, settings)
        self.subnets = nn.ModuleDict({m: self._subnet(m, widths[m]) for m in self.modalities})

    def _subnet(self, m: str, width: int) -> nn.Module:
        s = self.settings
        hidden, rate = s.hidden.get(m, 16), s.dropout.get(m, 0.0)
        return Recurrent(width, hidden, s.text_out, rate) if m == "text" else Averaged(width, hidden, rate)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction, and the vector `vector_<modality>` (B, H) of each modality."""
        vectors = self.vectors(batch)
        shown = {f"vector_{m}": x_BH for m, x_BH in vectors.items()}
        return {"prediction": prediction(self.outputs(vectors), self.spec.classes)} | shown

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Mean absolute error, or cross-entropy."""
        return {"loss": task_loss(self.outputs(self.vectors(batch)), batch.labels["M"], self.spec.classes, "l1")}

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """One vector (B, H) a modality."""
        frames = {m: read(batch, m, self.text_encoder, self.spec, self.settings.padding) for m in self.modalities}
        return {m: self.subnets[m](frames[m]) for m in self.modalities}

    def outputs(self, vectors: dict[str, Tensor]) -> Tensor:
        """Logits (B, classes), or scores (B, 1)."""
        raise NotImplementedError
