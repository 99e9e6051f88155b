"""Whole modalities are lost: each with probability `level`, or all but those a level names ("text+audio")."""

from __future__ import annotations

import numpy as np

from lacuna.data.samples import specials
from lacuna.mask.mask import Draw
from lacuna.mask.together import Draws
from lacuna.types import FeatureSequence

RATES = True


def survivors(sequence: FeatureSequence, draw: Draw) -> np.ndarray:
    """(T,) bool, all alike but for [CLS] and [SEP], which always survive."""
    if isinstance(draw.level, str):
        present: bool | np.ndarray = draw.modality in draw.level.split("+")
    else:
        present = draw.generator().uniform() >= draw.level
    return present | specials(sequence)


def survivors_together(draws: Draws, special_BT: np.ndarray) -> np.ndarray:
    """(B, T) bool: the same of a batch, by other numbers."""
    return (draws.uniform(1) >= draws.level) | special_BT
