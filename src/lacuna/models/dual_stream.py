"""Dual stream: words attend to regions and regions to words (co-attention). In: any modalities. Out: class or score.

With more than two modalities each stream attends to all others; alone, to itself. `published` is the author's form: one
vector a sample, attended across the batch, so that a prediction depends on who shares it (docs/errata.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lacuna.batches import Batch, InputSpec
from lacuna.layers import Source
from lacuna.models import _image_text as parts


@dataclass(frozen=True)
class Settings:
    """The streams' size, the published form, and the loss."""

    size: int = 128
    heads: int = 4
    layers: int = 1
    dropout: float = 0.3
    published: bool = False  # vectors of a whole batch attend to each other; for comparison only
    text_pool: parts.Pool = "mean"  # published form: mean, or cls, the first position
    balance: parts.Balance = "weights"  # of unequal classes: none (published) | weights | focal
    encoder: Source = "embedded"  # of token ids: see layers.TextEncoder
    finetune: bool = True  # the text encoder too

    def __post_init__(self) -> None:
        kinds = {"text_pool": (self.text_pool, parts.Pool), "balance": (self.balance, parts.Balance)}
        parts.require("dual_stream", self.size, self.heads, **kinds)


PUBLISHED = Settings(
    published=True, text_pool="cls", balance="none", encoder="bert-base-multilingual-cased", finetune=False
)
TRAINING = {"optimizer": "adamw", "learning_rate": 1e-4, "batch_size": 32, "epochs": 40, "early_stop": 6}


class Model(nn.Module):
    """A stream a modality, and a linear layer on their summary places."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.names = spec, parts.modalities_of(spec, "dual_stream")
        self.others = {m: [n for n in self.names if n != m] or [m] for m in self.names}
        made = parts.text_encoder_of(spec, self.names, settings.encoder, settings.finetune)
        self.text_encoder, widths, source = made
        self.settings = replace(settings, encoder=source)
        size, dropout = settings.size, settings.dropout
        self.task = parts.Task(spec, settings.balance)
        if settings.published:
            self.project = nn.ModuleDict({m: parts.projection(widths[m], size, dropout) for m in self.names})
        else:
            lengths = spec.lengths
            self.embed = nn.ModuleDict({m: parts.Embedding(widths[m], size, lengths[m]) for m in self.names})
        kind = parts.AcrossBatch if settings.published else parts.Attention
        self.layers = nn.ModuleList(
            nn.ModuleDict({m: kind(size, settings.heads, dropout) for m in self.names}) for _ in range(settings.layers)
        )
        self.norm = nn.Identity() if settings.published else nn.LayerNorm(len(self.names) * size)
        self.head = nn.Linear(len(self.names) * size, self.task.outputs)

    def _outputs(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        frames = parts.sequences(batch, self.names, self.text_encoder, self.spec.lengths)
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

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`prediction`: (B, K) class probabilities or (B,) scores, and the co-attention maps."""
        outputs_BK, maps = self._outputs(batch)
        return {"prediction": self.task.prediction(outputs_BK), **maps}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """The task's loss alone."""
        return {"loss": self.task.loss(self._outputs(batch)[0], batch.labels["M"])}
