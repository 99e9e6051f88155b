"""MulT: the multimodal transformer (Tsai et al., ACL 2019), as MMSA has it. In: a Batch. Out: predictions and losses.

Each modality asks every other one, frame by frame and unaligned; what it is told is read by self-attention, at its last
frame. B samples, T frames, D width of the streams, M modalities, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts.crossmodal import (
    CrossmodalTransformer,
    Frames,
    ResidualHead,
    Shape,
    convolved,
    dropout,
    require_streams,
)
from lacuna.models.parts.reading import read
from lacuna.models.parts.task import prediction, task_loss
from lacuna.models.parts.text import Finetune, Source, text_encoder_of
from lacuna.types import MODALITIES, require_words

KERNELS = {"text": 5, "audio": 5, "vision": 5, "image": 1}
Positions = Literal["sines", "none"]
Readout = Literal["real", "last"]


@dataclass(frozen=True)
class Settings:
    """The architecture: MMSA's for MOSI, with the errata mended."""

    encoder: Source = "embedded"  # of token ids: see TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on
    width: int = 50  # D; MOSEI 30
    heads: int = 10  # MOSEI 6
    depth: int = 4  # of the crossmodal encoders; SIMS 2
    memory_depth: int = 4  # of the self-attention behind them; SIMS 3
    kernels: dict[str, int] = field(default_factory=KERNELS.copy)  # MOSEI audio 1, vision 3; SIMS both 1
    causal: bool = True  # a frame attends to none that is later
    text_dropout: float = 0.5  # MOSEI and SIMS .3
    attention_dropout: dict[str, float] = field(default_factory=lambda: {"text": 0.3, "audio": 0.2})  # by source
    memory_dropout: float = 0.3  # the text's, for all
    relu_dropout: float = 0.0
    residual_dropout: float = 0.0  # SIMS .2
    embed_dropout: float = 0.2  # MOSEI 0, SIMS .1
    output_dropout: float = 0.5  # SIMS .1
    positions: Positions = "sines"  # of frames, added to their values as the authors do; none: MMSA's
    readout: Readout = "real"  # at the last real frame; last (published): padding is read as if it were frames
    equal_widths: bool = True  # project features that are already D wide (published: not)

    def __post_init__(self) -> None:
        require_words(self)
        require_streams("mult", self)


PUBLISHED = Settings(encoder="bert-base-uncased", finetune=False, positions="none", readout="last", equal_widths=False)
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 2e-3,  # MOSEI 5e-4
    "weight_decay": 5e-3,  # MOSEI and SIMS 1e-3
    "batch_size": 16,  # MOSEI 4
    "accumulate": 8,
    "schedule": "plateau",
    "patience": 5,  # MOSEI 20, SIMS 10
    "factor": 0.1,
    "epochs": 100,
    "early_stop": 8,
    "clip_value": 0.6,
    "pattern": "mixed",
}


class Model(nn.Module):
    """MulT over the modalities that `spec.widths` names; one alone asks itself."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        self.text_encoder, widths = text_encoder_of(spec, settings)
        self.modalities = names = [m for m in MODALITIES if m in widths]
        self.partners = {m: [p for p in names if p != m] or [m] for m in names}
        kept = [m for m in names if widths[m] == settings.width and not settings.equal_widths]
        self.project = nn.ModuleDict(
            {
                m: nn.Conv1d(widths[m], settings.width, settings.kernels.get(m, 1), bias=False)
                for m in names
                if m not in kept
            }
        )
        self.crossmodal = nn.ModuleDict(
            {f"{m}_with_{p}": self._transformer(settings.width, p) for m in names for p in self.partners[m]}
        )
        self.memory = nn.ModuleDict({m: self._transformer(settings.width * len(self.partners[m])) for m in names})
        joined = settings.width * sum(len(partners) for partners in self.partners.values())
        self.head = ResidualHead(joined, joined, spec.classes or 1, settings.output_dropout)

    def _transformer(self, width: int, source: str | None = None) -> CrossmodalTransformer:
        s = self.settings
        depth, attention = s.depth, s.attention_dropout.get(source or "", 0.0)
        if source is None:
            depth, attention = s.memory_depth, s.memory_dropout
        dropouts = (attention, s.relu_dropout, s.residual_dropout, s.embed_dropout)
        return CrossmodalTransformer(width, Shape(s.heads, depth, *dropouts, positions=s.positions == "sines"))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction, and `memory_<modality>` (B, (M - 1) D), what the others told each modality."""
        memories = self.memories(batch)
        output_BK, _, _ = self.head(torch.cat(memories, 1))
        shown = {f"memory_{m}": x_BD for m, x_BD in zip(self.modalities, memories)}
        return {"prediction": prediction(output_BK, self.spec.classes)} | shown

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Mean absolute error, or cross-entropy."""
        output_BK, _, _ = self.head(torch.cat(self.memories(batch), 1))
        return {"loss": task_loss(output_BK, batch.labels["M"], self.spec.classes, "l1")}

    def memories(self, batch: Batch) -> list[Tensor]:
        """What each modality makes of what the others tell it, read at its last frame."""
        streams = {m: self._stream(m, batch) for m in self.modalities}
        return [self._remember(m, streams) for m in self.modalities]

    def _stream(self, m: str, batch: Batch) -> Frames:
        """(B, T - kernel + 1, D)."""
        masked = self.settings.readout == "real"
        frames = read(batch, m, self.text_encoder, self.spec, "masked" if masked else "read")
        if m == "text":
            frames = replace(frames, values_BTD=dropout(frames.values_BTD, self.settings.text_dropout, self.training))
        return convolved(frames, dict(self.project.items()).get(m), masked)

    def _remember(self, m: str, streams: dict[str, Frames]) -> Tensor:
        causal = self.settings.causal
        told = [self.crossmodal[f"{m}_with_{p}"](streams[m], streams[p], causal) for p in self.partners[m]]
        memory = self.memory[m]
        assert isinstance(memory, CrossmodalTransformer)
        return memory.readout(Frames(torch.cat(told, -1), streams[m].lengths_B), causal)
