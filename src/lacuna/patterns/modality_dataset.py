"""Whole modalities are lost for the entire data set at once, each with probability `level` in each draw.

`modality` draws anew for each clip; here a device is broken for all of them. Subsets by name are the fixed form.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lacuna.data.samples import specials
from lacuna.mask.mask import Draw
from lacuna.types import FeatureSequence


def survivors(sequence: FeatureSequence, draw: Draw) -> np.ndarray:
    """(T,) bool, all alike but for [CLS] and [SEP], which always survive; the same for each clip of a draw."""
    present = replace(draw, clip="*").generator().uniform() >= float(draw.level)
    return np.full(len(sequence), present) | specials(sequence)
