"""Sequences as a loss leaves them. In: a store and a pattern. Out: a store, which masks what it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from lacuna.data.samples import Again
from lacuna.data.stores import Store, copied
from lacuna.mask.mask import Draw, Level, Place, harm, name_of, rate_of
from lacuna.mask.together import TOGETHER, Draws, keys_of, specials_together
from lacuna.types import Clip, FeatureSequence


@dataclass(frozen=True)
class Drawn:
    """What decides a mask beside its clip: a level, a seed, which draw of it, and the version of the draw (1: a
    generator a clip; 2: as training has it, where the pattern knows how)."""

    level: Level
    seed: int
    draw: int = 0
    version: int = 1


class Masked:
    """The sequences of `modality` under a pattern; `places` are what the pattern `legacy` needs."""

    def __init__(
        self,
        store: Store,
        clips: Sequence[Clip],
        modality: str,
        pattern: ModuleType,
        drawn: Drawn,
        places: Mapping[str, Place] | None = None,
    ) -> None:
        self._store, self._clips, self._modality, self._pattern = store, clips, modality, pattern
        self._drawn, self._places = drawn, places or {}
        self.columns, self.dtype, self.lengths = store.columns, store.dtype, store.lengths

    def __len__(self) -> int:
        return len(self._store)

    def __iter__(self) -> Iterator[FeatureSequence]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, place: int) -> FeatureSequence:
        return self._masked(place, self._store[place])

    def marked(self, place: int) -> FeatureSequence:
        """The same without values, but for a pattern that disturbs them."""
        if hasattr(self._pattern, "spoil"):
            return self[place]
        return self._masked(place, self._store.marked(place))

    def copy(self, place: int, values: np.ndarray, marks: np.ndarray) -> None:
        """The first frames, as many as there is room for."""
        copied(self[place], values, marks)

    def _masked(self, place: int, sequence: FeatureSequence) -> FeatureSequence:
        clip, drawn, pattern = self._clips[place], self._drawn, self._pattern
        name, where = name_of(pattern), self._places.get(clip.id)
        level = rate_of(drawn.level, self._modality)
        draw = Draw(clip.dataset, clip.id, self._modality, name, level, drawn.seed, drawn.draw, where)
        if drawn.version == TOGETHER and hasattr(pattern, "survivors_together"):
            keys, counts = keys_of([clip], self._modality, name), np.array([len(sequence)])
            special = specials_together(sequence.columns, sequence.values[None], counts)
            draws = Draws(keys, float(level), drawn.seed, drawn.draw)
            return harm(sequence, pattern, pattern.survivors_together(draws, special)[0], draw)
        return harm(sequence, pattern, pattern.survivors(sequence, draw), draw)


class Encoded:
    """Masked sequences whose values are made again of what their marks say is left; those that lost nothing stay."""

    def __init__(self, masked: Masked, clips: Sequence[Clip], again: Again) -> None:
        self._masked, self._clips, self._again = masked, clips, again
        self.columns, self.dtype, self.lengths = masked.columns, masked.dtype, masked.lengths

    def __len__(self) -> int:
        return len(self._masked)

    def __iter__(self) -> Iterator[FeatureSequence]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, place: int) -> FeatureSequence:
        left = self._masked[place]
        return left if left.seen.all() else self._again([self._clips[place]], [left.seen])[0]

    def marked(self, place: int) -> FeatureSequence:
        """The same without values."""
        return self._masked.marked(place)

    def copy(self, place: int, values: np.ndarray, marks: np.ndarray) -> None:
        """The first frames, as many as there is room for."""
        copied(self[place], values, marks)
