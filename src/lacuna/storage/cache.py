"""Content-addressed results of one clip. In: a key and arrays, in pieces. Out: the same arrays, in any later run.

DVC deletes a stage's outs before it runs; what one clip cost must survive that, and a kill in the middle. So results
lie outside the outs, each under the hash of all that made it, written beside its place and then moved there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO
from zipfile import ZipFile

import numpy as np

from lacuna.storage.files import CONTENT, replacing

DEFAULT_ROOT = Path(".cache/lacuna")
ROWS = 512  # that are read at once
_BLOCK = 1 << 20


def default_root() -> Path:
    """`$LACUNA_CACHE`, or `.cache/lacuna` in the working directory."""
    return Path(os.environ.get("LACUNA_CACHE", DEFAULT_ROOT))


def digest_of(*parts: object) -> str:
    """SHA-256 (hex) of JSON-able parts, independent of the order of keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class Cache:
    """Arrays under `<root>/<kind>/<first two digits>/<key>.npz`. Safe for many writers: the last one wins, whole."""

    def __init__(self, root: Path, kind: str) -> None:
        self._root = Path(root) / kind

    def _path(self, key: str) -> Path:
        return self._root / key[:2] / f"{key}.npz"

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def get(self, key: str) -> Iterator[dict[str, np.ndarray]] | None:
        """The arrays in pieces of at most `ROWS` rows (at least one piece), or None where there are none.

        None, too, where a damaged disk left half of them.
        """
        path = self._path(key)
        if not path.is_file():
            return None
        if _whole(path):
            return _pieces(path)
        path.unlink(missing_ok=True)
        return None

    def put(self, key: str, pieces: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Keep arrays that come piece by piece, rows after rows; no more than one piece is in memory."""
        with replacing(self._path(key)) as temporary:
            _write(temporary, pieces)


def _whole(path: Path) -> bool:
    """Whether every member has the CRC that the archive says, and no member is lost (an older Lacuna noted none)."""
    try:
        with ZipFile(path) as file:
            return file.comment in (b"", _names(file)) and file.testzip() is None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # EINVAL: a place before the file's start
            raise
    except CONTENT:
        pass
    return False


def _names(file: ZipFile) -> bytes:
    return " ".join(file.namelist()).encode()


def _write(path: Path, pieces: Iterable[Mapping[str, np.ndarray]]) -> None:
    """An .npz of the pieces' rows: a header tells how many there are, so they wait in a file until all have come."""
    shapes: dict[str, list] = {}  # name: [dtype, rows, shape of a row]
    with ExitStack() as stack:
        rows: dict[str, IO[bytes]] = {}
        for piece in pieces:
            for name, array in piece.items():
                if name not in rows:
                    rows[name] = stack.enter_context(SpooledTemporaryFile(_BLOCK, dir=str(path.parent)))
                    shapes[name] = [array.dtype, 0, array.shape[1:]]
                rows[name].write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
                shapes[name][1] += len(array)
        file = stack.enter_context(ZipFile(path, "w"))
        for name, waiting in rows.items():
            dtype, count, row = shapes[name]
            header = {"descr": dtype.str, "fortran_order": False, "shape": (count, *row)}
            waiting.seek(0)
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                shutil.copyfileobj(waiting, member, _BLOCK)
        file.comment = _names(file)


def _pieces(path: Path) -> Iterator[dict[str, np.ndarray]]:
    with ZipFile(path) as file, ExitStack() as stack:
        members = {name.removesuffix(".npy"): stack.enter_context(file.open(name)) for name in file.namelist()}
        headers = {name: _header(member) for name, member in members.items()}
        count = max((shape[0] for shape, _ in headers.values()), default=0)
        for first in range(0, max(1, count), ROWS):
            yield {name: _rows(members[name], *headers[name], min(ROWS, count - first)) for name in members}


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    np.lib.format.read_magic(member)
    shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    return shape, dtype


def _rows(member: IO[bytes], shape: tuple[int, ...], dtype: np.dtype, rows: int) -> np.ndarray:
    size = rows * math.prod(shape[1:]) * dtype.itemsize
    return np.frombuffer(bytearray(member.read(size)), dtype).reshape(rows, *shape[1:])
