"""Noise of MOSI's shape to time models on. In: lengths, a batch size. Out: batches of token ids, video and audio.

Full batches fill the lengths; real ones draw segments as MOSI has them, 16 word pieces of 50 on the mean, and are
sorted by length within a pool, as training does.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch

from lacuna.data.batches import Batch, Padded

WIDTHS = {"text": 3, "vision": 20, "audio": 5}  # of text: ids, mask and segments
STATES = WIDTHS | {"text": 768}  # text as hidden states, which no encoder need make
ALIGNED = {"text": 50, "vision": 50, "audio": 50}
UNALIGNED = {"text": 50, "vision": 500, "audio": 375}
FULL, POOL = 4, 16  # how many batches: full ones all cost the same


def batches(
    lengths: Mapping[str, int], size: int, real: bool, widths: Mapping[str, int] = MappingProxyType(WIDTHS)
) -> list[Batch]:
    """FULL batches that fill the lengths, or POOL batches of real ones."""
    rng = np.random.default_rng(0)
    if not real:
        return [_batch(rng, lengths, widths, np.ones(size)) for _ in range(FULL)]
    shares = np.sort(np.clip(rng.lognormal(np.log(0.27), 0.65, POOL * size), 0.06, 1)).reshape(POOL, size)
    return [_batch(rng, lengths, widths, shares[i]) for i in rng.permutation(POOL)]


def _batch(
    rng: np.random.Generator, lengths: Mapping[str, int], widths: Mapping[str, int], shares: np.ndarray
) -> Batch:
    """Samples that fill these shares of the lengths."""
    modalities = {}
    for modality, most in lengths.items():
        own = torch.from_numpy(np.ceil(shares * most).astype(np.int64))
        shape = (len(shares), int(own.max()))
        seen = torch.arange(shape[1]) < own[:, None]
        values = torch.from_numpy(rng.normal(size=(*shape, widths[modality])).astype(np.float32))
        if widths[modality] == 3:
            ids = torch.from_numpy(rng.integers(1000, 30000, shape))
            values = torch.stack([ids, torch.ones_like(ids), torch.zeros_like(ids)], -1)
        modalities[modality] = Padded(values * seen[..., None], torch.zeros(shape), seen, own)
    labels = {"M": torch.from_numpy(rng.integers(-15, 16, len(shares)) / 5).float()}
    return Batch(tuple(map(str, range(len(shares)))), modalities, labels)
