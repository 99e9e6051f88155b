"""Tables and files as people name them. In: CSV files in any usual dialect, names in any case. Out: rows, paths."""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from lacuna.storage import text as text_files
from lacuna.types import MalformedInput

_SPOKEN = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEPARATOR = re.compile(r"sep=(\\t|[^\w\s\"']|\t)", re.IGNORECASE)  # the first line, where a spreadsheet is told by it
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_COMMA, _POINT = re.compile(r"[+-]?\d*,\d+"), re.compile(r"[+-]?\d*\.\d+")
_BLANKS = frozenset(("", "nan", "na", "n/a", "#n/a", "none", "null"))
_LONGEST, _DEEPEST = 250, 1000  # bytes of a name to which a suffix is added, and of several: what usual disks hold
VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".flv", ".f4v", ".wmv", ".asf", ".mpg", ".mpeg", ".mpe"),
        *(".vob", ".ts", ".mts", ".m2ts", ".3gp", ".3g2", ".ogv", ".mxf", ".dv", ".gif"),
    )
)


@dataclass(frozen=True)
class Table:
    """A CSV file: its path, (line number, {column: stripped text}) of each row, lines with too few or many fields.

    `guessed` says in words what of its dialect is not plain CSV in utf-8; `decimal` is the mark in its numbers.
    """

    path: Path
    rows: list[tuple[int, dict[str, str]]]
    ragged: frozenset[int] = frozenset()
    guessed: tuple[str, ...] = ()
    decimal: str = "."

    def number(self, value: str) -> float:
        """A number as this table writes them; NaN where the text is none."""
        plain = value.replace(",", ".") if self.decimal == "," else value
        return float(plain) if _NUMBER.fullmatch(plain) else math.nan


def is_blank(value: str | None) -> bool:
    """Whether a field that need not be filled is empty, also in the words of pandas, R and spreadsheets."""
    return value is None or value.strip().casefold() in _BLANKS


def read_table(path: Path, required: Sequence[str], encoding: str = "") -> Table:
    """Read a CSV file with a header, blank lines left out.

    MalformedInput names the file and what is wrong: columns that it lacks or has twice, quotes that are never closed.
    """
    text, found = text_files.decode(path.read_bytes(), str(path), encoding)
    lines = list(io.StringIO(text, newline=""))  # parted as csv does it, and nowhere else
    said = _SEPARATOR.fullmatch(lines[0].strip(" \r\n").strip('"')) if lines else None
    start = 1 if said else 0
    start += next((i for i, line in enumerate(lines[start:]) if line.strip()), 0)
    delimiter = said[1].replace("\\t", "\t") if said else _delimiter(lines[start] if lines else "", required)
    records = list(_records(path, lines, start, delimiter))
    columns = records[0][1] if records else []
    _check_columns(path, columns, required)
    rows = [(n, dict(zip_longest(columns, v[: len(columns)], fillvalue=""))) for n, v in records[1:]]
    ragged = frozenset(n for n, values in records[1:] if len(values) != len(columns))
    decimal = _decimal(rows, delimiter)
    guessed = [f"fields parted by {_SPOKEN.get(delimiter, delimiter)}"] * (delimiter != ",")
    guessed += ["decimal commas"] * (decimal == ",") + ([] if encoding or found == "utf-8-sig" else [found])
    guessed += [f"words like {twice!r}, garbled before it was saved"] if (twice := text_files.garbled(text)) else []
    guessed += [f"words like {escape!r}, as they stand"] if (escape := text_files.escaped(text)) else []
    return Table(path, rows, ragged, tuple(guessed), decimal)


def _delimiter(header: str, required: Sequence[str]) -> str:
    """What parts the header into most of the columns that are wanted; a comma where they all do as well."""
    parts = {d: [name.strip().strip('"') for name in header.split(d)] for d in _SPOKEN}
    return max(_SPOKEN, key=lambda d: sum(name in parts[d] for name in required))


def _records(path: Path, lines: Sequence[str], start: int, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, stripped fields) of each record that is not blank.

    A field that begins with a quote ends with one. Where the end was forgotten, the field runs on to the next quote and
    takes whole rows with it: that is refused, whether or not what comes out happens to have the right number of fields.
    """
    reader = csv.reader(iter(lines[start:]), delimiter=delimiter, strict=True)
    width, first = 0, start + 1
    try:
        for values in reader:
            last = start + reader.line_num
            width = width or len(values)
            swallowed = [n for n in range(first + 1, last + 1) if _is_row(lines[n - 1], delimiter, width)]
            if swallowed:
                raise MalformedInput(
                    f"{path}: {_quoted(first, last)}, but line {swallowed[0]} looks like a row of its own"
                )
            if any(value.strip() for value in values):
                yield first, [value.strip() for value in values]
            first = last + 1
    except csv.Error as error:
        if "field limit" in str(error):
            most = f"line {first}: expected at most {csv.field_size_limit()} characters in a field, got more"
            raise MalformedInput(f"{path}: {most} (a quote that is never closed?)") from error
        raise MalformedInput(f"{path}: {_quoted(first, start + reader.line_num)}: {error}") from error


def _quoted(first: int, last: int) -> str:
    return f"line {first}: expected a quote to be closed in its own field, got it open until line {last}"


def _is_row(line: str, delimiter: str, width: int) -> bool:
    """Whether a line within a quoted field has the separators of a row; in a sentence a space follows each comma."""
    parts = line.split(delimiter)
    close = sum(not part.startswith(" ") for part in parts[1:])
    return len(parts) >= max(2, width) and close >= max(1, width - 2)


def _check_columns(path: Path, columns: Sequence[str], required: Sequence[str]) -> None:
    missing = [name for name in required if name not in columns]
    if missing:
        found = ", ".join(columns) or "nothing"
        raise MalformedInput(f"{path}: expected the columns {', '.join(missing)}, got {found}")
    twice = [name for name, count in Counter(columns).items() if name and count > 1]
    if twice:
        raise MalformedInput(f"{path}: expected each column once, got {', '.join(twice)} more than once")


def _decimal(rows: Sequence[tuple[int, dict[str, str]]], delimiter: str) -> str:
    """A comma where the table writes some numbers with it, none with a point, and commas do not part its fields."""
    if delimiter == ",":
        return "."
    values = [value for _, row in rows for value in row.values()]
    return "," if any(map(_COMMA.fullmatch, values)) and not any(map(_POINT.fullmatch, values)) else "."


def class_of(word: str, names: Sequence[str], column: str) -> float:
    """The index of a class, whatever the case of its name."""
    if word.lower() not in names:
        raise MalformedInput(f"{column}: expected one of {', '.join(names)}; got {word!r}")
    return float(names.index(word.lower()))


def number_of(row: Mapping[str, str], column: str, limits: tuple[float, float]) -> float:
    """A row's finite number within the limits."""
    text = row.get(column, "")
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not (math.isfinite(value) and limits[0] <= value <= limits[1]):
        got = row.get(column, "")
        raise MalformedInput(f"{column}: expected a number from {limits[0]:g} to {limits[1]:g}, got {got!r}")
    return value


def find_file(folder: Path, name: str) -> Path | None:
    """The entry of that name, or the only one that differs in the case of letters alone."""
    if (folder / name).exists():
        return folder / name
    alike = [path for path in folder.iterdir() if path.name.lower() == name.lower()] if folder.is_dir() else []
    return alike[0] if len(alike) == 1 else None


def find_below(root: Path, name: str) -> Path | None:
    """The file or folder of that name in `root` or, archives being unpacked as they come, at most two folders below."""
    return next((path for pattern in (name, f"*/{name}", f"*/*/{name}") for path in sorted(root.glob(pattern))), None)


def found_below(root: Path, name: str) -> Path:
    """The same; MalformedInput where there is none."""
    path = find_below(root, name)
    if path is None:
        raise MalformedInput(f"{root}: expected {name} in it or at most two folders below, found none")
    return path


@dataclass(frozen=True)
class Videos:
    """The videos under one folder, found by name without suffix."""

    root: Path
    _folders: dict[Path, dict[str, list[Path]]] = field(default_factory=dict, repr=False)
    _spellings: dict[Path, Path] = field(default_factory=dict, repr=False)

    def find(self, video_id: str, clip_id: str, spans: bool) -> Path:
        """Raw/<video_id>/<clip_id>.<suffix>; for a span also Raw/<video_id>.<suffix>; MalformedInput where none is."""
        if ".." in (*video_id.split("/"), clip_id) or "/" in clip_id or "\\" in clip_id:
            raise MalformedInput(
                f"expected ids that are names within {self.root}, got {video_id!r:.60} and {clip_id!r:.60}"
            )
        names = (*video_id.split("/"), clip_id)
        if max(len(name.encode()) for name in names) > _LONGEST or len(video_id.encode()) > _DEEPEST:
            raise MalformedInput(
                f"expected ids that files can be called, got {video_id[:40]!r} and {clip_id[:40]!r}, cut"
            )
        looked = [self.root / video_id / clip_id]
        if spans:
            looked.append(self.root / video_id)
        for place in looked:
            found = self._named(place)
            if len(found) > 1:
                raise MalformedInput(f"expected one video, found {', '.join(path.name for path in found)}")
            if found:
                return found[0]
        places = " or ".join(f"{p.as_posix()}.*" for p in looked)
        raise MalformedInput(f"expected a video, found none at {places}{self._instead(looked[0].parent)}")

    def _named(self, place: Path) -> list[Path]:
        return _spelled(self._entries(self._folder(place.parent)), place.name)

    def _folder(self, folder: Path) -> Path:
        """The folder as the disk spells it; as it is given where none is like it, or several are."""
        if folder not in self._spellings:
            there = folder == self.root or folder.is_dir()
            self._spellings[folder] = folder if there else self._alike(folder)
        return self._spellings[folder]

    def _alike(self, folder: Path) -> Path:
        found: dict[str, list[Path]] = {}
        parent = self._folder(folder.parent)
        for path in parent.iterdir() if parent.is_dir() else ():
            if path.is_dir():
                found.setdefault(unicodedata.normalize("NFC", path.name), []).append(path)
        alike = _spelled(found, folder.name)
        return alike[0] if len(alike) == 1 else folder

    def _instead(self, folder: Path) -> str:
        """What is there: a spreadsheet may have made 1 of 0001."""
        names = dict.fromkeys(path.name for paths in self._entries(self._folder(folder)).values() for path in paths)
        return f" (there are {', '.join(list(names)[:3])}{' …' * (len(names) > 3)})" if names else ""

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


def _spelled(entries: Mapping[str, list[Path]], name: str) -> list[Path]:
    """Those of a name, macOS writing accents as two characters; where there is none, those in other letters' case."""
    name = unicodedata.normalize("NFC", name)
    exact = entries.get(name, [])
    return exact or [path for other, paths in entries.items() if other.lower() == name.lower() for path in paths]
