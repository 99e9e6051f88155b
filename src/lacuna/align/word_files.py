"""Word times from files. In: a folder of TextGrid, CTM or CSV files and a clip's words. Out: each word's span.

A clip's file is <video_id>/<clip_id>.<suffix> or <clip's id>.<suffix>, with seconds from the clip's start; or
<video_id>.<suffix>, with seconds from the video's. Words are matched by spelling; one that the file lacks takes its
share of the gap between its neighbours.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lacuna.data.heard import Heard
from lacuna.types import Clip, MalformedInput

_SILENCES = {"", "sp", "sil", "<eps>", "<sil>", "[silence]"}
_FIELD = re.compile(r'"((?:[^"]|"")*)"|(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)')


@dataclass(frozen=True)
class Word:
    """A word and its span in seconds."""

    text: str
    start: float
    end: float


def file_times(folder: Path, clip: Clip, words: Sequence[str]) -> np.ndarray:
    """(W, 2) spans of the clip's words; MalformedInput where there is no file, or it cannot be read."""
    path, offset = _file_of(folder, clip)
    read = [Word(w.text, w.start - offset, w.end - offset) for w in read_words(path, clip)]
    length = np.inf if clip.end is None else clip.end - clip.start
    read = [w for w in read if w.end > 0 and w.start < length]
    if not read:
        raise MalformedInput(f"{path}: expected words within the clip {clip.id}, got none")
    return matched(words, read, min(length, max(w.end for w in read)))


def heard_times(heard: Mapping[str, Heard], clip: Clip, words: Sequence[str]) -> np.ndarray:
    """(W, 2) spans of the clip's words, by what was heard of them; MalformedInput where nothing was."""
    said = heard[clip.id].words if clip.id in heard else ()
    if not said:
        raise MalformedInput(f"clip {clip.id}: expected word times from stage transcribe (clips: all), found none")
    return matched(words, [Word(w.text, w.start, w.end) for w in said], said[-1].end)


def matched(words: Sequence[str], read: Sequence[Word], length: float) -> np.ndarray:
    """(W, 2) spans of `words`, matched by spelling with words that have times; others are put between neighbours."""
    spans = np.full((len(words), 2), np.nan)
    for ours, theirs, count in _matching(words, [word.text for word in read]):
        for k in range(count):
            spans[ours + k] = read[theirs + k].start, read[theirs + k].end
    return filled(np.maximum(spans, 0), words, length)


def _file_of(folder: Path, clip: Clip) -> tuple[Path, float]:
    """The clip's file and the second of it at which the clip starts."""
    video, _, name = clip.id.rpartition("$_$")
    for stem, offset in ((folder / video / name, 0.0), (folder / clip.id, 0.0), (folder / (video or name), clip.start)):
        for suffix in _READERS:
            path = stem.with_name(stem.name + suffix)
            if path.is_file():
                return path, offset
    choices = "|".join(_READERS)
    raise MalformedInput(f"clip {clip.id}: expected word times at {folder / video / name}({choices}), found none")


def _matching(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int, int]]:
    if len(ours) == len(theirs):
        return [(0, 0, len(ours))]
    plain = [[re.sub(r"\W", "", word).casefold() for word in words] for words in (ours, theirs)]
    return [tuple(block) for block in difflib.SequenceMatcher(None, *plain, autojunk=False).get_matching_blocks()]


def filled(spans: np.ndarray, words: Sequence[str], length: float) -> np.ndarray:
    """Spans (W, 2) with those of NaN put between their neighbours (0 and `length` s at the ends), by their letters."""
    spans, known = spans.copy(), ~np.isnan(spans[:, 0])
    i = 0
    while i < len(spans):
        if known[i]:
            i += 1
            continue
        stop = next((k for k in range(i, len(spans)) if known[k]), len(spans))
        begin = spans[i - 1, 1] if i else 0.0
        end = spans[stop, 0] if stop < len(spans) else length
        bounds = np.cumsum([0.0, *(max(1, len(word)) for word in words[i:stop])])
        bounds = begin + max(0.0, end - begin) * bounds / bounds[-1]
        spans[i:stop] = np.stack([bounds[:-1], bounds[1:]], 1)
        i = stop
    return spans


def read_words(path: Path, clip: Clip | None = None) -> list[Word]:
    """The words of a file in order of time, silences left out; MalformedInput where it is not what its suffix says."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        words = _READERS[path.suffix](text, clip)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise MalformedInput(f"{path}: expected word times as {path.suffix[1:]}: {error}") from error
    for word in words:
        if not word.end >= word.start:
            raise MalformedInput(f"{path}: expected end >= start, got {word.start} and {word.end} for {word.text!r}")
    return sorted((w for w in words if w.text.strip().lower() not in _SILENCES), key=lambda w: (w.start, w.end))


def _text_grid(text: str, clip: Clip | None) -> list[Word]:
    """Praat's long and short form alike: both are the same strings and numbers in the same order."""
    plain = re.sub(r"\[\d*\]|^.*?(?=\"TextGrid\")", "", text, count=0, flags=re.DOTALL)
    fields = [m[1].replace('""', '"') if m[1] is not None else float(m[2]) for m in _FIELD.finditer(plain)]
    tiers: dict[str, list[Word]] = {}
    at, count = 4, int(fields[3])  # "TextGrid", xmin, xmax, number of tiers
    for _ in range(count):
        kind, name, size = fields[at], fields[at + 1], int(fields[at + 4])
        width = 3 if kind == "IntervalTier" else 2
        rows = [fields[at + 5 + width * k : at + 5 + width * (k + 1)] for k in range(size)]
        if width == 3:
            tiers[name] = [Word(str(label), float(start), float(end)) for start, end, label in rows]
        at += 5 + width * size
    named = [name for name in tiers if re.search(r"\bwords?\b", name, re.IGNORECASE)]
    return tiers[(named or list(tiers))[0]]


def _ctm(text: str, clip: Clip | None) -> list[Word]:
    """Lines of: file, channel, start, duration, word. Of several files, the clip's."""
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith(";;")]
    if len({row[0] for row in rows}) > 1 and clip is not None:
        video, _, name = clip.id.rpartition("$_$")
        names = [n for n in (clip.id, name, video) if any(row[0] == n for row in rows)]
        rows = [row for row in rows if names and row[0] == names[0]]
    return [Word(row[4], float(row[2]), float(row[2]) + float(row[3])) for row in rows]


def _csv(text: str, clip: Clip | None) -> list[Word]:
    """Columns word, start, end."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return [Word(row["word"], float(row["start"]), float(row["end"])) for row in rows]


_READERS: dict[str, Callable[[str, Clip | None], list[Word]]] = {".TextGrid": _text_grid, ".ctm": _ctm, ".csv": _csv}
