"""Transcripts from files. In: .srt, .vtt or .txt. Out: the words as one text, and when each part of them was said.

`token_spans` puts tokens on the clock: by the cues where the file has them, else by the sound (lacuna.align.words).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lacuna.align.words import Aligner, Settings, proportional, token_words, words_of
from lacuna.extractors._text import cleaned
from lacuna.types import Clip, MalformedInput

SUFFIXES = (".srt", ".vtt", ".txt")
_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_ARROW = re.compile(rf"{_TIME}\s*-->\s*{_TIME}")
_TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}")


@dataclass(frozen=True)
class Cue:
    """Words and the seconds from and to which they are said."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Transcript:
    """What is said; `cues` is empty where nobody noted when."""

    text: str
    cues: tuple[Cue, ...] = ()


def read_transcript(path: Path, start: float = 0.0, end: float | None = None) -> Transcript:
    """The words of a file; of timed ones those said from `start` to `end` s, with times from `start`."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise MalformedInput(f"{path}: expected a transcript ({', '.join(SUFFIXES)}), got {path.suffix!r}")
    if not path.is_file():
        raise MalformedInput(f"{path}: expected a transcript, found none")
    text = _decoded(path)
    if path.suffix.lower() == ".txt":
        return Transcript(" ".join(text.split()))
    cues = _cues(text)
    if not cues:
        raise MalformedInput(f"{path}: expected lines like 00:00:01,000 --> 00:00:02,500, found none")
    limit = np.inf if end is None else end
    kept = tuple(Cue(c.text, max(c.start, start) - start, min(c.end, limit) - start) for c in cues)
    kept = tuple(cue for cue in kept if cue.end > cue.start)
    return Transcript(" ".join(cue.text for cue in kept), kept)


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "replace")


def _cues(text: str) -> list[Cue]:
    cues = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip().splitlines()
        found = next(((i, m) for i, line in enumerate(lines) if (m := _ARROW.search(line))), None)
        if found is None:
            continue
        words = " ".join(_TAG.sub("", " ".join(lines[found[0] + 1 :])).split())
        if words:
            cues.append(Cue(words, _seconds(found[1].groups()[:4]), _seconds(found[1].groups()[4:])))
    return sorted(cues, key=lambda cue: cue.start)


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + int(seconds or 0) + float(f"0.{fraction}")


def token_spans(clip: Clip, transcript: Transcript, settings: Settings) -> np.ndarray:
    """(T, 2) seconds of each token of the transcript's text, NaN for [CLS] and [SEP]."""
    if not transcript.cues:
        if settings.words == "heard":  # nobody heard this clip: its words were given
            settings = replace(settings, words="proportional", source="")
        return Aligner(settings).spans(clip, transcript.text)
    from lacuna import pretrained

    tokenizer: Any = pretrained.tokenizer(settings.tokenizer)
    # Cleaned as the text of tokens is; a word is within one cue, but what is taken out may be the whole of it.
    cues = [replace(cue, text=cleaned(cue.text, settings.clean)) for cue in transcript.cues]
    text = " ".join(cue.text for cue in cues if cue.text)
    owner = token_words(tokenizer, text, words_of(text), settings.max_length)
    times = np.concatenate([_word_times(cue) for cue in cues])
    return np.where(owner[:, None] >= 0, times[owner], np.nan) if len(owner) else np.zeros((0, 2))


def _word_times(cue: Cue) -> np.ndarray:
    words = [cue.text[begin:end] for begin, end in words_of(cue.text)]
    return cue.start + proportional(words, None, cue.end - cue.start) if words else np.zeros((0, 2))
