"""IEMOCAP's own layout. In: Session1 … Session5 with dialog/EmoEvaluation, transcriptions and avi. Out: clips.

A clip is an utterance's span of its dialogue's video, which shows both speakers side by side. With `target: emotion`
the label is one of four classes, excited counting as happy, as most papers have it; utterances of other emotions, or
on which the annotators did not agree, are no clips. With `sentiment` it is the valence, 1 to 5, minus 3, of all.
Session 5 is the test split, and so its speakers are heard nowhere else; the others are split by a hash, or with
`speakers_apart` Session 4 is the validation split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lacuna.media import decode
from lacuna.prepare.run import Settings
from lacuna.prepare.splits import stratified
from lacuna.prepare.tables import Videos
from lacuna.storage import text as text_files
from lacuna.types import Clip, MalformedInput, Reject

LOOKED_FOR = "Session1/dialog/EmoEvaluation/*.txt, transcriptions and avi (IEMOCAP)"
SPEAKERS = True
CLASSES = {"neu": "neutral", "hap": "happy", "exc": "happy", "sad": "sad", "ang": "angry"}
NAMES = ("neutral", "happy", "sad", "angry")
TEST, VALID = "Session5", "Session4"
# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]: valence, activation, dominance
_TURN = re.compile(
    r"^\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\t(?P<name>\w+)\t(?P<emotion>\w+)\t\[(?P<valence>[\d.]+),", re.MULTILINE
)
_SAID = re.compile(r"^(?P<name>\w+) \[[\d.]+-[\d.]+\]:(?P<text>.*)$", re.MULTILINE)


@dataclass(frozen=True)
class _Turn:
    session: str
    dialogue: str
    name: str
    start: float
    end: float
    emotion: str
    valence: float


def matches(root: Path) -> bool:
    """Sessions, in the folder itself or in the archive's own (IEMOCAP_full_release)."""
    return bool(_sessions(root))


def _sessions(root: Path) -> list[Path]:
    found = (path.parents[1] for p in ("", "*/") for path in root.glob(f"{p}Session*/dialog/EmoEvaluation"))
    return sorted(set(found), key=lambda path: path.name)


def classes(settings: Settings) -> tuple[str, ...]:
    """The names of the labels' classes."""
    return NAMES if settings.target == "emotion" else ()


def read(root: Path, dataset: str, settings: Settings) -> Iterator[Clip | Reject]:
    """Utterances by session, dialogue and time."""
    folders = {folder.name: folder for folder in _sessions(root)}
    turns = [turn for folder in folders.values() for turn in _turns(folder)]
    if settings.target == "emotion":
        turns = [turn for turn in turns if turn.emotion in CLASSES]
    splits, said = _splits(turns, settings), {name: _said(folder) for name, folder in folders.items()}
    for turn in turns:
        try:
            yield _clip(
                turn, folders[turn.session], Clip("_", dataset, splits[turn.name]), settings, said[turn.session]
            )
        except MalformedInput as error:
            yield Reject(f"{turn.dialogue}$_${turn.name}", folders[turn.session].as_posix(), str(error))


def _clip(turn: _Turn, folder: Path, usual: Clip, settings: Settings, said: Mapping[str, str]) -> Clip:
    if turn.name not in said:
        raise MalformedInput(f"transcriptions: expected the words of {turn.name}, found none")
    emotion = settings.target == "emotion"
    label = float(NAMES.index(CLASSES[turn.emotion])) if emotion else turn.valence - 3
    avi = folder / "dialog" / "avi"
    place = "DivX" if (avi / "DivX").is_dir() else ""
    path = Videos(avi / place).find(turn.dialogue, turn.name, spans=True)
    name = f"{turn.dialogue}$_${turn.name}"
    return Clip(name, usual.dataset, usual.split, said[turn.name], {"M": label}, path, turn.start, turn.end)


def _turns(folder: Path) -> Iterator[_Turn]:
    for file in sorted((folder / "dialog" / "EmoEvaluation").glob("Ses*.txt")):
        for found in _TURN.finditer(text_files.read(file)):
            start, end, valence = (float(found[name]) for name in ("start", "end", "valence"))
            yield _Turn(folder.name, file.stem, found["name"], start, end, found["emotion"], valence)


def _said(folder: Path) -> dict[str, str]:
    """{utterance: its words} of a session."""
    files = sorted((folder / "dialog" / "transcriptions").glob("Ses*.txt"))
    texts = (text_files.read(file) for file in files)
    return {found["name"]: found["text"].strip() for text in texts for found in _SAID.finditer(text)}


def _splits(turns: list[_Turn], settings: Settings) -> dict[str, str]:
    held = dict.fromkeys((turn.name for turn in turns if turn.session == TEST), "test")
    if settings.speakers_apart:
        rest = {turn.name: "valid" if turn.session == VALID else "train" for turn in turns if turn.session != TEST}
        return rest | held
    kinds = [(turn.name, turn.emotion) for turn in turns if turn.session != TEST]
    return stratified(kinds, settings.seed, settings.fractions[:2], ("train", "valid")) | held


def check(clip: Clip) -> tuple[str, ...]:
    """What is odd about the file; MalformedInput unless it can be decoded and reaches the clip's end."""
    return decode.check(clip.file, clip.start, clip.end)
