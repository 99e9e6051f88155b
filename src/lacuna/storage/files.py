"""Files that are written whole and known when read. In: a path. Out: a temporary path to fill; an error that names it.

A file is filled beside its place under a random name and then moved there. Where other programs read its bytes, its
SHA-256 lies beside it in `<file>.sha256`, as `sha256sum --check` reads it; ours checks it before the file is used.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from lacuna.types import MalformedInput

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What readers of damaged files raise: of JSON, CSV, HDF5, zip archives, MATLAB files and pickles
CONTENT = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, EOFError, MemoryError),
    *(AssertionError, BadZipFile, zlib.error, struct.error, csv.Error),
)
_BLOCK = 1 << 20
_TEMPORARY = re.compile(r"\.lacuna-[0-9a-f]{16}\.tmp")  # .dvcignore has it too
_UMASK = os.umask(0)
os.umask(_UMASK)  # the only way to ask is to set


def digest_of_file(path: Path, algorithm: str = "sha256") -> str:
    """SHA-256 (hex), or another digest, of a file's bytes, read in blocks."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with Path(path).open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path, digest: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling of `path` that takes its place on success and vanishes on failure.

    digest: also write `<path>.sha256`. OSError: the disk is full or may not be written; it names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".lacuna-{secrets.token_hex(8)}.tmp")
    with _writing_in(path.parent):
        try:
            yield temporary
            temporary.chmod(0o666 & ~_UMASK)  # some writers make files that only their owner may read
            told = digest_of_file(temporary) if digest else ""
            beside(path).unlink(missing_ok=True)  # a digest never stands beside another file than its own
            os.replace(temporary, path)
        except OSError as error:
            if error.filename in (None, str(temporary)):
                error.filename = str(path)
            raise
        finally:
            temporary.unlink(missing_ok=True)
    if told:
        note_digest(path, told)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder that becomes `folder`, unless others were faster, and vanishes on failure.

    OSError: the disk is full or may not be written; it names `folder`.
    """
    temporary = folder.with_name(f".lacuna-{secrets.token_hex(8)}.tmp")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _writing_in(folder.parent):
        try:
            temporary.mkdir()
            yield temporary
            if not folder.is_dir():
                _rename_unless_there(temporary, folder)
        except OSError as error:
            if error.filename is None or str(error.filename).startswith(str(temporary)):
                error.filename = str(folder)
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _rename_unless_there(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        if not folder.is_dir():
            raise


@contextmanager
def _writing_in(folder: Path) -> Iterator[None]:
    """Within it, nobody sweeps the folder. What killed writers left there goes first, unless someone writes now."""
    if fcntl is None:
        yield
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        if locked(held, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for name in os.listdir(held):
                if is_temporary(folder / name):
                    _remove(folder / name)
        locked(held, fcntl.LOCK_SH)
        yield
    finally:
        os.close(held)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Within it, no other process that asks for `path` makes it, where the file system knows locks.

    The lock is on a file beside `path`, which the last to hold it removes; the system ends a killed process's lock.
    """
    if fcntl is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = path.with_name(f".{path.name}.turn")
    while True:
        with turn.open("ab") as held:
            if locked(held.fileno(), fcntl.LOCK_EX) and not _stands_at(held.fileno(), turn):
                continue  # who held it removed it: the next one may hold another file
            try:
                yield
            finally:
                turn.unlink(missing_ok=True)
            return


def _stands_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def is_temporary(path: Path) -> bool:
    """Whether a file is being written, or was when its writer was killed."""
    return _TEMPORARY.fullmatch(path.name) is not None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def locked(descriptor: int, how: int) -> bool:
    """Whether the lock was had; not where others hold it, nor on file systems that know no locks."""
    try:
        fcntl.flock(descriptor, how)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EBADF, errno.EINVAL):
            return False
        raise
    return True


def beside(path: Path) -> Path:
    """Where the digest of a file lies."""
    return path.with_name(f"{path.name}.sha256")


def note_digest(path: Path, digest: str = "") -> None:
    """Write the digest of a file beside it."""
    with replacing(beside(path)) as temporary:
        temporary.write_text(f"{digest or digest_of_file(path)}  {path.name}\n", encoding="utf-8")


def check_digest(path: Path, remedy: str) -> None:
    """MalformedInput unless the file is what its digest says; a file without one (another program's) passes.

    remedy: what to do, as in "run `dvc repro extract`".
    """
    if not beside(path).is_file():
        return
    wanted = beside(path).read_bytes()[:64].decode("ascii", errors="replace")
    found = known_digest(path)
    if found != wanted:
        raise damaged(path, f"SHA-256 {wanted[:12]}… as {beside(path).name} has it", f"{found[:12]}…", remedy)


def known_digest(path: Path) -> str:
    """A file's digest, computed once in this process while its size, time and inode stay."""
    state = path.stat()
    return _digest_at(path.absolute(), state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=4096)
def _digest_at(path: Path, *_: int) -> str:
    return digest_of_file(path)


def damaged(path: Path, expected: str, found: object, remedy: str) -> MalformedInput:
    """The error for a file that is not as it was written: in one line, whatever was found."""
    told = " ".join(str(found).split())
    return MalformedInput(f"{path}: expected {expected}, found {told[:200]}; it was damaged or changed: {remedy}")


@contextmanager
def reading(path: Path, expected: str, remedy: str) -> Iterator[None]:
    """Within it, what fails for the file's content is a MalformedInput that names it; the machine's errors pass."""
    try:
        yield
    except MalformedInput:
        raise
    except OSError as error:
        if error.errno is not None:
            error.filename = error.filename or str(path)
            raise
        raise damaged(path, expected, error, remedy) from error
    except CONTENT as error:
        raise damaged(path, expected, f"{type(error).__name__} {error}", remedy) from error


def read_json(path: Path, remedy: str) -> Any:  # noqa: ANN401 (whatever it holds)
    """The value of a JSON file of ours; MalformedInput names the file."""
    with reading(path, "JSON", remedy):
        return json.loads(path.read_bytes())
