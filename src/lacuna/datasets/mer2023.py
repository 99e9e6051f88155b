"""MER2023's own layout. In: train-label.csv, test1-label.csv … and folders of their names. Out: one clip a row.

With `target: emotion` the label is one of six classes (task `class`), with `sentiment` the valence, where a row has
one (set `label_range: [-5, 5]`). Rows of train are split by a hash into train and valid; the test sets, where their
labels are there, are the test split, and all of train is split in three where they are not. Words come from a table
with the columns name and `chinese` or `text`, or are left to stage transcribe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lacuna.media import decode
from lacuna.prepare.run import Settings
from lacuna.prepare.splits import stratified
from lacuna.prepare.tables import Table, Videos, class_of, find_below, number_of, read_table
from lacuna.types import Clip, MalformedInput, Reject

PARTS = ("train", "test1", "test2", "test3")
LOOKED_FOR = "train-label.csv (name,discrete,valence) and train/<name>.<video suffix> (MER2023)"
EMOTIONS = ("neutral", "angry", "happy", "sad", "worried", "surprise")  # in the organisers' order
WORDS = ("text", "chinese", "sentence")  # columns that hold words, the first that there is


def matches(root: Path) -> bool:
    """The table of training labels, here or in the archive's own folder."""
    return find_below(root, "train-label.csv") is not None


def classes(settings: Settings) -> tuple[str, ...]:
    """The names of the labels' classes."""
    return EMOTIONS if settings.target == "emotion" else ()


def read(root: Path, dataset: str, settings: Settings) -> Iterator[Clip | Reject]:
    """Rows of the tables in order."""
    first = find_below(root, "train-label.csv")
    if first is None:
        raise MalformedInput(f"{root}: expected {LOOKED_FOR}")
    base = first.parent
    tables = {part: base / f"{part}-label.csv" for part in PARTS}
    read = {part: read_table(path, ("name", "discrete")) for part, path in tables.items() if path.is_file()}
    said, splits, videos = _said(base), _splits(read, settings), Videos(base)
    for part, table in read.items():
        for number, row in table.rows:
            name = f"{part}$_${row['name']}"
            try:
                label = _label(row, settings)
                path = videos.find(part, row["name"], spans=False)
                yield Clip(name, dataset, splits[part, row["name"]], said.get(row["name"], ""), {"M": label}, path)
            except MalformedInput as error:
                yield Reject(name, f"{table.path.as_posix()}:{number}", str(error))


def _label(row: dict[str, str], settings: Settings) -> float:
    if settings.target == "emotion":
        return class_of(row["discrete"], EMOTIONS, "discrete")
    return number_of(row, "valence", settings.label_range)


def _splits(tables: Mapping[str, Table], settings: Settings) -> dict[tuple[str, str], str]:
    held = {(part, row["name"]): "test" for part, table in tables.items() if part != "train" for _, row in table.rows}
    named = [(row["name"], row["discrete"]) for _, row in tables["train"].rows]
    if held:
        found = stratified(named, settings.seed, settings.fractions[:2], ("train", "valid"))
    else:
        found = stratified(named, settings.seed, settings.fractions)
    return {("train", name): split for name, split in found.items()} | held


def _said(base: Path) -> dict[str, str]:
    """{name: words} of the first table that has them."""
    for path in sorted(base.glob("*.csv")):
        if path.name.endswith("-label.csv"):
            continue
        rows = read_table(path, ("name",)).rows
        column = next((word for word in WORDS if rows and word in rows[0][1]), None)
        if column:
            return {row["name"]: row[column] for _, row in rows}
    return {}


def check(clip: Clip) -> tuple[str, ...]:
    """What is odd about the file; MalformedInput unless its first picture can be decoded and it is whole."""
    return decode.check(clip.file)
