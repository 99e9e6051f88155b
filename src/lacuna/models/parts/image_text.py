"""What the text + image models share: sequences and vectors of a batch, attention, and the task's loss.

B samples, T frames, S frames attended to, D width, K outputs. A frame counts where it is real and seen; a lost word
that comes as a token id counts too, for the text encoder puts [UNK] in its place. Nothing here reads across samples,
but `AcrossBatch`, the published form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts.terms import cross_entropy, mean_of_known, squared_error
from lacuna.models.parts.text import Finetune, Source, TextEncoder, fit_to, text_encoder_of
from lacuna.types import MalformedInput, require_words

ORDER = ("text", "image", "audio", "vision")
Pool = Literal["mean", "cls"]
Balance = Literal["none", "weights", "focal"]
Frames = tuple[Tensor, Tensor]  # values (B, T, D) and counted (B, T) bool


@dataclass(frozen=True)
class Settings:
    """What all of them set."""

    size: int = 512  # of each modality's projection
    dropout: float = 0.3
    balance: Balance = "weights"  # of unequal classes: none (published) | weights | focal

    def __post_init__(self) -> None:
        require_words(self)
        if self.size < 1:
            raise MalformedInput(f"size: expected at least 1, got {self.size}")


@dataclass(frozen=True)
class ReadingSettings(Settings):
    """What those that read text set too."""

    text_pool: Pool = "mean"  # where the text is one vector: mean, or cls, the first position (published)
    encoder: Source = "embedded"  # of token ids: see layers.TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on


@dataclass(frozen=True)
class StreamSettings(ReadingSettings):
    """What both streams set."""

    size: int = 128  # width of the stream
    heads: int = 4
    layers: int = 1
    published: bool = False  # vectors of a whole batch attend to each other; for comparison only

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads < 1 or self.size % self.heads:
            raise MalformedInput(f"size: expected a multiple of heads = {self.heads}, got {self.size}")


class ImageText(nn.Module):
    """The frame of these models: `outputs(frames)` of each gives (B, K) and what else is worth showing.

    `only` names the one modality that is read; else all are, in a fixed order.
    """

    def __init__(self, settings: Settings, spec: InputSpec, only: str | None = None) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.names = [m for m in ORDER if m in spec.widths and only in (None, m)]
        if not self.names:
            model = type(self).__module__.rpartition(".")[2]
            raise MalformedInput(f"{model}: expected the modality {only}, got {', '.join(spec.widths) or 'none'}")
        self.text_encoder: TextEncoder | None = None
        self.widths = dict(spec.widths)
        if isinstance(settings, ReadingSettings):
            self.text_encoder, self.widths = text_encoder_of(spec, settings)
        self.task = Task(spec, settings.balance)

    def frames(self, batch: Batch) -> dict[str, Frames]:
        """Each modality's frames, cut at the spec's lengths; what does not count is zero."""
        frames = {}
        for name in self.names:
            padded = fit_to(batch[name], self.spec.lengths[name])
            values_BTD, counted_BT = padded.values, padded.seen & padded.real
            encoder = self.text_encoder if name == "text" else None
            if encoder is not None and encoder.reads_tokens:
                values_BTD, counted_BT = encoder(padded), padded.real
            frames[name] = (torch.where(counted_BT[..., None], values_BTD, 0), counted_BT)
        return frames

    def outputs(self, frames: dict[str, Frames]) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs (B, K), and what else is worth showing."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`prediction`: (B, K) class probabilities or (B,) scores, and what `outputs` shows."""
        outputs_BK, shown = self.outputs(self.frames(batch))
        return {"prediction": self.task.prediction(outputs_BK), **shown}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """The task's loss alone."""
        outputs_BK, _ = self.outputs(self.frames(batch))
        return {"loss": self.task.loss(outputs_BK, batch.labels["M"])}


def vectors(frames: Mapping[str, Frames], text_pool: Pool) -> dict[str, Tensor]:
    """One vector (B, D) a modality: the mean of the frames that count, or of the text its first ([CLS])."""
    pooled = {}
    for name, (values_BTD, counted_BT) in frames.items():
        if name == "text" and text_pool == "cls":
            pooled[name] = values_BTD[:, 0]
        else:
            pooled[name] = values_BTD.sum(1) / counted_BT.sum(1, keepdim=True).clamp(min=1)
    return pooled


def projection(width: int, size: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, size), nn.ReLU(), nn.Dropout(dropout))


class Embedding(nn.Module):
    """A modality's frames → (B, 1 + T, D) with a learnt summary place before them, and which of them count."""

    def __init__(self, width: int, size: int, most: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))
        self.places = nn.Parameter(0.02 * torch.randn(1 + most, size))

    def forward(self, values_BTD: Tensor, counted_BT: Tensor) -> Frames:
        count, frames = counted_BT.shape
        # The summary place always counts, so that no attention row is empty when a whole modality is gone.
        x_BTD = torch.cat([values_BTD.new_zeros(count, 1, self.places.shape[1]), self.project(values_BTD)], 1)
        return x_BTD + self.places[: 1 + frames], F.pad(counted_BT, (1, 0), value=True)


class Attention(nn.Module):
    """x attends to y, then a feed-forward, both pre-norm and added to x. Returns x and the heads' mean weights."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_x, self.norm_y, self.norm_forward = (nn.LayerNorm(size) for _ in range(3))
        self.attention = nn.MultiheadAttention(size, heads, dropout, batch_first=True)
        self.forward_layer = feed_forward(size, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, y_BSD: Tensor, counted_BS: Tensor) -> tuple[Tensor, Tensor]:
        y_BSD = self.norm_y(y_BSD)
        told_BTD, weights_BTS = self.attention(self.norm_x(x_BTD), y_BSD, y_BSD, key_padding_mask=~counted_BS)
        x_BTD = x_BTD + self.dropout(told_BTD)
        return x_BTD + self.dropout(self.forward_layer(self.norm_forward(x_BTD))), weights_BTS


class AcrossBatch(nn.Module):
    """The published layer: x (B, D) and y (B, D) are read as ONE sequence of B positions each, so that samples
    attend to each other, with layer norms that are made anew at each call and never learn. For comparison only.
    """

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(size, heads, dropout, batch_first=True)
        self.forward_layer = feed_forward(size, dropout)

    def forward(self, x_BD: Tensor, y_BD: Tensor) -> Tensor:
        y_1BD = all_rows(y_BD)[None]
        told_1BD, _ = self.attention(x_BD[None], y_1BD, y_1BD, need_weights=False)
        x_BD = F.layer_norm(x_BD + told_1BD[0], x_BD.shape[1:])
        return F.layer_norm(x_BD + self.forward_layer(x_BD), x_BD.shape[1:])


def feed_forward(size: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * size, size))


class Task(nn.Module):
    """From outputs (B, K) to predictions, and the loss: cross-entropy plain, weighted or focal; squares for a score.

    `weights`: a class weighs N / (K · its count) over the labels met in training so far, which after the first epoch
    are the train split's; `focal`: (1 - p)^γ (Lin et al. 2017, eq. 4).
    """

    counts_K: Tensor

    def __init__(self, spec: InputSpec, balance: Balance, gamma: float = 2.0) -> None:
        super().__init__()
        self.classes, self.balance, self.gamma = spec.classes, balance, gamma
        self.outputs = spec.classes or 1
        self.register_buffer("counts_K", torch.ones(self.outputs))

    def prediction(self, outputs_BK: Tensor) -> Tensor:
        """Class probabilities (B, K), or scores (B,)."""
        return outputs_BK.float().softmax(-1) if self.classes else outputs_BK[:, 0]

    def loss(self, outputs_BK: Tensor, labels_B: Tensor) -> Tensor:
        outputs_BK, labels_B = all_rows(outputs_BK), all_rows(labels_B)
        if not self.classes:
            return mean_of_known(squared_error(outputs_BK[:, 0], labels_B), labels_B)
        losses_B, class_B = cross_entropy(outputs_BK, labels_B), labels_B.nan_to_num().long()
        if self.training:
            known_BK = (class_B[:, None] == torch.arange(self.classes, device=class_B.device)) & ~labels_B.isnan()[
                :, None
            ]
            self.counts_K += known_BK.sum(0)
        if self.balance == "weights":
            weights_B = (self.counts_K.mean() / self.counts_K)[class_B] * ~labels_B.isnan()
            return (weights_B * losses_B).sum() / weights_B.sum().clamp(min=1e-12)
        if self.balance == "focal":
            losses_B = (1 - torch.exp(-losses_B)) ** self.gamma * losses_B
        return mean_of_known(losses_B, labels_B)
