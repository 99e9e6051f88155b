"""What the cache holds and how it is emptied. In: its folder. Out: entries by room, rows for `lacuna cache`.

A room is a folder in the cache: of each extractor, of finished runs, of unpacked features, of trainings under way. What
one key stands for is an entry, a file or a folder, and goes as a whole.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lacuna.types import MalformedInput, counted

HEAD = ["room", "entries", "size", "oldest", "newest"]
_KEY = re.compile(r"[0-9a-f]{64}")  # the name of a folder that is one entry
_AGE = re.compile(r"(\d+)([hdw])")
_SECONDS = {"h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
_DAY = _SECONDS["d"]


@dataclass(frozen=True)
class Entry:
    """What the cache keeps under one key: its bytes, and when it was made (s since 1970)."""

    path: Path
    size: int
    made: float

    def remove(self) -> None:
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink()


def rooms(root: Path) -> dict[str, list[Entry]]:
    """The entries of each room, in the order of names."""
    if not root.is_dir():
        return {}
    return {room.name: list(_entries(room)) for room in sorted(root.iterdir()) if room.is_dir()}


def _entries(folder: Path) -> Iterator[Entry]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue  # someone writes it, or waits; what the killed left, the next writer sweeps
        if path.is_dir() and not _KEY.fullmatch(path.name):
            yield from _entries(path)
            continue
        told = [file.stat() for file in (path, *path.rglob("*")) if file.is_file()]
        yield Entry(path, sum(t.st_size for t in told), max((t.st_mtime for t in told), default=path.stat().st_mtime))


def rows(root: Path) -> list[list[str]]:
    """A row a room under `HEAD`, and one of all rooms together."""
    found, now = rooms(root), time.time()
    found["all"] = [entry for entries in found.values() for entry in entries]
    return [[name, str(len(entries)), _size(entries), *_ages(entries, now)] for name, entries in found.items()]


def _size(entries: Iterable[Entry]) -> str:
    return f"{sum(entry.size for entry in entries) / 2**20:,.1f} MiB"


def _ages(entries: Sequence[Entry], now: float) -> list[str]:
    if not entries:
        return ["", ""]
    days = [(now - entry.made) / _DAY for entry in entries]
    return [f"{max(days):.0f} d", f"{min(days):.0f} d"]


def clear(root: Path, names: Sequence[str], older: str = "") -> Iterator[str]:
    """Remove the entries of these rooms, of `older` ("30d", "12h", "2w") only those made longer ago; a line a room."""
    found, least = rooms(root), time.time() - _age(older)
    for name in names:
        if name not in found:
            known = ", ".join(found) or "none: the cache is empty"
            raise MalformedInput(f"{root}: expected a room of the cache ({known}), got {name!r}")
    for name in dict.fromkeys(names):
        gone = [entry for entry in found[name] if entry.made <= least]
        for entry in gone:
            entry.remove()
        yield f"{root / name}: removed {len(gone)} of {counted(len(found[name]), 'entry', 'entries')}, {_size(gone)}"


def _age(text: str) -> float:
    """Seconds; 0 of nothing."""
    if not text:
        return 0
    told = _AGE.fullmatch(text)
    if told is None:
        raise MalformedInput(f"--older: expected a number of hours, days or weeks such as 12h, 30d or 2w, got {text!r}")
    return int(told[1]) * _SECONDS[told[2]]
