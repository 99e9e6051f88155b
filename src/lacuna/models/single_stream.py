"""Single stream: one transformer over a sample's own words and regions. In: any modalities. Out: a class or a score.

`published` is the author's form: one vector a sample, read as one sequence of B positions, so that a prediction depends
on who shares its batch (docs/errata.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lacuna.data.batches import InputSpec
from lacuna.models.parts import image_text as parts


@dataclass(frozen=True)
class Settings(parts.StreamSettings):
    """The transformer's size, the published form, and the loss."""


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
    """Places of all modalities in one sequence, self-attention over it, and a linear layer on the summary places."""

    settings: Settings

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__(settings, spec)
        size, heads, dropout = settings.size, settings.heads, settings.dropout
        if settings.published:
            self.project = nn.ModuleDict({m: parts.projection(self.widths[m], size, dropout) for m in self.names})
            width = len(self.names) * size
            self.layers = nn.ModuleList(parts.AcrossBatch(width, heads, dropout) for _ in range(settings.layers))
        else:
            lengths = spec.lengths
            self.embed = nn.ModuleDict({m: parts.Embedding(self.widths[m], size, lengths[m]) for m in self.names})
            self.layers = nn.ModuleList(parts.Attention(size, heads, dropout) for _ in range(settings.layers))
        self.norm = nn.Identity() if settings.published else nn.LayerNorm(len(self.names) * size)
        self.head = nn.Linear(len(self.names) * size, self.task.outputs)

    def outputs(self, frames: dict[str, parts.Frames]) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs (B, K) and `attention_<modality>` (B, T) of the last layer."""
        if self.settings.published:
            pooled = parts.vectors(frames, self.settings.text_pool)
            x_BD = torch.cat([self.project[m](pooled[m]) for m in self.names], -1)
            for layer in self.layers:
                x_BD = layer(x_BD, x_BD)
            return self.head(x_BD), {}
        embedded = [self.embed[m](*frames[m]) for m in self.names]
        x_BTD, counted_BT = (torch.cat(parts_, 1) for parts_ in zip(*embedded))
        for layer in self.layers:
            x_BTD, weights_BTT = layer(x_BTD, x_BTD, counted_BT)
        sizes = [x.shape[1] for x, _ in embedded]
        summaries_BMD = torch.stack([part[:, 0] for part in x_BTD.split(sizes, 1)], 1)
        rows_BMT = torch.stack([part[:, 0] for part in weights_BTT.split(sizes, 1)], 1)
        # What the summary places look at, on average: (B, T_m) over each modality's frames.
        looked = {m: w[..., 1:].mean(1) for m, w in zip(self.names, rows_BMT.split(sizes, 2))}
        return self.head(self.norm(summaries_BMD.flatten(1))), {f"attention_{m}": w for m, w in looked.items()}
