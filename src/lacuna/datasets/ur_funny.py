"""UR-FUNNY v2's own layout. In: its three pickles and urfunny2_videos/<id>.mp4. Out: one clip an id.

The label is 1 for humour and 0 for none (task `class`); the splits are the authors' folds, which keep speakers apart. A
video shows the context and then the punchline, and so the text is both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lacuna.media import decode
from lacuna.prepare.run import Settings
from lacuna.prepare.tables import Videos, find_below, found_below
from lacuna.storage import pickles
from lacuna.types import Clip, MalformedInput, Reject

LABELS, WORDS, FOLDS = "humor_label_sdk.pkl", "language_sdk.pkl", "data_folds.pkl"
FOLDER = "urfunny2_videos"
LOOKED_FOR = f"{LABELS}, {WORDS}, {FOLDS} and {FOLDER}/<id>.mp4 (UR-FUNNY v2)"
SPLITS = {"train": "train", "dev": "valid", "test": "test"}


def matches(root: Path) -> bool:
    """The three pickles and the folder of videos, here or in folders of their own (sdk_features/)."""
    return all(find_below(root, name) is not None for name in (LABELS, WORDS, FOLDS, FOLDER))


def read(root: Path, dataset: str, settings: Settings) -> Iterator[Clip | Reject]:
    """Ids in the order of the labels."""
    labels, words = _dictionary(root, LABELS), _dictionary(root, WORDS)
    splits = {key: split for fold, split in SPLITS.items() for key in _dictionary(root, FOLDS).get(fold, ())}
    folder = found_below(root, FOLDER)
    videos = Videos(folder.parent)
    for key, label in labels.items():
        name = f"{folder.name}$_${key}"
        try:
            if label not in (0, 1):
                raise MalformedInput(f"{LABELS}: expected 0 or 1, got {label!r}")
            for file, known in ((FOLDS, splits), (WORDS, words)):
                if key not in known:
                    raise MalformedInput(f"{file}: expected the id {key!r} in it, found it not")
            path = videos.find(folder.name, str(key), spans=False)
            yield Clip(name, dataset, splits[key], _text(words[key]), {"M": float(label)}, path)
        except MalformedInput as error:
            yield Reject(name, found_below(root, LABELS).as_posix(), str(error))


def _dictionary(root: Path, name: str) -> dict:
    path = found_below(root, name)
    content = pickles.load(path)
    if not isinstance(content, dict):
        raise MalformedInput(f"{path}: expected a dictionary, got {type(content).__name__}")
    return content


def _text(record: object) -> str:
    if not isinstance(record, dict) or "punchline_sentence" not in record:
        raise MalformedInput(f"{WORDS}: expected punchline_sentence, got {record!r:.60}")
    sentences = [*record.get("context_sentences", ()), record["punchline_sentence"]]
    return " ".join(s if isinstance(s, str) else " ".join(map(str, s)) for s in sentences)


def check(clip: Clip) -> tuple[str, ...]:
    """What is odd about the file; MalformedInput unless its first picture can be decoded and it is whole."""
    return decode.check(clip.file)
