"""Every frame is lost with probability `level`, independently (LNLN, TFR-Net). In: a sequence. Out: what survives."""

from __future__ import annotations

import numpy as np

from lacuna.data.samples import specials
from lacuna.mask.mask import Draw
from lacuna.types import FeatureSequence


def survivors(sequence: FeatureSequence, draw: Draw) -> np.ndarray:
    """(T,) bool. [CLS] and [SEP] of a text always survive."""
    survives = draw.generator().uniform(size=len(sequence)) >= float(draw.level)
    return survives | specials(sequence)
