"""MELD's own layout. In: the three *_sent_emo.csv and their folders of utterances. Out: one clip an utterance.

The splits are the authors'. With `target: emotion` the label is one of seven classes (task `class`), with `sentiment`
it is -1, 0 or 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lacuna.media import decode
from lacuna.prepare.run import Settings
from lacuna.prepare.tables import Table, Videos, class_of, find_below, read_table
from lacuna.types import Clip, MalformedInput, Reject

TABLES = {"train": "train_sent_emo.csv", "valid": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
FOLDERS = {"train": "train_splits", "valid": "dev_splits_complete", "test": "output_repeated_splits_test"}
LOOKED_FOR = f"{', '.join(TABLES.values())} and {', '.join(FOLDERS.values())} (MELD)"
REQUIRED = ("Utterance", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
EMOTIONS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")  # in the authors' order
SENTIMENTS = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}


def matches(root: Path) -> bool:
    """The training table and its folder, where the archives put them (MELD.Raw/, train/) or beside."""
    return find_below(root, TABLES["train"]) is not None and find_below(root, FOLDERS["train"]) is not None


def classes(settings: Settings) -> tuple[str, ...]:
    """The names of the labels' classes."""
    return EMOTIONS if settings.target == "emotion" else ()


def read(root: Path, dataset: str, settings: Settings) -> Iterator[Clip | Reject]:
    """Utterances in the tables' order; a split whose table is not there has none."""
    for split, name in TABLES.items():
        path, folder = find_below(root, name), find_below(root, FOLDERS[split])
        if path is None:
            continue
        if folder is None:
            raise MalformedInput(f"{root}: expected the folder {FOLDERS[split]} beside {name}, found none")
        yield from _split(read_table(path, REQUIRED), folder, Clip("_", dataset, split), settings)


def _split(table: Table, folder: Path, usual: Clip, settings: Settings) -> Iterator[Clip | Reject]:
    videos = Videos(folder.parent)
    for number, row in table.rows:
        key = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
        name = f"{folder.name}$_${key}"
        try:
            label = _label(row, settings)
            path = videos.find(folder.name, key, spans=False)
            yield Clip(name, usual.dataset, usual.split, _mended(row["Utterance"]), {"M": label}, path)
        except MalformedInput as error:
            yield Reject(name, f"{table.path.as_posix()}:{number}", str(error))


def _label(row: dict[str, str], settings: Settings) -> float:
    if settings.target == "emotion":
        return class_of(row["Emotion"], EMOTIONS, "Emotion")
    return SENTIMENTS[tuple(SENTIMENTS)[int(class_of(row["Sentiment"], tuple(SENTIMENTS), "Sentiment"))]]


def _mended(text: str) -> str:
    """The tables hold Windows' apostrophes and dashes as the control characters of the same numbers."""
    return "".join(bytes([ord(c)]).decode("cp1252", "replace") if "\x80" <= c <= "\x9f" else c for c in text)


def check(clip: Clip) -> tuple[str, ...]:
    """What is odd about the file; MalformedInput unless its first picture can be decoded and it is whole."""
    return decode.check(clip.file)
