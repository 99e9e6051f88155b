"""One modality of a batch as frames. In: a batch. Out: values behind the text encoder, and how many are real."""

from __future__ import annotations

from typing import Literal

import torch

from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts.crossmodal import Frames
from lacuna.models.parts.text import TextEncoder, fit_to, pad_to

Padding = Literal["masked", "read"]


def read(batch: Batch, modality: str, encoder: TextEncoder | None, spec: InputSpec, padding: Padding) -> Frames:
    """(B, T, W) frames of one modality, at most `spec.lengths`; `masked`: zero where padded.

    `read` is what published code does: padding up to `spec.lengths` counts as frames.
    """
    fit = pad_to if padding == "read" else fit_to
    padded = fit(batch[modality], spec.lengths[modality])
    x_BTW = encoder(padded) if modality == "text" and encoder is not None else padded.values
    if padding == "read":
        return Frames(x_BTW, torch.full_like(padded.lengths, x_BTW.shape[1]))
    # Padding may hold anything, NaN included.
    return Frames(torch.where(padded.real[..., None], x_BTW, 0), padded.lengths)
