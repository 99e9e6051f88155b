"""FeatureSequence <-> HDF5. In: (clip id, sequence) pairs in order. Out: one ragged file, and sequences by id.

Layout: `values` (F, D), `times` (F,), `seen` (F,) hold the frames of all clips one after another; clip i owns rows
`offsets[i]:offsets[i+1]`; `ids` (N,) are utf-8. Attributes: `columns`, `modality`, `extractor`, `settings`, `versions`.
Files carry no time stamps, so equal content gives equal bytes. gzip is used because every HDF5 reader has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lacuna.storage.files import damaged, reading, replacing
from lacuna.storage.hdf5 import created, opened, require_room
from lacuna.types import TOKEN_COLUMNS, FeatureSequence, MalformedInput, empty_sequence

NOTHING = ("none",)  # the columns of a modality that a dataset cannot have
LAYOUT = 1  # raised when a file of an older Lacuna can no longer be read
CHUNK_BYTES = 1 << 18
REMEDY = "delete it and run `dvc repro extract`"
READ_BYTES = 1 << 24  # of values at once, where many clips are wanted
WRITE_BYTES = 1 << 22  # frames gathered before a write: one clip at a time would write (and compress) chunks again


@dataclass(frozen=True)
class Origin:
    """Where features come from: written as attributes, shown by `lacuna info`, and part of every checkpoint."""

    extractor: str
    modality: str
    columns: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    dtype: str = "float32"


def write_features(path: Path, origin: Origin, sequences: Iterable[tuple[str, FeatureSequence]]) -> int:
    """Write all sequences, holding a few megabytes at a time; return the number of clips.

    A long clip may come in pieces, one after another under its id.
    """
    with replacing(path, digest=True) as temporary, created(temporary) as file:
        _write_attributes(file, origin)
        rows = _Rows(file, len(origin.columns), np.dtype(origin.dtype))
        ids: list[str] = []
        for clip_id, sequence in sequences:
            if sequence.columns != origin.columns:
                raise MalformedInput(f"clip {clip_id}: expected columns {origin.columns}, got {sequence.columns}")
            rows.append(sequence, goes_on=ids[-1:] == [clip_id])
            ids += [] if ids[-1:] == [clip_id] else [clip_id]
        rows.flush()
        require_room(file, sum(len(clip_id) + 64 for clip_id in ids))
        file["offsets"] = np.asarray(rows.offsets, np.int64)
        file.create_dataset("ids", data=ids, shape=(len(ids),), dtype=h5py.string_dtype())
    return len(ids)


def _write_attributes(file: h5py.File, origin: Origin) -> None:
    file.attrs["layout"] = LAYOUT
    file.attrs["extractor"] = origin.extractor
    file.attrs["modality"] = origin.modality
    file.attrs["columns"] = json.dumps(origin.columns)
    file.attrs["settings"] = json.dumps(origin.settings, sort_keys=True)
    file.attrs["versions"] = json.dumps(origin.versions, sort_keys=True)


class _Rows:
    """Growing datasets `values`, `times`, `seen`, written in large pieces."""

    def __init__(self, file: h5py.File, width: int, dtype: np.dtype) -> None:
        frames = max(1, CHUNK_BYTES // max(1, width * dtype.itemsize))
        self._sets = {
            "values": _growing(file, "values", (width,), dtype, frames),
            "times": _growing(file, "times", (), np.dtype(np.float64), frames),
            "seen": _growing(file, "seen", (), np.dtype(bool), frames),
        }
        self._file = file
        self._pending: list[FeatureSequence] = []
        self._bytes = 0
        self.offsets = [0]

    def append(self, sequence: FeatureSequence, goes_on: bool) -> None:
        end = self.offsets[-1] + len(sequence)
        if goes_on:
            self.offsets[-1] = end
        else:
            self.offsets.append(end)
        self._pending.append(sequence)
        self._bytes += sequence.values.nbytes
        if self._bytes >= WRITE_BYTES:
            self.flush()

    def flush(self) -> None:
        if not self._pending:
            return
        require_room(self._file, self._bytes)
        for name, dataset in self._sets.items():
            rows = np.concatenate([getattr(s, name) for s in self._pending])
            dataset.resize(len(dataset) + len(rows), axis=0)
            dataset[len(dataset) - len(rows) :] = rows
        self._pending, self._bytes = [], 0


def _growing(file: h5py.File, name: str, tail: tuple[int, ...], dtype: np.dtype, frames: int) -> h5py.Dataset:
    return file.create_dataset(
        name, (0, *tail), dtype, maxshape=(None, *tail), chunks=(frames, *tail), compression="gzip", compression_opts=1
    )


class FeatureFile:
    """A features file opened for reading: `file[clip_id]` is a FeatureSequence, `file.origin` says what made it."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MalformedInput(f"{path}: expected a features file, found none (run `dvc repro extract`)")
        self._file = opened(self.path, "a Lacuna features file", REMEDY)
        with self._reading():
            self._offsets = self._file["offsets"][:]
            self.ids: tuple[str, ...] = tuple(self._file["ids"].asstr()[:])
            self.origin = self._read_origin()
        self._check_shapes()
        self._index = {clip_id: i for i, clip_id in enumerate(self.ids)}

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self.path, "a Lacuna features file", REMEDY)

    def _read_origin(self) -> Origin:
        attrs = self._file.attrs
        if attrs["layout"] != LAYOUT:
            raise MalformedInput(f"{self.path}: expected layout {LAYOUT}, got {attrs['layout']}")
        return Origin(
            extractor=str(attrs["extractor"]),
            modality=str(attrs["modality"]),
            columns=tuple(map(str, json.loads(attrs["columns"]))),
            settings=dict(json.loads(attrs["settings"])),
            versions=dict(json.loads(attrs["versions"])),
            dtype=str(self._file["values"].dtype),
        )

    def _check_shapes(self) -> None:
        """The parts must fit each other, so that no clip is given another's rows."""
        offsets, frames, width = self._offsets, self._file["times"].shape, len(self.origin.columns)
        if offsets.shape != (len(self.ids) + 1,) or offsets[0] or (np.diff(offsets) < 0).any():
            raise damaged(self.path, f"{len(self.ids) + 1} growing offsets", offsets.shape, REMEDY)
        wanted = {"values": (*frames, width), "times": (offsets[-1],), "seen": frames}
        for name, shape in wanted.items():
            if self._file[name].shape != shape:
                raise damaged(self.path, f"{name} of shape {shape}", self._file[name].shape, REMEDY)

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._index

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, clip_id: str) -> FeatureSequence:
        if clip_id not in self._index:
            return empty_sequence(self.origin.columns, np.dtype(self.origin.dtype).type)
        i = self._index[clip_id]
        (sequence,) = self._clips(i, i + 1)
        return sequence

    def each(self, clip_ids: Sequence[str]) -> Iterator[FeatureSequence]:
        """The clips in this order, read in large pieces as long as the order is the file's: much faster than one by
        one, and no more than a piece is in memory."""
        row = np.dtype(self.origin.dtype).itemsize * len(self.origin.columns)
        return self._each(clip_ids, ("values", "times", "seen"), READ_BYTES // row)

    def marked(self, clip_ids: Sequence[str]) -> Iterator[FeatureSequence]:
        """The same with times and `seen` alone: values, unless they are token ids, are zeros that take no memory."""
        tokens = self.origin.columns == TOKEN_COLUMNS
        return self._each(clip_ids, ("values", "times", "seen") if tokens else ("times", "seen"), READ_BYTES // 16)

    def _each(self, clip_ids: Sequence[str], names: Sequence[str], rows: int) -> Iterator[FeatureSequence]:
        columns, zero = self.origin.columns, np.zeros((), self.origin.dtype)
        first = last = 0
        for clip_id in clip_ids:
            i = self._index.get(clip_id)
            if i is None:
                yield self[clip_id]
                continue
            if not first <= i < last:
                first, last = i, self._last_of(i, rows)
                pieces = dict(zip(names, self.arrays(first, last, names)))
            own = slice(*(self._offsets[i : i + 2] - self._offsets[first]))
            times, seen = pieces["times"][own], pieces["seen"][own]
            values = pieces["values"][own] if "values" in pieces else np.broadcast_to(zero, (len(times), len(columns)))
            yield FeatureSequence.unchecked(values, times, seen, columns)

    def _last_of(self, first: int, rows: int) -> int:
        """Behind the last clip of those that begin with `first` and have together at most so many rows; one fits."""
        fits = self._offsets[first] + rows
        return max(first + 1, int(np.searchsorted(self._offsets, fits, side="right")) - 1)

    def windows(self) -> Iterator[tuple[int, int]]:
        """(first, last) clips, in order, whose values together take about `READ_BYTES`: what to read at once."""
        row = np.dtype(self.origin.dtype).itemsize * len(self.origin.columns)
        first = 0
        while first < len(self.ids):
            last = self._last_of(first, READ_BYTES // row)
            yield first, last
            first = last

    def arrays(self, first: int, last: int, names: Sequence[str] = ("values", "times", "seen")) -> list[np.ndarray]:
        """The rows of the clips from `first` to before `last`, of each dataset that is named."""
        rows = slice(self._offsets[first], self._offsets[last])
        with self._reading():
            return [self._file[name][rows] for name in names]

    def _clips(self, first: int, last: int) -> Iterator[FeatureSequence]:
        bounds = self._offsets[first : last + 1]
        values, times, seen = self.arrays(first, last)
        for start, stop in pairwise(bounds - bounds[0]):
            yield FeatureSequence(values[start:stop], times[start:stop], seen[start:stop], self.origin.columns)

    def lengths(self) -> np.ndarray:
        """Frames of each clip, (N,), in the order of `ids`."""
        return np.diff(self._offsets)

    @property
    def offsets(self) -> np.ndarray:
        """(N + 1,) int64: clip i owns rows `offsets[i]:offsets[i + 1]`."""
        return self._offsets

    def seen(self) -> int:
        """How many frames of all clips are seen; holds a few megabytes of them at a time."""
        with self._reading():
            rows = self._file["seen"]
            return sum(int(rows[first : first + READ_BYTES].sum()) for first in range(0, len(rows), READ_BYTES))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
