"""Tables and files as people name them. In: CSV files in any usual encoding, names in any case. Out: rows, paths."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from lacuna.types import MalformedInput

ENCODINGS = ("utf-8-sig", "gb18030")  # with or without BOM; then what Chinese spreadsheets write
VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".flv", ".f4v", ".wmv", ".asf", ".mpg", ".mpeg", ".mpe"),
        *(".vob", ".ts", ".mts", ".m2ts", ".3gp", ".3g2", ".ogv", ".mxf", ".dv", ".gif"),
    )
)


@dataclass(frozen=True)
class Table:
    """A CSV file: its path, (line number, {column: stripped text}) of each row, lines with too few or many fields."""

    path: Path
    rows: list[tuple[int, dict[str, str]]]
    ragged: frozenset[int] = frozenset()


def read_table(path: Path, required: Sequence[str]) -> Table:
    """Read a CSV file with a header, blank lines left out; MalformedInput names the file, and the columns it lacks."""
    text = decoded(path.read_bytes(), str(path)).lstrip("\r\n")
    header = text.partition("\n")[0]
    # Some spreadsheets write semicolons or tabs where the decimal sign is a comma, or on request.
    delimiter = next((d for d in ",;\t" if d in header), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [(reader.line_num, [value.strip() for value in values]) for values in reader if any(values)]
    except csv.Error as error:
        raise MalformedInput(f"{path}: expected CSV, line {reader.line_num}: {error}") from error
    columns = lines[0][1] if lines else []
    missing = [name for name in required if name not in columns]
    if missing:
        raise MalformedInput(
            f"{path}: expected the columns {', '.join(missing)}, got {', '.join(columns) or 'nothing'}"
        )
    rows = [(n, dict(zip_longest(columns, v[: len(columns)], fillvalue=""))) for n, v in lines[1:]]
    return Table(path, rows, frozenset(n for n, values in lines[1:] if len(values) != len(columns)))


def class_of(word: str, names: Sequence[str], column: str) -> float:
    """The index of a class, whatever the case of its name."""
    if word.lower() not in names:
        raise MalformedInput(f"{column}: expected one of {', '.join(names)}; got {word!r}")
    return float(names.index(word.lower()))


def number_of(row: Mapping[str, str], column: str, limits: tuple[float, float]) -> float:
    """A row's finite number within the limits."""
    try:
        value = float(row.get(column, ""))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and limits[0] <= value <= limits[1]):
        got = row.get(column, "")
        raise MalformedInput(f"{column}: expected a number from {limits[0]:g} to {limits[1]:g}, got {got!r}")
    return value


def decoded(data: bytes, name: str) -> str:
    """Text in the first encoding that fits: by its mark, then utf-8, then gb18030."""
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if marked else ENCODINGS:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise MalformedInput(f"{name}: expected text in utf-8 or gb18030, got bytes that are neither")


def find_file(folder: Path, name: str) -> Path | None:
    """The entry of that name, or the only one that differs in the case of letters alone."""
    if (folder / name).exists():
        return folder / name
    alike = [path for path in folder.iterdir() if path.name.lower() == name.lower()] if folder.is_dir() else []
    return alike[0] if len(alike) == 1 else None


def find_below(root: Path, name: str) -> Path | None:
    """The file or folder of that name in `root` or, archives being unpacked as they come, at most two folders below."""
    return next((path for pattern in (name, f"*/{name}", f"*/*/{name}") for path in sorted(root.glob(pattern))), None)


@dataclass(frozen=True)
class Videos:
    """The videos under one folder, found by name without suffix."""

    root: Path
    _folders: dict[Path, dict[str, list[Path]]] = field(default_factory=dict, repr=False)

    def find(self, video_id: str, clip_id: str, spans: bool) -> Path:
        """Raw/<video_id>/<clip_id>.<suffix>; for a span also Raw/<video_id>.<suffix>; MalformedInput where none is."""
        if ".." in (*video_id.split("/"), clip_id) or "/" in clip_id or "\\" in clip_id:
            raise MalformedInput(f"expected ids that are names within {self.root}, got {video_id!r} and {clip_id!r}")
        looked = [self.root / video_id / clip_id]
        if spans:
            looked.append(self.root / video_id)
        for place in looked:
            found = self._named(place)
            if len(found) > 1:
                raise MalformedInput(f"expected one video, found {', '.join(path.name for path in found)}")
            if found:
                return found[0]
        raise MalformedInput(f"expected a video, found none at {' or '.join(f'{p.as_posix()}.*' for p in looked)}")

    def _named(self, place: Path) -> list[Path]:
        entries = self._entries(place.parent)
        name = unicodedata.normalize("NFC", place.name)  # macOS writes accents as two characters
        exact = entries.get(name, [])
        return exact or [path for other, paths in entries.items() if other.lower() == name.lower() for path in paths]

    def _entries(self, folder: Path) -> dict[str, list[Path]]:
        """{name with and without suffix: videos} of one folder, read once."""
        if folder not in self._folders:
            entries: dict[str, list[Path]] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
                    for name in (path.stem, path.name):
                        entries.setdefault(unicodedata.normalize("NFC", name), []).append(path)
            self._folders[folder] = entries
        return self._folders[folder]
