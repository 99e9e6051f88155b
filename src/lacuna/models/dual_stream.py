"""Dual stream: words attend to regions and regions to words (co-attention). In: any modalities. Out: class or score.

With more than two modalities each stream attends to all others; alone, to itself. `published` is the author's form: one
vector a sample, attended across the batch, so that a prediction depends on who shares it (docs/errata.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lacuna.data.batches import InputSpec
from lacuna.models.parts import image_text as parts


@dataclass(frozen=True)
class Settings(parts.StreamSettings):
    """The streams' size, the published form, and the loss."""


PUBLISHED = Settings(
    published=True, text_pool="cls", balance="none", encoder="bert-base-multilingual-cased", finetune=False
)
TRAINING = {
    "optimizer": "adamw",
    "learning_rate": 1e-4,
    "batch_size": 32,
    "epochs": 40,
    "early_stop": 6,
    "pattern": "none",
}


class Model(parts.ImageText):
    """A stream a modality, and a linear layer on their summary places."""

    settings: Settings

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__(settings, spec)
        self.others = {m: [n for n in self.names if n != m] or [m] for m in self.names}
        size, dropout = settings.size, settings.dropout
        if settings.published:
            self.project = nn.ModuleDict({m: parts.projection(self.widths[m], size, dropout) for m in self.names})
        else:
            lengths = spec.lengths
            self.embed = nn.ModuleDict({m: parts.Embedding(self.widths[m], size, lengths[m]) for m in self.names})
        kind = parts.AcrossBatch if settings.published else parts.Attention
        self.layers: Any = nn.ModuleList(
            nn.ModuleDict({m: kind(size, settings.heads, dropout) for m in self.names}) for _ in range(settings.layers)
        )
        self.norm = nn.Identity() if settings.published else nn.LayerNorm(len(self.names) * size)
        self.head = nn.Linear(len(self.names) * size, self.task.outputs)

    def outputs(self, frames: dict[str, parts.Frames]) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs (B, K) and the co-attention maps, `_maps`."""
        if self.settings.published:
            return self.head(self._across_batch(parts.vectors(frames, self.settings.text_pool))), {}
        embedded = {m: self.embed[m](*frames[m]) for m in self.names}
        x, counted = {m: e[0] for m, e in embedded.items()}, {m: e[1] for m, e in embedded.items()}
        weights: dict[str, Tensor] = {}
        for layer in self.layers:
            told = {}
            for m, others in self.others.items():
                y_BSD, counted_BS = torch.cat([x[n] for n in others], 1), torch.cat([counted[n] for n in others], 1)
                told[m], weights[m] = layer[m](x[m], y_BSD, counted_BS)
            x = told
        summary_BD = torch.cat([x[m][:, 0] for m in self.names], -1)
        return self.head(self.norm(summary_BD)), self._maps(weights, x)

    def _across_batch(self, pooled: dict[str, Tensor]) -> Tensor:
        x = {m: self.project[m](pooled[m]) for m in self.names}
        for layer in self.layers:
            x = {m: layer[m](x[m], sum(x[n] for n in others) / len(others)) for m, others in self.others.items()}
        return torch.cat([x[m] for m in self.names], -1)

    def _maps(self, weights: dict[str, Tensor], x: dict[str, Tensor]) -> dict[str, Tensor]:
        """`attention_<from>_<to>` (B, T_from, T_to) of the last layer, and what the summary place of `from` looks at,
        `summary_<from>_<to>` (B, T_to).
        """
        maps = {}
        for m, others in self.others.items():
            for n, map_BTS in zip(others, weights[m].split([x[n].shape[1] for n in others], 2)):
                maps[f"attention_{m}_{n}"] = map_BTS[:, 1:, 1:]
                maps[f"summary_{m}_{n}"] = map_BTS[:, 0, 1:]
        return maps
