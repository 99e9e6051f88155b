"""The disk contract: `Clip`, one labelled stretch of media, and `FeatureSequence`, what an extractor makes of it.

In: plain values. Out: frozen records, checked when made; numpy only, so that every room may import this one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np

SPLITS = ("train", "valid", "test")
MODALITIES = ("text", "audio", "vision", "image")
LABELS = ("M", "T", "A", "V")  # multimodal, and the unimodal ones of text, audio, vision
UNKNOWN = "unlabelled"  # the split of clips that are only to be predicted
TOKEN_COLUMNS = ("input_ids", "attention_mask", "token_type_ids")
HIDDEN_COLUMN = "hidden_0"  # what a BERT-family encoder calls its first output column
TAILED_COLUMN = "tailed_hidden_0"  # the same of an encoder whose special tokens both stand at the end (XLNet)
# How many special tokens stand first and last, by the first column of hidden states; then Llama's, T5's and GPT's.
SPECIALS = {
    HIDDEN_COLUMN: (1, 1),
    TAILED_COLUMN: (0, 2),
    "led_hidden_0": (1, 0),
    "closed_hidden_0": (0, 1),
    "bare_hidden_0": (0, 0),
}
LOST_TOKEN = -1  # the id of a lost word: each text encoder puts its own [UNK] there


class MalformedInput(ValueError):
    """Something given to us is not what it must be: the message names the thing, the expectation and the value."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 clip`, `2 clips`; `plural` where it takes more than an s."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def require_words(settings: object) -> None:
    """Refuse, in a settings dataclass, a word that the field's Literal does not have."""
    for name, kind in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if get_origin(kind) is Literal and value not in get_args(kind):
            where = type(settings).__module__.rpartition(".")[2]
            raise MalformedInput(f"{where}.{name}: expected one of {', '.join(get_args(kind))}; got {value!r}")


@dataclass(frozen=True)
class Clip:
    """One labelled stretch of a media file (or one row of given features, which has no media of its own).

    `id` is `<video_id>$_$<clip_id>`; `start` and `end` are seconds within the file, `end` None for its end;
    `labels` maps "M", "T", "A", "V" to a score or a class index.
    """

    id: str
    dataset: str
    split: str
    text: str = ""
    labels: dict[str, float] = field(default_factory=dict)
    path: Path | None = None
    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        if not self.id or not self.dataset:
            raise MalformedInput(f"clip {self.id!r} of {self.dataset!r}: expected an id and a dataset")
        if self.split not in (*SPLITS, UNKNOWN):
            raise MalformedInput(f"clip {self.id}: expected a split among {', '.join(SPLITS)}, got {self.split!r}")
        if not (math.isfinite(self.start) and self.start >= 0):
            raise MalformedInput(f"clip {self.id}: expected start >= 0 s, got {self.start}")
        if self.end is not None and not self.end > self.start:
            raise MalformedInput(f"clip {self.id}: expected end > start = {self.start} s, got {self.end}")
        for name, value in self.labels.items():
            if name not in LABELS or not math.isfinite(value):
                raise MalformedInput(f"clip {self.id}: expected finite labels among {LABELS}, got {name}={value}")

    @property
    def label(self) -> float:
        """The multimodal label, NaN where the clip has none."""
        return self.labels.get("M", math.nan)

    @property
    def file(self) -> Path:
        """Its media file; MalformedInput where it has none."""
        if self.path is None:
            raise MalformedInput(f"clip {self.id}: expected a media file, got none")
        return self.path


@dataclass(frozen=True)
class Reject:
    """One row of rejects.csv: what was refused (a clip, or one modality of it), its file, the reason, the stage."""

    id: str
    file: str
    reason: str
    stage: str = "prepare"


@dataclass(frozen=True)
class FeatureSequence:
    """T frames of D named features: `values` (T, D) float32 or int64, `times` (T,) s, `seen` (T,) bool, `columns`.

    `seen` is the single idea of absence: a lost face, a simulated loss and padding look alike, and their values
    are zero (token ids excepted: a lost word keeps its place as [UNK]). T = 0 says that the clip has none of it.
    """

    values: np.ndarray
    times: np.ndarray
    seen: np.ndarray
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        frames = len(self.times)
        if self.values.shape != (frames, len(self.columns)):
            expected = (frames, len(self.columns))
            raise MalformedInput(f"values: expected shape {expected} (times, columns), got {self.values.shape}")
        if self.seen.shape != (frames,) or self.seen.dtype != bool:
            raise MalformedInput(f"seen: expected {frames} bools, got {self.seen.dtype} {self.seen.shape}")
        if self.values.dtype not in (np.float32, np.int64):
            raise MalformedInput(f"values: expected float32 or int64, got {self.values.dtype}")
        bad = ~np.isfinite(self.values)
        if bad.any():
            frame, column = np.argwhere(bad)[0]
            value = self.values[frame, column]
            raise MalformedInput(f"values: expected finite numbers, got {value} in {self.columns[column]}[{frame}]")
        if not np.isfinite(self.times).all():
            raise MalformedInput("times: expected finite seconds")

    def __len__(self) -> int:
        return len(self.times)

    @classmethod
    def unchecked(
        cls, values: np.ndarray, times: np.ndarray, seen: np.ndarray, columns: tuple[str, ...]
    ) -> FeatureSequence:
        """The sequence of arrays that were checked when they were written: looking at each value again costs more than
        reading it."""
        made = object.__new__(cls)
        vars(made).update(values=values, times=times, seen=seen, columns=columns)
        return made


def empty_sequence(columns: tuple[str, ...], dtype: type = np.float32) -> FeatureSequence:
    """The sequence of a clip that has none of a modality: no frames, the usual columns."""
    return FeatureSequence(np.zeros((0, len(columns)), dtype), np.zeros(0), np.zeros(0, bool), tuple(columns))


def joined(pieces: Iterable[FeatureSequence]) -> FeatureSequence:
    """One sequence of pieces that follow each other in time; there must be at least one."""
    pieces = list(pieces)
    if len(pieces) == 1:
        return pieces[0]
    values, times, seen = (np.concatenate([getattr(p, name) for p in pieces]) for name in ("values", "times", "seen"))
    return FeatureSequence(values, times, seen, pieces[0].columns)


def is_tokens(sequence: FeatureSequence) -> bool:
    """Whether a text sequence holds token ids (to be encoded by the model) and not embeddings."""
    return sequence.columns == TOKEN_COLUMNS


def specials(sequence: FeatureSequence) -> np.ndarray:
    """(T,) bool: which positions are no words but special tokens, of token ids or the hidden states of such.

    BERT's stand at both ends ([CLS] and [SEP]), XLNet's both at the end (<sep> and <cls>, of segment 2).
    """
    first, last = SPECIALS.get(sequence.columns[0], (0, 0))
    if is_tokens(sequence):
        tailed = len(sequence) > 0 and sequence.values[-1, TOKEN_COLUMNS.index("token_type_ids")] == 2
        first, last = SPECIALS[TAILED_COLUMN if tailed else HIDDEN_COLUMN]
    position = np.arange(len(sequence))
    return (position < first) | (position >= len(sequence) - last)
