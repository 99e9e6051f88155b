"""Masks of a whole batch at once, for training. In: keys of clips, seed and draw. Out: random numbers, (B, T).

Version 2 of the draw. Version 1 makes a generator for each clip (about 20 µs), which a GPU waits for. Here the numbers
of a clip are SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) begun at the clip's own key, and those of all clips are
computed at once. A mask is still a function of (dataset, clip id, modality, pattern, seed, draw) and of nothing else.
A pattern takes part by a function `survivors_together(draws, special_BT) -> (B, T) bool`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lacuna.types import HIDDEN_COLUMN, TAILED_COLUMN, TOKEN_COLUMNS, Clip

TOGETHER: Final = 2  # the version of the draw that this is
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mixed(state: np.ndarray) -> np.ndarray:
    """SplitMix64's output for (…) uint64 states."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def keys_of(clips: Sequence[Clip], modality: str, pattern: str) -> np.ndarray:
    """(N,) uint64: what tells a clip's modality under a pattern from all others."""
    digests = (hashlib.sha256(f"{c.dataset}\0{c.id}\0{modality}\0{pattern}".encode()).digest()[:8] for c in clips)
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


@dataclass(frozen=True)
class Draws:
    """Everything that decides the masks of one modality of a batch: the clips' keys (B,), level, seed and draw."""

    keys: np.ndarray
    level: float
    seed: int
    draw: int = 0

    def uniform(self, count: int, salt: int = 0) -> np.ndarray:
        """(B, count) float64 in [0, 1); other `salt`, other numbers. The level is left out, as in `mask.Draw`."""
        start = self.keys
        for part in np.array([[self.seed], [self.draw], [salt]], np.uint64):
            start = mixed(start + (part + np.uint64(1)) * GOLDEN)
        numbers = mixed(start[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)
        return (numbers >> np.uint64(11)) * 2.0**-53


def specials_together(columns: tuple[str, ...], values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(B, T) bool: `types.specials` of padded (B, T, D) sequences of `counts` frames."""
    place_T, special = np.arange(values.shape[1]), np.zeros(values.shape[:2], bool)
    if not special.size:
        return special
    if columns == TOKEN_COLUMNS:
        last = values[np.arange(len(values)), np.maximum(counts, 1) - 1]
        tailed_B = (last[:, TOKEN_COLUMNS.index("token_type_ids")] == 2) & (counts > 0)
    elif columns[0] in (HIDDEN_COLUMN, TAILED_COLUMN):
        tailed_B = np.full(len(values), columns[0] == TAILED_COLUMN)
    else:
        return special
    back = counts[:, None] - 1 - place_T  # 0 is the last frame
    ends = np.where(tailed_B[:, None], (back == 0) | (back == 1), (place_T == 0) | (back == 0))
    return ends & (back >= 0)
