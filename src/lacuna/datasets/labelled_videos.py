"""MMSA-FET's layout. In: label.csv and videos under Raw/. Out: one clip a row, or the reason why not.

label.csv (or meta.csv, as CH-SIMS v2 calls it) has the columns of `REQUIRED`, and any of text (where it is absent or
empty, stage transcribe can hear it), label_T, label_A, label_V,
annotation, start, end. A row's video is Raw/<video_id>/<clip_id>.<suffix>. A row with `start` or `end` (seconds) is a
span of that file, or, where there is none, of the longer Raw/<video_id>.<suffix>. A row with neither a label nor a mode
(CH-SIMS v2's unsupervised part) is unlabelled. What need not be filled may also say NaN, NA, None or null.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lacuna.media import decode
from lacuna.prepare.run import Settings
from lacuna.prepare.tables import Table, Videos, find_file, is_blank, read_table
from lacuna.types import SPLITS, UNKNOWN, Clip, MalformedInput, Reject

LOOKED_FOR = "label.csv (or meta.csv) and Raw/<video_id>/<clip_id>.<video suffix>"
REQUIRED = ("video_id", "clip_id", "label", "mode")
LABELS = {"M": "label", "T": "label_T", "A": "label_A", "V": "label_V"}
EARLY = 0.5  # s by which a span may begin before its video
_SPLITS = {split: split for split in (*SPLITS, UNKNOWN)} | {"val": "valid", "dev": "valid", "validation": "valid"}


def matches(root: Path) -> bool:
    """A label table and a folder of videos, in any case of letters."""
    return _table_of(root) is not None and _videos_of(root) is not None


def _table_of(root: Path) -> Path | None:
    return find_file(root, "label.csv") or find_file(root, "meta.csv")


def _videos_of(root: Path) -> Path | None:
    folder = find_file(root, "Raw")
    return folder if folder is not None and folder.is_dir() else None


def read(root: Path, dataset: str, settings: Settings) -> Iterator[Clip | Reject]:
    """Rows of label.csv in order; MalformedInput where the table itself cannot be read."""
    path, folder = _table_of(root), _videos_of(root)
    if path is None or folder is None:
        raise MalformedInput(f"{root}: expected {LOOKED_FOR}")
    table = read_table(path, REQUIRED, settings.encoding)
    if table.guessed:
        print(f"{dataset}: {table.path.name} is read with {', '.join(table.guessed)}")
    videos, seen = Videos(folder), dict[str, int]()
    for number, row in table.rows:
        name = f"{_plain(row['video_id'])}$_${row['clip_id']}"
        try:
            if number in table.ragged:
                raise MalformedInput("expected as many fields as the header has (a comma in the text without quotes?)")
            clip = _Row(table, row, settings.label_range).clip(name, dataset, videos)
            if name in seen:
                raise MalformedInput(f"expected each id once, got it again (first in line {seen[name]})")
            seen[name] = number
            yield clip
        except MalformedInput as error:
            file = f"{table.path.as_posix()}:{number}"
            yield Reject(name, file, str(error).removeprefix(f"clip {name}: "))


@dataclass(frozen=True)
class _Row:
    """One row of the table, and the range of its labels."""

    table: Table
    row: dict[str, str]
    label_range: tuple[float, float]

    def clip(self, name: str, dataset: str, videos: Videos) -> Clip:
        row = self.row
        if not row["video_id"] or not row["clip_id"]:
            raise MalformedInput(f"expected video_id and clip_id, got {row['video_id']!r} and {row['clip_id']!r}")
        unlabelled = all(is_blank(row.get(column)) for column in ("mode", *LABELS.values()))
        split = UNKNOWN if unlabelled else _SPLITS.get(row["mode"].lower())
        if split is None:
            raise MalformedInput(f"mode: expected a split among {', '.join(SPLITS)}, got {row['mode']!r}")
        labels = {}
        for key, column in LABELS.items():
            if not is_blank(row.get(column)) or (key == "M" and split != UNKNOWN):
                labels[key] = self.number(column, self.label_range)
        timed = [column for column in ("start", "end") if not is_blank(row.get(column))]
        start = self._start(name, dataset) if "start" in timed else 0.0
        end = self.number("end", (start, math.inf)) if "end" in timed else None
        path = videos.find(_plain(row["video_id"]), row["clip_id"], spans=bool(timed))
        return Clip(name, dataset, split, row.get("text", ""), labels, path, start, end)

    def number(self, column: str, limits: tuple[float, float]) -> float:
        value = self.table.number(self.row[column])
        if not (math.isfinite(value) and limits[0] <= value <= limits[1]):
            expected = f"a number from {limits[0]:g} to {limits[1]:g}"
            raise MalformedInput(f"{column}: expected {expected}, got {self.row[column]!r}")
        return value

    def _start(self, name: str, dataset: str) -> float:
        """Aligners and rounding put some first words a little before the video: that is its beginning."""
        start = self.table.number(self.row["start"])
        if -EARLY <= start < 0:
            print(f"{dataset}: {name}: start {start:g} s is taken as 0")
            return 0.0
        return self.number("start", (0, math.inf))


def _plain(video_id: str) -> str:
    """Windows' separators as everyone else's."""
    return video_id.replace("\\", "/").strip("/")


def check(clip: Clip) -> tuple[str, ...]:
    """What is odd about the file; MalformedInput unless it can be decoded and reaches the clip's end."""
    return decode.check(clip.file, clip.start, clip.end)
