"""The very masks of the published loaders (LNLN, TFR-Net, MMSA). In: a sequence and its place. Out: what survives.

They seed numpy's global generator before EACH modality and draw one (clips of the split, padded frames) array, so a
mask depends on the clip's row and on the padded length, and modalities of equal padding lose the same frames. Use it to
compare with published numbers; `frames` has the same rate without these flaws.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lacuna.mask.mask import Draw
from lacuna.types import FeatureSequence, MalformedInput

RATES = True


def survivors(sequence: FeatureSequence, draw: Draw) -> np.ndarray:
    """(T,) bool: `uniform > level` in the clip's row; a text's first and last position always survive.

    Frames past the padded length are cut before any model sees them; they count as surviving.
    """
    if draw.place is None:
        raise MalformedInput(
            f"clip {draw.clip}: expected its place in its split, which the pattern 'legacy' needs, got none"
        )
    if draw.place.lacking:
        raise MalformedInput(
            f"pattern legacy: expected every row of the pickle, whose masks go by row, got {draw.place.lacking} fewer "
            f"in the split of clip {draw.clip}"
        )
    padded = draw.place.padded[draw.modality]
    row = _uniform(draw.seed, draw.place.count, padded)[draw.place.index] > draw.level
    survives = np.ones((*row.shape[:-1], len(sequence)), bool)
    survives[..., :padded] = row[..., : len(sequence)]
    if draw.modality == "text" and len(sequence):
        survives[..., [0, -1]] = True
    return survives


@lru_cache(maxsize=6)  # three modalities of two splits; MOSEI's train split takes 65 MB for 500 frames
def _uniform(seed: int, count: int, padded: int) -> np.ndarray:
    """(count, padded) of numpy's legacy generator, without touching the global one."""
    return np.random.RandomState(seed).uniform(size=(count, padded))
