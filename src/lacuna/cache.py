"""Content-addressed results of one clip. In: a key and arrays. Out: the same arrays, in any later run.

DVC deletes a stage's outs before it runs; what one clip cost must survive that, and a kill in the middle. So results
lie outside the outs, each under the hash of all that made it, written beside its place and then moved there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

DEFAULT_ROOT = Path(".cache/lacuna")
_BLOCK = 1 << 20


def default_root() -> Path:
    """`$LACUNA_CACHE`, or `.cache/lacuna` in the working directory."""
    return Path(os.environ.get("LACUNA_CACHE", DEFAULT_ROOT))


def digest_of(*parts: object) -> str:
    """SHA-256 (hex) of JSON-able parts, independent of the order of keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class Cache:
    """Arrays under `<root>/<kind>/<first two digits>/<key>.npz`. Safe for many writers: the last one wins, whole."""

    def __init__(self, root: Path, kind: str) -> None:
        self._root = Path(root) / kind

    def _path(self, key: str) -> Path:
        return self._root / key[:2] / f"{key}.npz"

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays, or None where there are none (or where a damaged disk left half of them)."""
        try:
            with np.load(self._path(key), allow_pickle=False) as arrays:
                return dict(arrays)
        except FileNotFoundError:
            return None
        except (BadZipFile, ValueError, EOFError, KeyError):
            self._path(key).unlink(missing_ok=True)
            return None

    def put(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        # Not the process's number: two machines that share the folder may have the same one.
        temporary = path.with_name(f".{key}.{secrets.token_hex(8)}.tmp")
        try:
            temporary.write_bytes(buffer.getvalue())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
