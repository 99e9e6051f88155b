"""TF-Mamba: text-enhanced fusion Mamba (2025). In: a Batch. Out: predictions and losses.

UNVERIFIED: the authors' program needs kernels of a GPU and could not be run (docs/models.md). Audio and vision are laid
along the words by a soft alignment, mixed with the words that they are like, and read pairwise with the text by state
space models; the text asks both, and the largest of its last states predict. Where there is no text, the first modality
stands in its place. B samples, T frames, S steps of the guide, D width, K outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts import task
from lacuna.models.parts.crossmodal import Frames
from lacuna.models.parts.lnln_blocks import attend
from lacuna.models.parts.mamba import Mamba, Shape
from lacuna.models.parts.reading import Padding, read
from lacuna.models.parts.text import Finetune, Source, fit_to, text_encoder_of
from lacuna.types import MODALITIES, MalformedInput, require_words

Target = Literal["fixed", "learnt"]
EPS = 1e-6  # of every norm


@dataclass(frozen=True)
class Settings:
    """The architecture and the weight of the reconstruction; the defaults are MOSI's published ones, mended."""

    encoder: Source = "embedded"  # of token ids: see TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on
    guide: str = "text"  # what the others are laid along; where the data lacks it, the first that it has
    width: int = 128  # D
    heads: int = 8
    head: int = 64  # width of a head
    pair_depth: int = 1  # layers that read pairs; 2 for MOSEI and SIMS, and so the next one
    depth: int = 1
    states: int = 12  # of each channel; 16 for MOSEI and SIMS
    expansion: int = 4  # 2 for SIMS
    kernel: int = 4
    dropout: float = 0.1  # where the text is rebuilt
    reconstruction_weight: float = 0.7  # .3 for MOSEI, 1 for SIMS
    target: Target = "fixed"  # the complete text; learnt (published): BERT may make its own states easy
    padding: Padding = "masked"  # or read as if it were frames, up to spec.lengths (published)

    def __post_init__(self) -> None:
        require_words(self)
        if self.guide not in MODALITIES:
            raise MalformedInput(f"tf_mamba.guide: expected one of {MODALITIES}, got {self.guide!r}")
        for name in ("width", "heads", "head", "states", "expansion", "kernel"):
            if getattr(self, name) < 1:
                raise MalformedInput(f"tf_mamba.{name}: expected at least 1, got {getattr(self, name)}")


PUBLISHED = Settings(finetune=True, encoder="bert-base-uncased", target="learnt", padding="read")
TRAINING = {
    "optimizer": "adamw",
    "learning_rate": 1e-4,
    "weight_decay": 1e-4,
    "batch_size": 64,
    "epochs": 200,
    "schedule": "warmup_cosine",
    "warmup": 0.1,
    "pattern": "mixed",
}


class Alignment(nn.Module):
    """Frames (B, T, W) laid along at most S steps: an LSTM says of each frame to which step it belongs, or to none."""

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.place = nn.LSTM(width, steps + 1, num_layers=2, batch_first=True)

    def forward(self, frames: Frames, along: Frames) -> Tensor:
        states_BTS, _ = self.place(frames.values_BTD)
        steps = along.values_BTD.shape[1]
        there_B1S = F.pad(along.real_BT, (1, states_BTS.shape[-1] - 1 - steps), value=False)[:, None]
        there_B1S = there_B1S | (torch.arange(states_BTS.shape[-1], device=there_B1S.device) == 0)  # 0 is no step
        share_BTS = states_BTS.masked_fill(~there_B1S, -torch.inf).softmax(-1)[..., 1 : steps + 1]
        return share_BTS.transpose(1, 2) @ frames.values_BTD  # padding is zeros


class Mixing(nn.Module):
    """Text and another modality in D columns, the latter with what it is like of the former added."""

    def __init__(self, width: int, other: str, widths: dict[str, int], steps: int) -> None:
        super().__init__()
        self.align = Alignment(widths[other], steps)
        self.project = nn.Sequential(
            nn.LayerNorm(widths[other], EPS), nn.Linear(widths[other], width), nn.LayerNorm(width, EPS)
        )
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, frames: Frames, along: Frames) -> Tensor:
        """`along` is the guide in D columns; the result stands on its steps, zero behind the last."""
        x_BSD = self.project(self.align(frames, along))
        like_BSS = _unit(x_BSD) @ _unit(along.values_BTD).transpose(1, 2) * self.scale.exp()
        share_BSS = like_BSS.masked_fill(~along.real_BT[:, None], -torch.inf).softmax(-1)
        share_BSS = torch.where(share_BSS > 1 / along.lengths_B[:, None, None], share_BSS, 0)
        return _zeroed(x_BSD + share_BSS @ along.values_BTD, along)


class Layer(nn.Module):
    """x + norm(Mamba(x)) of one stream, or of two that share their state matrices."""

    def __init__(self, streams: list[str], shape: Shape) -> None:
        super().__init__()
        self.mamba = Mamba(streams, shape)
        self.norms = nn.ModuleDict({s: nn.LayerNorm(shape.width, EPS) for s in streams})

    def forward(self, stream: str, x_BSD: Tensor, along: Frames) -> Tensor:
        return _zeroed(x_BSD + self.norms[stream](self.mamba(stream, x_BSD, along.lengths_B)), along)


class Asking(nn.Module):
    """x + norm of what it reads of the others, step by step side by side."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        s = settings
        self.heads = s.heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(s.width, s.heads * s.head, bias=False) for _ in range(3))
        self.to_out, self.norm = nn.Linear(s.heads * s.head, s.width), nn.LayerNorm(s.width, EPS)

    def forward(self, x_BSD: Tensor, others: list[Tensor], along: Frames) -> Tensor:
        source_BUD = torch.cat(others, 1)
        read_B11U = along.real_BT.repeat(1, len(others))[:, None, None]
        mixed_BSI = attend(self.to_q(x_BSD), self.to_k(source_BUD), self.to_v(source_BUD), self.heads, read_B11U)
        return _zeroed(x_BSD + self.norm(self.to_out(mixed_BSI)), along)


class Model(nn.Module):
    """TF-Mamba over the modalities that `spec.widths` names; one alone also stands for the others."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        s = settings
        self.text_encoder, widths = text_encoder_of(spec, settings)
        self.modalities = task.ordered(spec)
        self.guide = s.guide if s.guide in spec.widths else self.modalities[0]
        self.others = [m for m in self.modalities if m != self.guide] or [self.guide]
        shape = Shape(s.width, s.states, s.expansion, s.kernel)
        self.project = nn.Sequential(nn.LayerNorm(widths[self.guide], EPS), nn.Linear(widths[self.guide], s.width))
        steps = spec.lengths[self.guide]
        self.mixing = nn.ModuleDict({m: Mixing(s.width, m, widths, steps) for m in self.others})
        self.pairs: Any = nn.ModuleList(
            nn.ModuleDict({m: Layer(["other", "guide"], shape) for m in self.others}) for _ in range(s.pair_depth)
        )
        self.asking = Asking(s)
        self.layers = nn.ModuleList(Layer(["guide"], shape) for _ in range(s.depth))
        self.rebuild = nn.Sequential(
            nn.Linear(s.width, s.width), nn.ReLU(), nn.Dropout(s.dropout), nn.Linear(s.width, widths[self.guide])
        )
        self.head = nn.Linear(s.width, spec.classes or 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """{"prediction": (B,) score or (B, classes) probabilities}."""
        output_BC, _ = self._outputs(batch)
        return {"prediction": task.prediction(output_BC, self.spec.classes)}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Task + .7 · reconstruction of the lost words; in evaluation mode the task's alone."""
        output_BC, along = self._outputs(batch)
        told = task.task_loss(output_BC, batch.labels["M"], self.spec.classes, "mse")
        if not self.training:
            return {"loss": told, "task": told}
        rebuilt = self.reconstruction(along, batch, complete)
        return {"loss": told + self.settings.reconstruction_weight * rebuilt, "task": told, "reconstruction": rebuilt}

    def reconstruction(self, along: Frames, batch: Batch, complete: Batch) -> Tensor:
        """Smooth L1 of the guide's rebuilt frames, over those that the loss took."""
        with torch.set_grad_enabled(self.settings.target == "learnt"):
            target_BSW = self._read(self.guide, complete).values_BTD
        told_BSW = self.rebuild(along.values_BTD)
        steps = min(told_BSW.shape[1], target_BSW.shape[1])
        lossy, whole = (fit_to(each[self.guide], self.spec.lengths[self.guide]) for each in (batch, complete))
        lost_BS = task.dropped(lossy, whole)
        error_BSW = F.smooth_l1_loss(told_BSW[:, :steps].float(), target_BSW[:, :steps].float(), reduction="none")
        lost_BS = F.pad(lost_BS, (0, max(0, steps - lost_BS.shape[1])))[:, :steps]
        error_B, count_B = (error_BSW.sum(-1) * lost_BS).sum(1), lost_BS.sum(1)
        return all_rows(error_B).sum() / (all_rows(count_B).sum() * target_BSW.shape[-1] + 1e-6)

    def _read(self, modality: str, batch: Batch) -> Frames:
        return read(batch, modality, self.text_encoder, self.spec, self.settings.padding)

    def _outputs(self, batch: Batch) -> tuple[Tensor, Frames]:
        """Outputs (B, K), and the guide in D columns as the others met it."""
        frames = {m: self._read(m, batch) for m in self.modalities}
        lengths_B = frames[self.guide].lengths_B
        along = Frames(self.project(frames[self.guide].values_BTD), lengths_B)
        along = Frames(_zeroed(along.values_BTD, along), lengths_B)
        others = {m: self.mixing[m](frames[m], along) for m in self.others}
        x_BSD = along.values_BTD
        for pairs in self.pairs:
            guides = [pairs[m]("guide", x_BSD, along) for m in self.others]
            others = {m: pairs[m]("other", h_BSD, along) for m, h_BSD in others.items()}
            x_BSD = torch.stack(guides).mean(0)
        x_BSD = self.asking(x_BSD, list(others.values()), along)
        for layer in self.layers:
            x_BSD = layer("guide", x_BSD, along)
        return self.head(x_BSD.masked_fill(~along.real_BT[..., None], -torch.inf).amax(1)), along


def _unit(x_BSD: Tensor) -> Tensor:
    return F.normalize(x_BSD, dim=-1, eps=1e-9)


def _zeroed(x_BSD: Tensor, along: Frames) -> Tensor:
    """Zero behind each sequence's last frame."""
    return torch.where(along.real_BT[..., None], x_BSD, 0)
