"""The sequences of one modality. In: a packed features file, or sequences in memory. Out: one, or many padded.

A store is a sequence of FeatureSequences that also knows their lengths without reading them, and that copies many into
one padded array without making an object of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lacuna.storage.packed import MARK, Packed
from lacuna.types import TOKEN_COLUMNS, FeatureSequence


class Room:
    """Arrays that are used again: a new one each time would be cleared by the system, page by page."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array of any content; what was taken under the name before is overwritten with it."""
        size = int(np.prod(shape)) * dtype.itemsize
        if name not in self._arrays or self._arrays[name].nbytes < size:
            self._arrays[name] = self.allocate(size + size // 4)
        return self._arrays[name][:size].view(dtype).reshape(shape)

    def allocate(self, size: int) -> np.ndarray:
        """(size,) bytes."""
        return np.empty(size, np.uint8)


@dataclass(frozen=True)
class Laid:
    """Sequences laid side by side: values (B, T, D), times (B, T) float32 s, seen (B, T) bool, counts (B,) frames.

    What lies beyond a sequence's frames is zero.
    """

    values: np.ndarray
    times: np.ndarray
    seen: np.ndarray
    counts: np.ndarray


class Store(Protocol):
    """Sequences of one modality: as a sequence of them, and what is known without reading one."""

    columns: tuple[str, ...]
    dtype: np.dtype
    lengths: np.ndarray  # (N,) int64, frames

    def __len__(self) -> int: ...

    def __getitem__(self, place: int) -> FeatureSequence: ...

    def __iter__(self) -> Iterator[FeatureSequence]: ...

    def marked(self, place: int) -> FeatureSequence:
        """One sequence whose values, unless they are token ids, may be zeros that take no memory."""

    def copy(self, place: int, values: np.ndarray, marks: np.ndarray) -> None:
        """The first frames, as many as `values` and `marks` have room for."""


def copied(sequence: FeatureSequence, values: np.ndarray, marks: np.ndarray) -> None:
    """Fill both arrays with a sequence's first frames, as many as there is room for."""
    frames = len(values)
    values[:] = sequence.values[:frames]
    marks["time"], marks["seen"] = sequence.times[:frames], sequence.seen[:frames]


class Held:
    """Sequences in memory."""

    def __init__(self, sequences: Sequence[FeatureSequence]) -> None:
        self._sequences = list(sequences)
        self.columns, self.dtype = sequences[0].columns, sequences[0].values.dtype
        self.lengths = np.array([len(s) for s in sequences], np.int64)

    def __len__(self) -> int:
        return len(self._sequences)

    def __getitem__(self, place: int) -> FeatureSequence:
        return self._sequences[place]

    def __iter__(self) -> Iterator[FeatureSequence]:
        return iter(self._sequences)

    def marked(self, place: int) -> FeatureSequence:
        return self._sequences[place]

    def copy(self, place: int, values: np.ndarray, marks: np.ndarray) -> None:
        copied(self._sequences[place], values, marks)


class Filed:
    """Sequences of a packed features file, by the clips' places in it (-1: the clip has none)."""

    def __init__(self, packed: Packed, clip_ids: Sequence[str]) -> None:
        self._packed, self._places = packed, packed.places(clip_ids)
        self.columns, self.dtype = packed.origin.columns, packed.dtype
        lengths = np.append(np.diff(packed.offsets), 0)  # place -1 is the last, which has none
        self.lengths = lengths[self._places]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: int) -> FeatureSequence:
        return self._packed[self._places[place]]

    def __iter__(self) -> Iterator[FeatureSequence]:
        return (self[i] for i in range(len(self)))

    def marked(self, place: int) -> FeatureSequence:
        return self[place] if self.columns == TOKEN_COLUMNS else self._packed.marked(self._places[place])

    def copy(self, place: int, values: np.ndarray, marks: np.ndarray) -> None:
        if len(values):
            self._packed.read(int(self._packed.offsets[self._places[place]]), values, marks)


class Part:
    """Some sequences of another store, in an order of its own."""

    def __init__(self, store: Store, places: Sequence[int] | np.ndarray) -> None:
        self._store, self._places = store, np.asarray(places, np.int64)
        self.columns, self.dtype, self.lengths = store.columns, store.dtype, store.lengths[self._places]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: int) -> FeatureSequence:
        return self._store[self._places[place]]

    def __iter__(self) -> Iterator[FeatureSequence]:
        return (self[i] for i in range(len(self)))

    def marked(self, place: int) -> FeatureSequence:
        return self._store.marked(self._places[place])

    def copy(self, place: int, values: np.ndarray, marks: np.ndarray) -> None:
        self._store.copy(self._places[place], values, marks)


def lay(store: Store, places: Sequence[int], most: int | None, room: Room, name: str = "") -> Laid:
    """The sequences at these places, padded to the longest, after a cut at `most` frames; token sequences keep their
    last token, as tokenizers that truncate have it. At least one frame wide."""
    whole = store.lengths[np.asarray(places, np.int64)]
    counts = whole if most is None else np.minimum(whole, most)
    shape = (len(places), max(1, int(counts.max(initial=0))))
    values = room.take(f"{name}.values", (*shape, len(store.columns)), store.dtype)
    marks = room.take(f"{name}.marks", shape, MARK)
    for i, (place, count) in enumerate(zip(places, counts.tolist())):
        store.copy(place, values[i, :count], marks[i, :count])
        values[i, count:] = 0
        marks[i, count:] = 0
        if count < whole[i] and store.columns == TOKEN_COLUMNS:
            last = store[place]
            values[i, count - 1], marks[i, count - 1] = last.values[-1], (last.times[-1], last.seen[-1])
    times = room.take(f"{name}.times", shape, np.dtype(np.float32))
    times[:] = marks["time"]
    seen = room.take(f"{name}.seen", shape, np.dtype(bool))
    seen[:] = marks["seen"]
    return Laid(values, times, seen, counts)


def cut_positions(frames: int, most: int | None, tokens: bool) -> np.ndarray:
    """Positions that `lay` keeps of so many frames: the first `most`, but of tokens the last one too."""
    kept = np.arange(frames if most is None else min(most, frames))
    if tokens and len(kept) < frames:
        kept[-1] = frames - 1
    return kept
