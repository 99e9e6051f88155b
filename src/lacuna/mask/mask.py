"""Simulated loss: mask(sample, pattern, level, seed, draw) -> Sample.

A mask is a pure function of (dataset, clip id, modality, pattern, level, seed, draw): it does not depend on the order
of clips, the worker, the batch or what else is masked. `legacy` alone also needs the clip's place in its split.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from lacuna.data.samples import LOST_TOKEN, Sample, is_tokens
from lacuna.types import FeatureSequence, MalformedInput

Level = float | str  # a missing rate in [0, 1], or what the pattern names (subsets of modalities)


@dataclass(frozen=True)
class Place:
    """Where a clip stands among its split: index of count clips, each padded to `padded` frames per modality.

    `lacking` of the rows of the file that they come from are not among them, so that the others have moved up.
    """

    index: int
    count: int
    padded: dict[str, int]
    lacking: int = 0


@dataclass(frozen=True)
class Draw:
    """Everything that decides one mask of one modality of one clip."""

    dataset: str
    clip: str
    modality: str
    pattern: str
    level: Level
    seed: int
    draw: int = 0
    place: Place | None = None

    def generator(self, *salt: str) -> np.random.Generator:
        """Random numbers that belong to this draw alone; other `salt`, other numbers.

        The level is left out on purpose: what is lost at one rate is lost at every higher one, so a curve over the
        rates shows the rates and not the luck of the draw.
        """
        parts = (self.dataset, self.clip, self.modality, self.pattern, self.seed, self.draw, *salt)
        key = "\0".join(map(str, parts))
        return np.random.default_rng(np.frombuffer(hashlib.sha256(key.encode()).digest(), np.uint32))


def mask(
    sample: Sample, pattern: ModuleType, level: Level, seed: int, draw: int = 0, place: Place | None = None
) -> Sample:
    """The sample as it is after the loss: lost frames are zeros and unseen, lost words `LOST_TOKEN`.

    A pattern with a function `spoil` decides itself what stands where frames do not survive.
    """
    if isinstance(level, float) and not 0 <= level <= 1:
        raise MalformedInput(f"missing rate: expected 0 to 1, got {level}")
    name = pattern.__name__.rpartition(".")[2]
    features = {}
    for modality, sequence in sample.features.items():
        one = Draw(sample.clip.dataset, sample.clip.id, modality, name, level, seed, draw, place)
        features[modality] = harm(sequence, pattern, pattern.survivors(sequence, one), one)
    return replace(sample, features=features)


def harm(sequence: FeatureSequence, pattern: ModuleType, survives: np.ndarray, draw: Draw) -> FeatureSequence:
    """The sequence after the pattern: frames that do not survive are as its `spoil` leaves them, or lost."""
    if not hasattr(pattern, "spoil"):
        return lose(sequence, survives)
    spoilt = disturbed(sequence, pattern, draw)
    values = np.where(survives[:, None], sequence.values, spoilt.values)
    return replace(sequence, values=values, seen=np.where(survives, sequence.seen, spoilt.seen))


def disturbed(sequence: FeatureSequence, pattern: ModuleType, draw: Draw) -> FeatureSequence:
    """The sequence with every frame as a pattern's `spoil` leaves it, the same at each level."""
    return pattern.spoil(sequence, replace(draw, level=1.0))


def lose(sequence: FeatureSequence, survives: np.ndarray) -> FeatureSequence:
    """The sequence with the frames that do not survive, (T,) bool, emptied."""
    values = np.where(survives[:, None], sequence.values, 0).astype(sequence.values.dtype)
    if is_tokens(sequence):
        # The place of a lost word stays known (its attention mask stays 1): only its id is gone.
        values = sequence.values.copy()
        values[~survives, 0] = LOST_TOKEN
    return replace(sequence, values=values, seen=sequence.seen & survives)
