"""Simulated loss: mask(sample, pattern, level, seed, draw) -> Sample.

A mask is a pure function of (dataset, clip id, modality, pattern, level, seed, draw): it does not depend on the order
of clips, the worker, the batch or what else is masked. `legacy` alone also needs the clip's place in its split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from lacuna.data.samples import Sample
from lacuna.types import LOST_TOKEN, FeatureSequence, MalformedInput, is_tokens

# A missing rate in [0, 1]; what the pattern names (subsets of modalities); or a rate for each: "text=0.2+audio=0.6".
Level = float | str


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
    """Everything that decides one mask of one modality of one clip.

    To a pattern that says `RATES = True`, `level` may be a column (L, 1) of rates.
    """

    dataset: str
    clip: str
    modality: str
    pattern: str
    level: Level | np.ndarray
    seed: int
    draw: int = 0
    place: Place | None = None

    @property
    def rate(self) -> float | np.ndarray:
        """The level, where it is a number or a column of such; MalformedInput where it names something."""
        if isinstance(self.level, str):
            raise MalformedInput(f"{self.pattern}: expected a rate, got {self.level!r}")
        return self.level

    def generator(self, *salt: str) -> np.random.Generator:
        """Random numbers that belong to this draw alone; other `salt`, other numbers.

        The level is left out on purpose: what is lost at one rate is lost at every higher one, so a curve over the
        rates shows the rates and not the luck of the draw.
        """
        parts = (self.dataset, self.clip, self.modality, self.pattern, self.seed, self.draw, *salt)
        key = "\0".join(map(str, parts))
        return np.random.default_rng(np.frombuffer(hashlib.sha256(key.encode()).digest(), np.uint32))


def name_of(pattern: ModuleType) -> str:
    """What a pattern is called in params.yaml."""
    return pattern.__name__.rpartition(".")[2]


def mask(
    sample: Sample, pattern: ModuleType, level: Level, seed: int, draw: int = 0, place: Place | None = None
) -> Sample:
    """The sample as it is after the loss: lost frames are zeros and unseen, lost words `LOST_TOKEN`.

    A pattern with a function `spoil` decides itself what stands where frames do not survive.
    """
    level = checked_level(level)
    features = {}
    for modality, sequence in sample.features.items():
        own = rate_of(level, modality)
        one = Draw(sample.clip.dataset, sample.clip.id, modality, name_of(pattern), own, seed, draw, place)
        features[modality] = lost(sample, modality, pattern, pattern.survivors(sequence, one), one)
    return replace(sample, features=features)


def rate_of(level: Level, modality: str) -> Level:
    """What a level is for one modality; one that is not named among rates by modality loses nothing."""
    if isinstance(level, str) and "=" in level:
        level = rates_by_modality(level).get(modality, 0.0)
    if isinstance(level, float) and not 0 <= level <= 1:
        raise MalformedInput(f"missing rate: expected 0 to 1, got {level}")
    return level


def rates_by_modality(level: str) -> dict[str, float]:
    """{"text": 0.2, "audio": 0.6} of "text=0.2+audio=0.6"."""
    parts = (part.partition("=") for part in level.split("+"))
    return {name: float(rate) for name, _, rate in parts}


def level_by_modality(rates: Mapping[str, float]) -> str:
    """The level that gives each modality a rate of its own."""
    return "+".join(f"{name}={float(rate):g}" for name, rate in rates.items())


def lost(sample: Sample, modality: str, pattern: ModuleType, survives: np.ndarray, draw: Draw) -> FeatureSequence:
    """One modality of a sample after the pattern; made again of what survives, where the sample knows how.

    A pattern with a function `swap` puts another clip's modality in its place.
    """
    sequence = sample.features[modality]
    if hasattr(pattern, "swap"):
        return sequence if survives.all() else pattern.swap(sample, modality, draw)
    if modality in sample.again and not hasattr(pattern, "spoil") and not survives.all():
        return sample.again[modality]([sample.clip], [survives])[0]
    return harm(sequence, pattern, survives, draw)


def survivors_by_level(
    pattern: ModuleType, sequence: FeatureSequence, draw: Draw, levels: Sequence[Level]
) -> np.ndarray:
    """(levels, T) bool: which frames survive at each. Where the pattern takes many rates at once it draws once."""
    survives = np.empty((len(levels), len(sequence)), bool)
    together = [i for i, level in enumerate(levels) if isinstance(level, float) and getattr(pattern, "RATES", False)]
    if together:
        rates = np.array([levels[i] for i in together])[:, None]
        survives[together] = pattern.survivors(sequence, replace(draw, level=rates))
    for i in set(range(len(levels))) - set(together):
        survives[i] = pattern.survivors(sequence, replace(draw, level=rate_of(levels[i], draw.modality)))
    return survives


def checked_level(level: Level) -> Level:
    """The level, unless it is a number that is no rate."""
    if isinstance(level, float | int) and not 0 <= level <= 1:
        raise MalformedInput(f"missing rate: expected 0 to 1, got {level}")
    return level


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
