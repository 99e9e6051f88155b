"""Transcripts from files. In: .srt, .vtt or .txt. Out: the words as one text, and when each part of them was said.

`token_spans` puts tokens on the clock: by the cues where the file has them, else by the sound (lacuna.align.words).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lacuna.align.word_files import filled
from lacuna.align.words import Aligner, Settings, proportional, token_words, words_of
from lacuna.data.heard import Heard
from lacuna.extractors._text import cleaned
from lacuna.predict.cues import Cue, is_timed, parse
from lacuna.storage import text as text_files
from lacuna.types import Clip, MalformedInput

SUFFIXES = (".srt", ".vtt", ".txt")
# What is no plain text, though it comes as .txt: its marks would be read as words.
_OTHERS = {
    "lines with times": re.compile(r"^[ \t]*\[?\d{1,3}:\d\d(:\d\d)?([.,]\d+)?\]", re.MULTILINE),
    "RTF": re.compile(r"\A\s*\{\\rtf"),
    "HTML or XML": re.compile(r"\A\s*<(!doctype|html|\?xml|tt|body|p)\b", re.IGNORECASE),
    "an ASS script": re.compile(r"\A\s*\[script info\]", re.IGNORECASE),
}


@dataclass(frozen=True)
class Transcript:
    """What is said; `cues` is empty where nobody noted when. `notes`: what its reader should know; `heard`: where a
    recogniser wrote it."""

    text: str
    cues: tuple[Cue, ...] = ()
    notes: tuple[str, ...] = ()
    heard: Heard | None = None


def read_transcript(path: Path, start: float = 0.0, end: float | None = None, encoding: str = "") -> Transcript:
    """The words of a file; of timed ones those said from `start` to `end` s, with times from `start`."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise MalformedInput(f"{path}: expected a transcript ({', '.join(SUFFIXES)}), got {path.suffix!r}")
    if not path.is_file():
        raise MalformedInput(f"{path}: expected a transcript, found none")
    text, found = text_files.decode(path.read_bytes(), str(path), encoding, setting="encoding")
    notes: tuple[str, ...] = ()
    if not encoding and found != "utf-8-sig":
        notes += (f"text: {path.name} is read as {found}",)
    if twice := text_files.garbled(text):
        notes += (f"text: {path.name} has words like {twice!r}, garbled before it was saved",)
    if path.suffix.lower() == ".txt":
        _check_plain(path, text)
        if (start, end) != (0, None):
            notes += (f"text: all of {path.name}, which does not say when it is said",)
        return _transcript(" ".join(text.split()), (), notes, path)
    limit = np.inf if end is None else end
    # A cue whose length is unknown is in the span where it begins in it.
    cues = [c for c in parse(text, str(path)) if c.start < limit and (c.end > start or c.start >= start)]
    kept = tuple(Cue(c.text, max(c.start, start) - start, min(c.end, limit) - start) for c in cues)
    return _transcript(" ".join(cue.text for cue in kept), kept, notes, path)


def _transcript(text: str, cues: tuple[Cue, ...], notes: tuple[str, ...], path: Path) -> Transcript:
    return Transcript(text, cues, notes if text else (*notes, f"text: none in {path.name} in that time"))


def _check_plain(path: Path, text: str) -> None:
    """MalformedInput for text that holds more than words."""
    kind = next((name for name, pattern in _OTHERS.items() if pattern.search(text)), "")
    kind = "subtitles (name the file .srt or .vtt)" if is_timed(text) else kind or ("JSON" if _is_json(text) else "")
    if kind:
        raise MalformedInput(f"{path}: expected plain words in a .txt file, got {kind}")


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def token_spans(clip: Clip, transcript: Transcript, settings: Settings) -> np.ndarray:
    """(T, 2) seconds of each token of the transcript's text, NaN for [CLS] and [SEP]."""
    if not transcript.cues:
        if settings.words == "heard":  # nobody heard this clip: its words were given
            settings = replace(settings, words="proportional", source="")
        return Aligner(settings).spans(clip, transcript.text)
    from lacuna.storage import pretrained

    tokenizer: Any = pretrained.tokenizer(settings.tokenizer)
    # Cleaned as the text of tokens is; a word is within one cue, but what is taken out may be the whole of it.
    cues = [replace(cue, text=cleaned(cue.text, settings.clean)) for cue in transcript.cues]
    text = " ".join(cue.text for cue in cues if cue.text)
    owner = token_words(tokenizer, text, words_of(text), settings.max_length)
    words = [text[begin:end] for begin, end in words_of(text)]
    times = filled(np.concatenate([_word_times(cue) for cue in cues]), words, max(cue.end for cue in cues))
    return np.where(owner[:, None] >= 0, times[owner], np.nan) if len(owner) else np.zeros((0, 2))


def _word_times(cue: Cue) -> np.ndarray:
    """(W, 2) s; NaN in a cue whose length is unknown."""
    words = [cue.text[begin:end] for begin, end in words_of(cue.text)]
    if not words or cue.end <= cue.start:
        return np.full((len(words), 2), np.nan)
    return cue.start + proportional(words, None, cue.end - cue.start)
