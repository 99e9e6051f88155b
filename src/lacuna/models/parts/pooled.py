"""A modality as one vector that knows what it was made of, or as few. In: one of a batch. Out: means and evidence.

B samples, T frames, D features, W windows. Lost frames count for nothing; of text that comes as token ids the encoder
has read [UNK] in place of lost words, so all its real positions are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lacuna.data.batches import Batch, Padded
from lacuna.models.parts.text import TextEncoder

EVIDENCE = 3  # columns of `Pooled.evidence_BE`
WINDOWS = 16  # W, of equal length, that a clip is cut into where the order of its frames matters


@dataclass(frozen=True)
class Pooled:
    """Mean and deviation (B, D) over the frames that were seen, zero where none was; whether any was, (B,) bool; and
    the evidence (B, 3): the share of frames seen, whether all are lost, and the log of their number."""

    mean_BD: Tensor
    deviation_BD: Tensor
    seen_B: Tensor
    evidence_BE: Tensor


def pooled(batch: Batch, modality: str, text_encoder: TextEncoder | None) -> Pooled:
    """One modality of a batch; token ids go through the encoder first."""
    padded = batch[modality]
    if modality == "text" and text_encoder is not None and text_encoder.reads_tokens:
        return _pooled(text_encoder(padded), padded.real, words(padded), padded.lengths - 2)
    counted_BT = padded.seen & padded.real
    return _pooled(padded.values, counted_BT, counted_BT, padded.lengths)


def windows(padded: Padded) -> tuple[Tensor, Tensor]:
    """Means (B, W, D) of what was seen of each of `WINDOWS` equal parts of a clip, and whether anything was, (B, W).

    A part of which nothing was seen is zero; clips of fewer frames leave parts empty.
    """
    counted_BT = padded.seen & padded.real
    x_BTD = torch.where(counted_BT[..., None], padded.values, 0)  # padding may hold anything, NaN included
    place_T = torch.arange(counted_BT.shape[1], device=counted_BT.device)
    window_BT = place_T * WINDOWS // padded.lengths[:, None].clamp(min=1)
    inside_BTW = window_BT[..., None] == torch.arange(WINDOWS, device=counted_BT.device)
    inside_BTW = (inside_BTW & counted_BT[..., None]).to(x_BTD.dtype)
    count_BW = inside_BTW.sum(1)
    return inside_BTW.transpose(1, 2) @ x_BTD / count_BW.clamp(min=1)[..., None], count_BW > 0


def words(text: Padded) -> Tensor:
    """(B, T) bool: the words that were not lost; [CLS] and [SEP], which never are, left out."""
    place_T = torch.arange(text.seen.shape[1], device=text.seen.device)
    return text.seen & (place_T > 0) & (place_T < text.lengths[:, None] - 1)


def _pooled(x_BTD: Tensor, counted_BT: Tensor, seen_BT: Tensor, length_B: Tensor) -> Pooled:
    """`counted_BT` are averaged where any frame of `seen_BT` is left, of the `length_B` that there were."""
    count_B, seen_B = seen_BT.sum(1), seen_BT.any(1)
    weight_BT1 = (counted_BT & seen_B[:, None])[..., None]
    x_BTD = torch.where(weight_BT1, x_BTD, 0)  # padding may hold anything, NaN included
    total_B1 = weight_BT1.sum(1).clamp(min=1)
    mean_BD = x_BTD.sum(1) / total_B1
    spread_BTD = torch.where(weight_BT1, x_BTD - mean_BD[:, None], 0)
    # A root has no gradient at 0, where a single frame is.
    deviation_BD = (spread_BTD.square().sum(1) / total_B1 + 1e-12).sqrt() * seen_B[:, None]
    share_B = count_B / length_B.clamp(min=1)
    evidence_BE = torch.stack([share_B, (~seen_B).float(), count_B.float().log1p() / 4], 1)
    return Pooled(mean_BD, deviation_BD, seen_B, evidence_BE.to(mean_BD.dtype))
