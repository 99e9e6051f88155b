"""HDF5 files, written whole and read with care. In: a path. Out: an open file; data sets that are what they say.

A file of a stranger may name other files, hold a petabyte of zeros in a kilobyte, or be half of itself: all refused.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py

from lacuna.storage.files import check_digest, reading
from lacuna.types import MalformedInput

RATIO = 1100  # deflate makes at most 1032 bytes of one
SLACK = 1 << 20  # bytes: a chunk is stored whole however few rows it has


@contextmanager
def created(path: Path) -> Iterator[h5py.File]:
    """A new file, closed at the end. OSError, naming it, where it cannot be written."""
    try:
        file = h5py.File(path, "w")
        try:
            yield file
            file.flush()
        except BaseException:
            _abandon(file)
            raise
        file.close()
    except RuntimeError as error:
        if "decrement id" not in str(error):  # what HDF5 says where closing fails
            raise
        raise OSError(errno.EIO, "the file could not be closed", str(path)) from error
    except OSError as error:
        if error.errno and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def _abandon(file: h5py.File) -> None:
    """Close without writing: HDF5 crashes at exit where it still holds what the disk would not take."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, file.id.get_vfd_handle())
    os.close(null)
    with suppress(OSError, RuntimeError):
        file.close()


def opened(path: Path, kind: str, remedy: str) -> h5py.File:
    """A file of that kind, open for reading; MalformedInput where it is damaged, or points out of itself."""
    check_digest(path, remedy)
    with reading(path, kind, remedy):
        file = h5py.File(path, "r")
        try:
            _check_links(file, path)
        except BaseException:
            file.close()
            raise
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
