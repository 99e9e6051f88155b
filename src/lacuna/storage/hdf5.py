"""HDF5 files, written whole and read with care. In: a path. Out: an open file; data sets that are what they say.

A file of a stranger may name other files, hold a petabyte of zeros in a kilobyte, or be half of itself: all refused.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import h5py

from lacuna.storage.files import check_digest, reading
from lacuna.types import MalformedInput

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

HELD = 1 << 23  # bytes that HDF5 may hold back before it writes them
RATIO = 1100  # deflate makes at most 1032 bytes of one
SLACK = 1 << 20  # bytes: a chunk is stored whole however few rows it has


@contextmanager
def created(path: Path) -> Iterator[h5py.File]:
    """A new file, closed at the end. OSError, naming it, where it cannot be written.

    HDF5 crashes after a write that failed, or when the program ends. So whoever writes asks `require_room` first, and
    where the disk takes a write back all the same, the program is left at once, with status 1 and the reason.
    """
    _require(path, 0)
    file = h5py.File(path, "w")
    try:
        yield file
        file.flush()
    except (OSError, RuntimeError) as error:
        number = re.search(r"errno = (\d+)", str(error))  # as HDF5 tells it, and nobody else
        if number is not None:
            print(f"lacuna: this machine: {path}: {os.strerror(int(number[1]))}", file=sys.stderr, flush=True)
            os._exit(1)
        raise
    finally:
        file.close()


def require_room(file: h5py.File, size: int) -> None:
    """OSError unless the disk has room for `size` more bytes, and for what HDF5 holds back of those before."""
    _require(Path(file.filename), size)


def _require(path: Path, size: int) -> None:
    wanted = min(HELD, 2 * size + (1 << 18)) + size
    if resource is not None:
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if most != resource.RLIM_INFINITY and (path.stat().st_size if path.exists() else 0) + wanted > most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    if shutil.disk_usage(path.parent).free < wanted:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def opened(path: Path, kind: str, remedy: str) -> h5py.File:
    """A file of that kind, open for reading; MalformedInput where it is damaged, or points out of itself."""
    check_digest(path, remedy)
    with reading(path, kind, remedy):
        with ExitStack() as closing:  # also where its links are refused
            file = closing.enter_context(h5py.File(path, "r"))
            _check_links(file, path)
            closing.pop_all()
        return file


def _check_links(group: h5py.Group, path: Path, depth: int = 0) -> None:
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink) or depth > 1:
            raise MalformedInput(f"{path}: expected data sets in the file itself, found {name!r}, a link elsewhere")
        item = group[name]
        if isinstance(item, h5py.Group):
            _check_links(item, path, depth + 1)
        else:
            _check_data(item, path)


def _check_data(data: object, path: Path) -> None:
    """MalformedInput where a data set lies in other files, or says to be far larger than it can be."""
    where = f"{path}: {getattr(data, 'name', '')}"
    if not isinstance(data, h5py.Dataset):
        raise MalformedInput(f"{where}: expected data, found {type(data).__name__}")
    if data.external or data.is_virtual:
        raise MalformedInput(f"{where}: expected data in the file itself, found a reference to other files")
    if data.nbytes > SLACK + RATIO * data.id.get_storage_size():
        raise MalformedInput(
            f"{where}: expected at most {RATIO} times its {data.id.get_storage_size()} bytes, found {data.nbytes}"
        )
