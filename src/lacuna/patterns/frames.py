"""Every frame is lost with probability `level`, independently (LNLN, TFR-Net). In: a sequence. Out: what survives."""

from __future__ import annotations

import numpy as np

from lacuna.data.samples import specials
from lacuna.mask.mask import Draw
from lacuna.mask.together import Draws
from lacuna.types import FeatureSequence

RATES = True


def survivors(sequence: FeatureSequence, draw: Draw) -> np.ndarray:
    """(T,) bool. [CLS] and [SEP] of a text always survive."""
    survives = draw.generator().uniform(size=len(sequence)) >= draw.rate
    return survives | specials(sequence)


def survivors_together(draws: Draws, special_BT: np.ndarray) -> np.ndarray:
    """(B, T) bool: the same of a batch, by other numbers."""
    return (draws.uniform(special_BT.shape[1]) >= draws.level) | special_BT
