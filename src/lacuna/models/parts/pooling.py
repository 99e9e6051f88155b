"""The text as one vector. In: hidden states (B, T, W) of a text encoder, or embeddings. Out: (B, W)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lacuna.data.batches import InputSpec, Padded
from lacuna.models.parts.text import fit_to

TextPool = Literal["mean", "cls"]


def text_vector(hidden_BTW: Tensor, text: Padded, spec: InputSpec, pool: TextPool) -> Tensor:
    """The state of the first position ([CLS]), or the mean of the positions that count.

    A real position counts if it is seen; where words are encoded after the loss (token ids), a lost one counts too, for
    the encoder puts [UNK] there.
    """
    if pool == "cls":
        return hidden_BTW[:, 0]
    text = fit_to(text, hidden_BTW.shape[1])
    counted_BT = text.real if spec.tokens else text.real & text.seen
    total_BW = torch.where(counted_BT[..., None], hidden_BTW, 0).sum(1)
    return total_BW / counted_BT.sum(1, keepdim=True).clamp(min=1)
