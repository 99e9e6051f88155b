"""A features file laid flat. In: features/<extractor>.h5. Out: `Packed`, which reads any clip with two system calls.

HDF5 must unpack whole chunks, so a clip read at random costs its neighbours too; training reads clips at random in
every epoch. So the file is unpacked once, into `<cache>/packed/<SHA-256 of the file>/`: `values` (F, D) and `marks`
(F,), records of time and seen, as they lie in memory, and `index.npz`. They are read by position and not mapped: the
pages stay the system's, and count towards no process. Their digests lie in `SHA256SUMS`, which is checked where a
process opens the folder first; a damaged folder is made anew.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lacuna.storage.cache import default_root
from lacuna.storage.features import FeatureFile, Origin
from lacuna.storage.files import CONTENT, alone, beside, digest_of_file, filling, known_digest
from lacuna.types import FeatureSequence, MalformedInput, empty_sequence

MARK = np.dtype([("time", "<f8"), ("seen", "?")])
SOURCE = "source.json"  # which features file a folder holds
PARTS = ("values", "marks", "index.npz", SOURCE)
SUMS = "SHA256SUMS"  # as `sha256sum --check` reads it


class Packed:
    """The frames of all clips of one features file; clip i owns rows `offsets[i]:offsets[i + 1]`."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        told = json.loads((self.folder / SOURCE).read_text(encoding="utf-8"))
        self.origin = Origin(**told["origin"] | {"columns": tuple(told["origin"]["columns"])})
        with np.load(self.folder / "index.npz") as index:
            self.ids, self.offsets = tuple(index["ids"].tolist()), index["offsets"]
        self.dtype = np.dtype(self.origin.dtype)
        self._row = self.dtype.itemsize * len(self.origin.columns)

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder}  # other processes open the files themselves

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    def places(self, clip_ids: Sequence[str]) -> np.ndarray:
        """(N,) int64: where each clip stands in the file, -1 where it has no frames there."""
        index = {clip_id: i for i, clip_id in enumerate(self.ids)}
        return np.array([index.get(clip_id, -1) for clip_id in clip_ids], np.int64)

    def __getitem__(self, place: int) -> FeatureSequence:
        """The clip at a place; without frames for -1."""
        if place < 0:
            return empty_sequence(self.origin.columns, self.dtype.type)
        first, frames = self._span(place)
        values, marks = np.empty((frames, len(self.origin.columns)), self.dtype), np.empty(frames, MARK)
        self.read(first, values, marks)
        return FeatureSequence.unchecked(values, marks["time"], marks["seen"], self.origin.columns)

    def marked(self, place: int) -> FeatureSequence:
        """The same with times and `seen` alone: its values are zeros that take no memory."""
        if place < 0:
            return self[place]
        first, frames = self._span(place)
        marks = np.empty(frames, MARK)
        self._fill("marks", marks, first * MARK.itemsize)
        values = np.broadcast_to(np.zeros((), self.dtype), (frames, len(self.origin.columns)))
        return FeatureSequence.unchecked(values, marks["time"], marks["seen"], self.origin.columns)

    def read(self, first: int, values: np.ndarray, marks: np.ndarray) -> None:
        """Fill both arrays, (frames, D) and (frames,) `MARK`, from row `first` on."""
        self._fill("values", values, first * self._row)
        self._fill("marks", marks, first * MARK.itemsize)

    def _span(self, place: int) -> tuple[int, int]:
        first, last = self.offsets[place : place + 2].tolist()
        return first, last - first

    def _fill(self, name: str, array: np.ndarray, position: int) -> None:
        # An array of numbers is read into as the bytes it is.
        if array.size and os.preadv(self._files[name], [array.view(np.uint8).data], position) != array.nbytes:
            raise OSError(f"{self.folder / name}: expected {array.nbytes} bytes from {position} on")

    @cached_property
    def _files(self) -> dict[str, int]:
        return {name: os.open(self.folder / name, os.O_RDONLY) for name in ("values", "marks")}

    def __del__(self) -> None:
        for file in self.__dict__.get("_files", {}).values():
            os.close(file)


def pack(path: Path, root: Path | None = None) -> Packed:
    """The packed form of a features file; made where the cache (`root`) has none of these bytes yet.

    It takes as much disk as the values themselves. What an older file at the same path was packed into is removed.
    """
    with FeatureFile(path) as file:
        # Opening it checked the digest that lies beside it.
        noted = beside(path)
        key = noted.read_text(encoding="utf-8")[:64] if noted.is_file() else digest_of_file(path)
        return packed(Index(key, str(path.resolve()), file.origin, file.ids, file.offsets), _blocks(file), root)


@dataclass(frozen=True)
class Index:
    """What stands in a packed folder, and what it is known by: `key`, a digest of all that decides the values, and
    `path`, whose place a newer key takes."""

    key: str
    path: str
    origin: Origin
    ids: Sequence[str]
    offsets: np.ndarray


def packed(index: Index, blocks: Iterable[tuple[np.ndarray, np.ndarray]], root: Path | None = None) -> Packed:
    """The packed folder of an index, made of (values, marks) blocks if there is no whole one in the cache."""
    folder = (root or default_root()) / "packed" / index.key
    if not _whole(folder):
        with alone(folder):  # of runs that begin together one unpacks, and the others find it done
            if not _whole(folder):
                shutil.rmtree(folder, ignore_errors=True)
                with filling(folder) as temporary:
                    _write(temporary, index, blocks)
                _forget_others(folder, index.path)
    return Packed(folder)


def _blocks(file: FeatureFile) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All frames of a features file, a few megabytes at a time."""
    for first, last in file.windows():
        values, times, seen = file.arrays(first, last)
        if not (np.isfinite(values).all() and np.isfinite(times).all()):
            raise MalformedInput(f"{file.path}: expected finite numbers in clips {file.ids[first]} and following")
        marks = np.empty(len(times), MARK)
        marks["time"], marks["seen"] = times, seen
        yield values, marks


def _write(folder: Path, index: Index, blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    with (folder / "values").open("wb") as values_file, (folder / "marks").open("wb") as marks_file:
        for values, marks in blocks:
            values_file.write(np.ascontiguousarray(values).data)
            marks_file.write(np.ascontiguousarray(marks).data)
    np.savez(folder / "index.npz", ids=np.array(index.ids, str), offsets=index.offsets)
    told = {"path": index.path, "origin": asdict(index.origin)}
    (folder / SOURCE).write_text(json.dumps(told), encoding="utf-8")
    (folder / SUMS).write_text(_sums(folder), encoding="ascii")


def _sums(folder: Path) -> str:
    return "".join(f"{known_digest(folder / name)}  {name}\n" for name in PARTS)


def _whole(folder: Path) -> bool:
    """Whether all parts of a folder are as they were written."""
    try:
        return (folder / SUMS).read_bytes() == _sums(folder).encode()
    except FileNotFoundError:
        return False


def _forget_others(folder: Path, path: str) -> None:
    """Remove what the same path was packed into when it held other bytes, and what cannot be read."""
    for other in folder.parent.glob("[!.]*"):
        if other != folder and _path_of(other) in (path, ""):
            shutil.rmtree(other, ignore_errors=True)


def _path_of(folder: Path) -> str:
    """The features file that a folder was made of; "" where it does not tell."""
    try:
        return str(json.loads((folder / SOURCE).read_bytes())["path"])
    except (*CONTENT, FileNotFoundError):
        return ""
