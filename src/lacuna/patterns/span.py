"""Contiguous outages (a stuck camera, a dropped line): the share `level` of a sequence is lost in one to three runs."""

from __future__ import annotations

import numpy as np

from lacuna.data.samples import specials
from lacuna.mask.mask import Draw
from lacuna.types import FeatureSequence

RATES = True
MOST = 3  # outages in a clip, before they grow into each other


def survivors(sequence: FeatureSequence, draw: Draw) -> np.ndarray:
    """(T,) bool. [CLS] and [SEP] of a text always survive, and the share is of the words between them.

    Outages begin at random moments and grow with the level to both sides, so what is lost at one rate is lost at every
    higher one. A number of frames that is not whole is rounded up as often as makes the mean right.
    """
    generator = draw.generator()
    words = np.flatnonzero(~specials(sequence))  # or frames
    frames = len(words)
    starts = generator.uniform(0, frames, size=generator.integers(1, MOST + 1))
    distance = np.abs(np.arange(frames)[:, None] + 0.5 - starts).min(1)
    lost = np.floor(np.multiply(draw.level, frames) + generator.uniform())
    rank = np.empty(frames)
    rank[np.argsort(distance, kind="stable")] = np.arange(frames)
    survives = np.ones((*np.shape(draw.level)[:-1], len(sequence)), bool)
    survives[..., words] = rank >= lost
    return survives
