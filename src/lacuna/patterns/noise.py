"""Frames are disturbed, not lost: each with probability `level`. In: a sequence. Out: which stay clean, and the rest.

Gaussian noise is added whose deviation is the clip's own, column by column, so that it is as strong on raw features as
on standardised ones. Token ids have no deviation: a disturbed word is misheard as another word of the clip. Nothing
tells a model which frames were disturbed. A sequence of one frame (a picture's vector) has no deviation and stays as
it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lacuna.masking import Draw
from lacuna.samples import is_tokens, specials
from lacuna.types import FeatureSequence


def survivors(sequence: FeatureSequence, draw: Draw) -> np.ndarray:
    """(T,) bool: the frames that stay clean. [CLS] and [SEP] of a text always do."""
    survives = draw.generator().uniform(size=len(sequence)) >= float(draw.level)
    return survives | specials(sequence)


def spoil(sequence: FeatureSequence, survives: np.ndarray, draw: Draw) -> FeatureSequence:
    """The sequence with noise on the frames that do not stay clean; what was unseen stays empty."""
    generator = draw.generator("noise")
    spoilt = ~survives & sequence.seen
    values = sequence.values.copy()
    if is_tokens(sequence):
        words = values[1:-1, 0][sequence.seen[1:-1]]
        if len(words):
            values[spoilt, 0] = generator.choice(words, len(values))[spoilt]
        return replace(sequence, values=values)
    if spoilt.any():
        added = generator.standard_normal(values.shape) * sequence.values[sequence.seen].std(0)
        values[spoilt] += added[spoilt].astype(np.float32)
    return replace(sequence, values=values)
