"""ALMT in its plain published form: what the tests hold ours against.

Of plain_lnln's blocks, which the two models share. Parameters carry the names of the authors' checkpoint, so
`lacuna.commands.published.almt.rename` moves weights from here to ours. It imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import plain_lnln as blocks
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ALMT(nn.Module):
    """`widths` and `lengths` by the authors' letters l, v, a; the text is hidden states."""

    def __init__(self, widths: Mapping[str, int], lengths: Mapping[str, int], hyper: int = 3, fusion: int = 2) -> None:
        super().__init__()
        self.h_hyper = nn.Parameter(torch.ones(1, blocks.TOKENS, blocks.WIDTH))
        for m in blocks.ORDER:
            embed = blocks.Transformer(lengths[m], blocks.TOKENS, 1)
            setattr(self, f"proj_{m}", nn.Sequential(nn.Linear(widths[m], blocks.WIDTH), embed))
        self.l_encoder = blocks.Transformer(blocks.TOKENS, 0, hyper - 1)
        self.h_hyper_layer = blocks._Hyper(hyper)
        self.fusion_layer = blocks._Cross(fusion)
        self.regression_layer = nn.Sequential(nn.Linear(blocks.WIDTH, 1))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(B, 1); everything padded to the full lengths."""
        h = {m: getattr(self, f"proj_{m}")(inputs[m])[-1][:, : blocks.TOKENS] for m in blocks.ORDER}
        states, hyper = self.l_encoder(h["l"]), self.h_hyper.repeat(len(h["l"]), 1, 1)
        for (layer,), state in zip(self.h_hyper_layer.layers, states, strict=True):
            hyper = layer(state, h["a"], h["v"], hyper)
        return self.regression_layer(self.fusion_layer(hyper, states[-1])[:, 0])

    def loss(self, inputs: Mapping[str, Tensor], label_B: Tensor) -> dict[str, Tensor]:
        return {"loss": F.mse_loss(self(inputs).squeeze(1), label_B)}
