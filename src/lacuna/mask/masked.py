"""Sequences as a loss leaves them. In: a store and a pattern. Out: a store, which masks what it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType

import numpy as np

from lacuna.data.stores import Store
from lacuna.mask.mask import Draw, Level, Place, harm, name_of
from lacuna.types import Clip, FeatureSequence


class Masked:
    """The sequences of `modality` under a pattern at (level, seed); `places` are what the pattern `legacy` needs."""

    def __init__(
        self,
        store: Store,
        clips: Sequence[Clip],
        modality: str,
        pattern: ModuleType,
        drawn: tuple[Level, int],
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
        sequence, frames = self[place], len(values)
        values[:] = sequence.values[:frames]
        marks["time"], marks["seen"] = sequence.times[:frames], sequence.seen[:frames]

    def _masked(self, place: int, sequence: FeatureSequence) -> FeatureSequence:
        clip, (level, seed) = self._clips[place], self._drawn
        where = self._places.get(clip.id)
        draw = Draw(clip.dataset, clip.id, self._modality, name_of(self._pattern), level, seed, 0, where)
        return harm(sequence, self._pattern, self._pattern.survivors(sequence, draw), draw)
