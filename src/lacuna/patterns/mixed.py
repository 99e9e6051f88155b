"""The losses LNLN trains on: half of the clips keep a modality whole, the others lose frames at a rate of U(0, 1)."""

from __future__ import annotations

import numpy as np

from lacuna.data.samples import specials
from lacuna.mask.mask import Draw
from lacuna.mask.together import Draws
from lacuna.types import FeatureSequence

RATES = True


def survivors(sequence: FeatureSequence, draw: Draw) -> np.ndarray:
    """(T,) bool; the rate is drawn anew for each clip, modality and draw, so `level` is not read."""
    generator = draw.generator()
    rate = generator.uniform() if generator.uniform() < 0.5 else 0.0
    survives = generator.uniform(size=len(sequence)) >= rate
    return survives | specials(sequence)


def survivors_together(draws: Draws, special_BT: np.ndarray) -> np.ndarray:
    """(B, T) bool: the same of a batch, by other numbers."""
    drawn_B2 = draws.uniform(2, salt=1)
    rate_B1 = drawn_B2[:, 1:] * (drawn_B2[:, :1] < 0.5)
    return (draws.uniform(special_BT.shape[1]) >= rate_B1) | special_BT
