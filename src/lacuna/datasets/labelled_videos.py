"""MMSA-FET's layout. In: label.csv and videos under Raw/. Out: one clip a row, or the reason why not.

label.csv (or meta.csv, as CH-SIMS v2 calls it) has the columns of `REQUIRED`, and any of text (where it is absent or
empty, stage transcribe can hear it), label_T, label_A, label_V,
annotation, start, end. A row's video is Raw/<video_id>/<clip_id>.<suffix>. A row with `start` or `end` (seconds) is a
span of that file, or, where there is none, of the longer Raw/<video_id>.<suffix>. A row with neither a label nor a mode
(CH-SIMS v2's unsupervised part) is unlabelled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from lacuna.media import decode
from lacuna.prepare.run import Settings
from lacuna.prepare.tables import Videos, find_file, number_of, read_table
from lacuna.types import SPLITS, UNKNOWN, Clip, MalformedInput, Reject

LOOKED_FOR = "label.csv (or meta.csv) and Raw/<video_id>/<clip_id>.<video suffix>"
REQUIRED = ("video_id", "clip_id", "label", "mode")
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
    table = read_table(_table_of(root), REQUIRED)
    videos, seen = Videos(_videos_of(root)), {}
    for number, row in table.rows:
        name = f"{_plain(row['video_id'])}$_${row['clip_id']}"
        try:
            if number in table.ragged:
                raise MalformedInput("expected as many fields as the header has (a comma in the text without quotes?)")
            clip = _clip(row, name, dataset, settings, videos)
            if name in seen:
                raise MalformedInput(f"expected each id once, got it again (first in line {seen[name]})")
            seen[name] = number
            yield clip
        except MalformedInput as error:
            file = f"{table.path.as_posix()}:{number}"
            yield Reject(name, file, str(error).removeprefix(f"clip {name}: "))


def _clip(row: dict[str, str], name: str, dataset: str, settings: Settings, videos: Videos) -> Clip:
    if not row["video_id"] or not row["clip_id"]:
        raise MalformedInput(f"expected video_id and clip_id, got {row['video_id']!r} and {row['clip_id']!r}")
    unlabelled = not any(row.get(column) for column in ("mode", "label", "label_T", "label_A", "label_V"))
    split = UNKNOWN if unlabelled else _SPLITS.get(row["mode"].lower())
    if split is None:
        raise MalformedInput(f"mode: expected a split among {', '.join(SPLITS)}, got {row['mode']!r}")
    labels = {}
    for key, column in (("M", "label"), ("T", "label_T"), ("A", "label_A"), ("V", "label_V")):
        if row.get(column) or (key == "M" and split != UNKNOWN):
            labels[key] = number_of(row, column, settings.label_range)
    start = number_of(row, "start", (0, math.inf)) if row.get("start") else 0.0
    end = number_of(row, "end", (start, math.inf)) if row.get("end") else None
    path = videos.find(_plain(row["video_id"]), row["clip_id"], spans=bool(row.get("start") or row.get("end")))
    return Clip(name, dataset, split, row.get("text", ""), labels, path, start, end)


def _plain(video_id: str) -> str:
    """Windows' separators as everyone else's."""
    return video_id.replace("\\", "/").strip("/")


def check(clip: Clip) -> None:
    """MalformedInput unless the clip's first picture can be decoded and the file goes on to the clip's end."""
    decode.check(clip.path, clip.start, clip.end)
