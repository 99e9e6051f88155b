"""ALMT, the adaptive language-guided multimodal transformer (EMNLP 2023). In: a Batch. Out: predictions and losses.

Language, at three depths, asks audio and vision for what suits it; the answers add up to a hyper-modality, which a
learnt token then reads. Where the paper and its code differ, a setting chooses (docs/errata.md).
B samples, T frames, K learnt tokens, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts import task
from lacuna.models.parts.lnln_blocks import CrossTransformer, Embedding, HyperLayer, Transformer
from lacuna.models.parts.reading import Padding, read
from lacuna.models.parts.text import Finetune, Source, text_encoder_of
from lacuna.types import MODALITIES, MalformedInput, require_words

HyperStart = Literal["drawn", "ones"]
Residual = Literal["normalised", "plain"]
Readout = Literal["token", "mean"]


@dataclass(frozen=True)
class Settings:
    """The architecture; the defaults are the published one, mended."""

    encoder: Source = "embedded"  # of token ids: see TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on
    guide: str = "text"  # what asks the others; where the data lacks it, the first that it has
    width: int = 128  # D
    tokens: int = 8  # K, what is kept of each modality
    heads: int = 8
    hidden: int = 128  # width inside the feed-forward layers
    depth: int = 1  # of the transformer that embeds each modality
    hyper_depth: int = 3  # layers that ask; the guide is encoded one layer less deep
    hyper_head: int = 16  # width of a head in them
    fusion_depth: int = 2  # 4 for MOSEI and SIMS
    hyper_start: HyperStart = "drawn"  # ones (published) have no variance: the first norm makes 0 of them
    residual: Residual = "normalised"  # H after its norm is added to (the code), or H itself (plain: the paper)
    readout: Readout = "token"  # or the mean over the guide's places, as LNLN has it
    padding: Padding = "masked"  # or read as if it were frames, up to spec.lengths (published)

    def __post_init__(self) -> None:
        require_words(self)
        if self.guide not in MODALITIES:
            raise MalformedInput(f"almt.guide: expected one of {MODALITIES}, got {self.guide!r}")
        for name in ("hyper_depth", "fusion_depth", "tokens"):
            if getattr(self, name) < 1:
                raise MalformedInput(f"almt.{name}: expected at least 1, got {getattr(self, name)}")


PUBLISHED = Settings(finetune=True, encoder="bert-base-uncased", hyper_start="ones", padding="read")
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


class Model(nn.Module):
    """ALMT for whatever modalities `spec` names; with one alone, that one also stands for the others."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        s = settings
        self.text_encoder, widths = text_encoder_of(spec, settings)
        self.modalities = sorted(spec.widths, key=MODALITIES.index)
        self.guide = s.guide if s.guide in spec.widths else self.modalities[0]
        self.others = [m for m in self.modalities if m != self.guide] or [self.guide]

        block = (s.width, s.heads, s.hidden)
        self.embeddings = nn.ModuleDict(
            {m: Embedding(widths[m], spec.lengths[m], s.tokens, block, s.depth) for m in self.modalities}
        )
        self.guide_encoder = Transformer(s.tokens, 0, *block, s.hyper_depth - 1)
        start = torch.ones if s.hyper_start == "ones" else torch.randn
        self.hyper = nn.Parameter(start(1, s.tokens, s.width) * (1.0 if s.hyper_start == "ones" else 0.02))
        normed = s.residual == "normalised"
        self.hyper_layers = nn.ModuleList(
            HyperLayer(self.others, s.width, s.heads, s.hyper_head, normed) for _ in range(s.hyper_depth)
        )
        self.fusion = CrossTransformer(s.tokens, *block, s.fusion_depth)
        self.head = nn.Linear(s.width, spec.classes or 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """{"prediction": (B,) score or (B, classes) probabilities}."""
        return {"prediction": task.prediction(self._outputs(batch), self.spec.classes)}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Mean squared error, or cross-entropy."""
        return {"loss": task.task_loss(self._outputs(batch), batch.labels["M"], self.spec.classes, "mse")}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """H¹ of each modality (B, K, D)."""
        return {m: self._embed(m, batch) for m in self.modalities}

    def hypers(self, features: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """H of the hyper-modality after each layer, and the guide's states that asked for them."""
        states = self.guide_encoder.states(features[self.guide])
        told = [self.hyper.expand(len(states[0]), -1, -1)]
        for layer, state in zip(self.hyper_layers, states, strict=True):
            told.append(layer(told[-1], state, features))
        return told[1:], states

    def _outputs(self, batch: Batch) -> Tensor:
        hypers, states = self.hypers(self.embed(batch))
        if self.settings.readout == "token":
            return self.head(self.fusion.at_token(hypers[-1]))
        return self.head(self.fusion(hypers[-1], states[-1]).mean(1))

    def _embed(self, modality: str, batch: Batch) -> Tensor:
        padding = self.settings.padding
        frames = read(batch, modality, self.text_encoder, self.spec, padding)
        return self.embeddings[modality](frames.values_BTD, None if padding == "read" else frames.real_BT)
