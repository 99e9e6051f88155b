"""Frames are disturbed, not lost: each with probability `level`. In: a sequence. Out: which stay clean, and the rest.

Gaussian noise is added whose deviation is the clip's own, column by column, so that it is as strong on raw features as
on standardised ones; that of a single frame (a view, a picture's vector) is over its columns. Token ids have no
deviation: a disturbed word is misheard as another word of the clip. Nothing tells a model which frames were disturbed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lacuna.data.samples import is_tokens, specials
from lacuna.mask.mask import Draw
from lacuna.types import FeatureSequence

RATES = True


def survivors(sequence: FeatureSequence, draw: Draw) -> np.ndarray:
    """(T,) bool: the frames that stay clean. [CLS] and [SEP] of a text always do."""
    survives = draw.generator().uniform(size=len(sequence)) >= draw.rate
    return survives | specials(sequence)


def spoil(sequence: FeatureSequence, draw: Draw) -> FeatureSequence:
    """The sequence with noise on every frame; what was unseen stays empty."""
    generator, values = draw.generator("noise"), sequence.values.copy()
    if is_tokens(sequence):
        words = values[sequence.seen & ~specials(sequence), 0]
        if len(words):
            values[sequence.seen, 0] = generator.choice(words, len(values))[sequence.seen]
    elif sequence.seen.any():
        seen = sequence.values[sequence.seen]
        added = generator.standard_normal(values.shape) * (seen.std(0) if len(seen) > 1 else seen.std())
        values[sequence.seen] += added[sequence.seen].astype(np.float32)
    return replace(sequence, values=values)
