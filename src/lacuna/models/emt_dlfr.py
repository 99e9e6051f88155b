"""EMT-DLFR: efficient multimodal transformer with dual-level feature restoration (IEEE TAC 2023). In: a Batch. Out:
predictions and losses.

One vector a modality is the global context, which exchanges with the frames of each modality in turn. Training sees
each clip twice, complete and incomplete: the views' vectors attract each other, and lost frames are rebuilt.
B samples, T frames, M modalities, D model width, W width of a modality's vector, E = M·D, K outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts import task
from lacuna.models.parts.attention import attention
from lacuna.models.parts.crossmodal import Frames as Sequence
from lacuna.models.parts.norms import BatchNorm
from lacuna.models.parts.pooling import TextPool, text_vector
from lacuna.models.parts.reading import read
from lacuna.models.parts.recurrent import Recurrence
from lacuna.models.parts.text import Finetune, Source, fit_to, text_encoder_of
from lacuna.types import MalformedInput, require_words

Choice = Literal["task", "total"]
GLOBAL = "global"  # the context, among the names of what is attracted


@dataclass(frozen=True)
class Settings:
    """The architecture and the weights of the losses: MOSI's published ones, mended."""

    encoder: Source = "embedded"  # of token ids: see TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on
    text_pool: TextPool = "mean"  # the text's vector: the mean, or [CLS] (published), which is then no frame
    recurrent: dict[str, int] = field(default_factory=lambda: {"audio": 32, "vision": 64})  # units; 32 for others
    sizes: dict[str, int] = field(default_factory=lambda: {"audio": 16, "vision": 32})  # W; 32 for others
    width: int = 128  # D; 32 for SIMS
    heads: int = 4
    depth: int = 3  # 2 for MOSEI, 4 for SIMS
    expansion: int = 4  # of the feed-forward layers
    head_hidden: int = 256  # 128 for MOSEI
    predictors: dict[str, int] = field(
        default_factory=lambda: {GLOBAL: 128, "text": 256, "audio": 8, "vision": 16}  # 16 for others
    )
    attention_dropout: float = 0.3  # 0 for MOSEI and SIMS, and so the next two
    feed_dropout: float = 0.1
    head_dropout: float = 0.3
    attraction_weight: float = 1.0  # .5 for SIMS, and so the next one
    reconstruction_weight: float = 1.0
    chosen_by: Choice = "task"  # the validation loss: of the incomplete view alone, or (published) the total

    def __post_init__(self) -> None:
        require_words(self)
        if self.heads < 1 or self.width % self.heads:
            raise MalformedInput(f"emt_dlfr.width: expected a multiple of heads = {self.heads}, got {self.width}")
        if self.depth < 1:
            raise MalformedInput(f"emt_dlfr.depth: expected at least 1, got {self.depth}")


PUBLISHED = Settings(finetune=True, encoder="bert-base-uncased", text_pool="cls", chosen_by="total")
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "encoder_learning_rate": 5e-5,
    "rates": {"recurrent.vision.": 1e-4},
    "weight_decay": 1e-3,
    "batch_size": 32,
    "accumulate": 4,
    "epochs": 100,
    "early_stop": 8,
    "pattern": "mixed",
}


@dataclass(frozen=True)
class Frames:
    """A modality as the context meets it: its vector (B, W), frames (B, T, W) and the real ones among them."""

    vector_BW: Tensor
    values_BTW: Tensor
    real_BT: Tensor


@dataclass(frozen=True)
class View:
    """What one pass makes: outputs (B, K), the context and each modality's vector by name, frames after fusion."""

    output_BK: Tensor
    vectors: dict[str, Tensor]
    fused: dict[str, Tensor]
    text: Frames | None


class Recurrent(nn.Module):
    """An LSTM, and one linear for its last state and for the state at each frame."""

    def __init__(self, width: int, hidden: int, size: int) -> None:
        super().__init__()
        self.recurrence = Recurrence("lstm", width, hidden)
        self.out = nn.Linear(hidden, size) if hidden != size else nn.Identity()

    def forward(self, x: Sequence) -> Frames:
        states_BTH = self.recurrence(x.values_BTD, x.lengths_B)
        vector_BW = self.out(self.recurrence.final(states_BTH, x.lengths_B))
        return Frames(vector_BW, self.out(states_BTH), x.real_BT)


class Attention(nn.Module):
    """Multi-head attention without biases before its output."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor, source_BSD: Tensor, read_BHTS: Tensor) -> Tensor:
        parts = (self.to_q(x_BTD), *self.to_kv(source_BSD).chunk(2, -1))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed_BHTE = attention(q, k, v, read_BHTS, self.dropout.p if self.training else 0.0)
        return self.to_out(mixed_BHTE.transpose(1, 2).flatten(2))


class PromotionUnit(nn.Module):
    """x asks a source, then itself, then passes a gated feed-forward; each behind a norm and added."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        s = settings
        self.norm_cross, self.norm_source, self.norm_self, self.norm_feed = (nn.LayerNorm(s.width) for _ in range(4))
        self.cross = Attention(s.width, s.heads, s.attention_dropout)
        self.own = Attention(s.width, s.heads, s.attention_dropout)
        self.widen = nn.Linear(s.width, 2 * s.expansion * s.width)
        self.narrow = nn.Linear(s.expansion * s.width, s.width)
        self.dropout = nn.Dropout(s.feed_dropout)

    def forward(self, x_BTD: Tensor, source_BSD: Tensor, real_BT: Tensor, source_real_BS: Tensor) -> Tensor:
        """`real`: which places of x and of the source may be read."""
        own, other = (real[:, None, None] for real in (real_BT, source_real_BS))  # over heads and askers
        x_BTD = x_BTD + self.cross(self.norm_cross(x_BTD), self.norm_source(source_BSD), other)
        normed_BTD = self.norm_self(x_BTD)
        x_BTD = x_BTD + self.own(normed_BTD, normed_BTD, own)
        value, gate = self.widen(self.norm_feed(x_BTD)).chunk(2, -1)
        return x_BTD + self.dropout(self.narrow(value * F.gelu(gate)))


class Fusion(nn.Module):
    """The context and the frames promote each other, `depth` times through ONE unit; attention pools the contexts."""

    def __init__(self, settings: Settings, modalities: int) -> None:
        super().__init__()
        self.unit, self.depth = PromotionUnit(settings), settings.depth
        size = modalities * settings.width
        self.pool = nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, 1))

    def forward(
        self, context_BMD: Tensor, frames: dict[str, Tensor], real: dict[str, Tensor], restored: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The context and, if they are to be `restored`, the frames after the last layer (else before it)."""
        all_BM = context_BMD.new_ones(context_BMD.shape[:2], dtype=torch.bool)
        frames = {m: x_BTD + places(x_BTD) for m, x_BTD in frames.items()}
        for layer in range(self.depth):
            told = [self.unit(context_BMD, x_BTD, all_BM, real[m]) for m, x_BTD in frames.items()]
            if restored or layer + 1 < self.depth:
                frames = {m: self.unit(x_BTD, context_BMD, real[m], all_BM) for m, x_BTD in frames.items()}
            told_BME = torch.stack([context.flatten(1) for context in told], 1)
            weights_BM1 = self.pool(told_BME).softmax(1)
            context_BMD = (weights_BM1 * told_BME).sum(1).view_as(context_BMD)
        return context_BMD, frames


class Model(nn.Module):
    """EMT-DLFR over the modalities that `spec.widths` names."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.settings, s = spec, settings, settings
        self.modalities = task.ordered(spec)
        self.text_encoder, widths = text_encoder_of(spec, settings)
        recurrent = [m for m in self.modalities if m != "text"]
        sizes = {m: widths[m] if m == "text" else s.sizes.get(m, 32) for m in self.modalities}
        self.recurrent = nn.ModuleDict({m: Recurrent(widths[m], s.recurrent.get(m, 32), sizes[m]) for m in recurrent})
        self.project = nn.ModuleDict({m: _equalled(sizes[m], s.width) for m in self.modalities})
        self.fusion = Fusion(s, len(self.modalities))
        total = len(self.modalities) * s.width
        attracted = {GLOBAL: total, **sizes}
        self.projectors = nn.ModuleDict({name: _projector(size) for name, size in attracted.items()})
        self.predictors = nn.ModuleDict(
            {name: _predictor(size, s.predictors.get(name, 16)) for name, size in attracted.items()}
        )
        self.reconstruct = nn.ModuleDict({m: nn.Linear(s.width, widths[m]) for m in self.modalities})
        self.head = nn.Sequential(
            nn.Dropout(s.head_dropout),
            nn.Linear(sum(sizes.values()) + total, s.head_hidden),
            nn.ReLU(),
            nn.Linear(s.head_hidden, s.head_hidden),
            nn.ReLU(),
            nn.Linear(s.head_hidden, spec.classes or 1),
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction of the view that is given; there is no other."""
        return {"prediction": task.prediction(self.view(batch).output_BK, self.spec.classes)}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Task + w_a · attraction + w_r · reconstruction; in evaluation the task's alone is read.

        `task_complete`, the error of the complete view, is part of the attraction, as published.
        """
        s, labels_B, classes = self.settings, batch.labels["M"], self.spec.classes
        if not self.training and s.chosen_by == "task":
            loss = task.task_loss(self.view(batch).output_BK, labels_B, classes, "l1")
            return {"loss": loss, "task": loss}
        whole, view = self.view(complete), self.view(batch, restored=True)
        terms = {
            "task": task.task_loss(view.output_BK, labels_B, classes, "l1"),
            "task_complete": task.task_loss(whole.output_BK, labels_B, classes, "l1"),
        }
        attraction = self.attraction(view, whole)
        rebuilt = self.reconstruction(view, whole, batch, complete)
        terms["attraction"] = torch.stack(list(attraction.values())).sum() + terms["task_complete"]
        terms["reconstruction"] = torch.stack(list(rebuilt.values())).sum()
        total = terms["task"] + s.attraction_weight * terms["attraction"]
        total = total + s.reconstruction_weight * terms["reconstruction"]
        named = {f"attraction_{name}": value for name, value in attraction.items()}
        return {"loss": total, **terms, **named, **{f"reconstruction_{m}": value for m, value in rebuilt.items()}}

    def view(self, batch: Batch, restored: bool = False) -> View:
        """One pass; the frames of the last layer only where they are to be `restored`."""
        read = {m: self._read(m, batch) for m in self.modalities}
        context_BMD = torch.stack([self.project[m](frames.vector_BW) for m, frames in read.items()], 1)
        values = {m: self.project[m](frames.values_BTW) for m, frames in read.items()}
        real = {m: frames.real_BT for m, frames in read.items()}
        context_BMD, fused = self.fusion(context_BMD, values, real, restored)
        vectors = {GLOBAL: context_BMD.flatten(1), **{m: frames.vector_BW for m, frames in read.items()}}
        joined_BW = torch.cat([*(vectors[m] for m in self.modalities), vectors[GLOBAL]], 1)
        return View(self.head(joined_BW), vectors, fused, read.get("text"))

    def attraction(self, view: View, whole: View) -> dict[str, Tensor]:
        """-½ [cos(p, z') + cos(p', z)] of each vector's two views, z without gradient (SimSiam, Chen & He 2021)."""
        told = {}
        for name, projector in self.projectors.items():
            z_whole, z = projector(whole.vectors[name]), projector(view.vectors[name])
            p_whole, p = self.predictors[name](z_whole), self.predictors[name](z)
            both_B = F.cosine_similarity(p, z_whole.detach()) + F.cosine_similarity(p_whole, z.detach())
            told[name] = -0.5 * all_rows(both_B).mean()
        return told

    def reconstruction(self, view: View, whole: View, batch: Batch, complete: Batch) -> dict[str, Tensor]:
        """Smooth L1 of the rebuilt frames, over those that the loss took."""
        told = {}
        for m in self.modalities:
            lossy, intact = (fit_to(each[m], self.spec.lengths[m]) for each in (batch, complete))
            lost_BT, target_BTW = task.dropped(lossy, intact), intact.values
            if m == "text" and whole.text is not None:
                target_BTW = whole.text.values_BTW.detach()
                lost_BT = lost_BT[:, -target_BTW.shape[1] :]  # without [CLS], where that is the text's vector
            error_BTW = F.smooth_l1_loss(self.reconstruct[m](view.fused[m]), target_BTW, reduction="none")
            error_B = (error_BTW.sum(-1) * lost_BT).sum(1)
            count = all_rows(lost_BT.sum(1)).sum() * target_BTW.shape[-1]
            told[m] = all_rows(error_B).sum() / (count + 1e-6)
        return told

    def _read(self, m: str, batch: Batch) -> Frames:
        frames = read(batch, m, self.text_encoder, self.spec, "masked")
        if m != "text":
            return self.recurrent[m](frames)
        hidden_BTW = frames.values_BTD
        vector_BW = text_vector(hidden_BTW, batch[m], self.spec, self.settings.text_pool)
        if self.settings.text_pool == "mean":
            return Frames(vector_BW, hidden_BTW, frames.real_BT)
        if hidden_BTW.shape[1] == 1:  # [CLS] alone leaves one frame that says nothing
            hidden_BTW = F.pad(hidden_BTW, (0, 0, 0, 1))
        words_B = (frames.lengths_B - 2).clamp(min=1)  # without [CLS] and [SEP]
        return Frames(vector_BW, hidden_BTW[:, 1:], Sequence(hidden_BTW[:, 1:], words_B).real_BT)


def places(x_BTD: Tensor) -> Tensor:
    """(T, D) positions: sines in even columns, cosines in odd ones, of wavelengths from 2π to 20000π."""
    frames, width = x_BTD.shape[1:]
    even = torch.arange(0, width, 2, device=x_BTD.device)
    angle_TH = torch.arange(frames, device=x_BTD.device)[:, None] * torch.exp(even * (-math.log(10000) / width))
    return torch.stack([angle_TH.sin(), angle_TH.cos()], -1).flatten(1)[:, :width].to(x_BTD.dtype)


def _equalled(size: int, width: int) -> nn.Module:
    return nn.Linear(size, width, bias=False) if size != width else nn.Identity()


def _projector(size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, size), BatchNorm(size, affine=False))


def _predictor(size: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, hidden, bias=False), BatchNorm(hidden), nn.ReLU(), nn.Linear(hidden, size))
