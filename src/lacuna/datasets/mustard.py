"""MUStARD's own layout. In: sarcasm_data.json and utterances_final/<id>.mp4. Out: one clip an utterance.

The label is 1 for sarcasm and 0 for none (task `class`). The authors judge by folds; here each class is split by a hash
of seed and id, or, with `speakers_apart`, as their second protocol does: Friends is the test split.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from lacuna.media import decode
from lacuna.prepare.run import Settings
from lacuna.prepare.splits import stratified
from lacuna.prepare.tables import Videos, find_below, found_below
from lacuna.storage import text as text_files
from lacuna.types import Clip, MalformedInput, Reject

LOOKED_FOR = "sarcasm_data.json and utterances_final/<id>.mp4 (MUStARD)"
SPEAKERS = True
TABLE, FOLDER = "sarcasm_data.json", "utterances_final"
HELD_OUT = "FRIENDS"  # the show whose speakers the authors keep for testing


def matches(root: Path) -> bool:
    """The table and the folder of utterances, where their archives put them (data/, mmsd_raw_data/), or beside."""
    return find_below(root, TABLE) is not None and find_below(root, FOLDER) is not None


def read(root: Path, dataset: str, settings: Settings) -> Iterator[Clip | Reject]:
    """Utterances in the table's order; their context is neither in the clip nor in its text."""
    table, folder = found_below(root, TABLE), found_below(root, FOLDER)
    rows, videos = _rows(table, settings.encoding), Videos(folder.parent)
    splits = _splits(rows, table, settings)
    for key, row in rows.items():
        name = f"{folder.name}$_${key}"
        try:
            text, label = row.get("utterance"), row.get("sarcasm")
            if not isinstance(text, str) or label not in (0, 1):
                raise MalformedInput(
                    f"expected utterance (text) and sarcasm (true or false), got {text!r} and {label!r}"
                )
            path = videos.find(folder.name, key, spans=False)
            yield Clip(name, dataset, splits[key], " ".join(text.split()), {"M": float(label)}, path)
        except MalformedInput as error:
            yield Reject(name, table.as_posix(), str(error))


def _rows(path: Path, encoding: str) -> dict[str, dict]:
    try:
        rows = json.loads(text_files.read(path, encoding))
    except (json.JSONDecodeError, RecursionError) as error:
        raise MalformedInput(f"{path}: expected JSON: {error}") from error
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise MalformedInput(f"{path}: expected an object of objects, one an utterance")
    return rows


def _splits(rows: dict[str, dict], table: Path, settings: Settings) -> dict[str, str]:
    named = [(key, str(row.get("sarcasm"))) for key, row in rows.items()]
    if not settings.speakers_apart:
        return stratified(named, settings.seed, settings.fractions)
    without = [key for key, row in rows.items() if not row.get("show")]
    if without:
        raise MalformedInput(f"{table}: {without[0]}: expected its show, for speakers_apart, got none")
    held = {key for key, row in rows.items() if row["show"] == HELD_OUT}
    rest = [(key, kind) for key, kind in named if key not in held]
    return dict.fromkeys(held, "test") | stratified(rest, settings.seed, settings.fractions[:2], ("train", "valid"))


def check(clip: Clip) -> tuple[str, ...]:
    """What is odd about the file; MalformedInput unless its first picture can be decoded and it is whole."""
    return decode.check(clip.file)
