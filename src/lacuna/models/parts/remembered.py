"""Texts that are encoded once, however often they are asked. In: an encoder that stands still. Out: the same states.

Most lossy texts come again: a modality is there or lost at every rate, rate 0 loses nothing, and the masks of
validation are those of the epoch before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lacuna.data.batches import Padded

MOST_BYTES = 1 << 28  # of states that are kept; what comes after them is encoded each time


class Remembered:
    """Hidden states (T, W) of single texts, known by their ids, their marks of what was seen and their padding.

    To look, the host reads the batch: on a GPU, where encoding is cheap, that would be the dearer part of a step.
    """

    def __init__(self) -> None:
        self._states: dict[bytes, Tensor] = {}
        self._bytes = 0

    def __call__(self, encode: Callable[[Padded], Tensor], text: Padded) -> Tensor:
        """`encode(text)`, (B, T, W), of which only rows that were never asked are computed, equal ones once."""
        keys = _keys(text)
        fresh = {key: i for i, key in enumerate(keys) if key not in self._states}
        told: dict[bytes, Tensor] = {}
        if fresh:
            told = dict(zip(fresh, encode(text.rows(torch.tensor(list(fresh.values())))).unbind()))
        states_BTW = torch.stack([told[key] if key in told else self._states[key] for key in keys])
        for key, state in told.items():
            self._bytes += state.nbytes
            if self._bytes <= MOST_BYTES:
                self._states[key] = state.clone()
        return states_BTW


def _keys(text: Padded) -> list[bytes]:
    ids, seen = text.values.cpu().numpy(), text.seen.cpu().numpy()
    return [b"%d " % n + row.tobytes() + mark.tobytes() for n, row, mark in zip(text.counts.tolist(), ids, seen)]


@contextmanager
def remembering(model: nn.Module, memory: Remembered | None = None) -> Iterator[None]:
    """Inside, the text encoder of `model`, if it has one, looks in `memory` first. Its weights must not change."""
    encoder = getattr(model, "text_encoder", None)
    if encoder is None:
        yield
        return
    encoder.remembered = memory or Remembered()
    try:
        yield
    finally:
        encoder.remembered = None
