"""Word times from files. In: a folder of TextGrid, CTM or CSV files and a clip's words. Out: each word's span.

A clip's file is <video_id>/<clip_id>.<suffix> or <clip's id>.<suffix>, with seconds from the clip's start; or
<video_id>.<suffix>, with seconds from the video's. Words are matched by spelling, and by place where just as many stand
between two that match; one that the file lacks, or does not time, takes its share of the gap between its neighbours.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lacuna.data.heard import Heard
from lacuna.prepare.tables import is_blank, read_table
from lacuna.storage import text as text_files
from lacuna.types import Clip, MalformedInput

_SILENCES = {"", "sp", "sil", "<eps>", "<sil>", "[silence]"}
# Praat heeds strings and numbers that stand free, and nothing after a free "!".
_FIELD = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)(-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)|(?<!\S)![^\r\n]*')
# A word is a run without spaces; Chinese and Japanese write none, so each of their characters is one.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
)


@dataclass(frozen=True)
class Word:
    """A word and its span in seconds."""

    text: str
    start: float
    end: float

    def parts(self) -> list[Word]:
        """The same as words of ours (`words_of`), by their letters."""
        places = words_of(self.text)
        if len(places) < 2:
            return [self]
        bounds = np.cumsum([0, *(end - begin for begin, end in places)])
        bounds = self.start + (self.end - self.start) * bounds / bounds[-1]
        return [Word(self.text[b:e], *map(float, s)) for (b, e), s in zip(places, pairwise(bounds))]

    def moved(self, seconds: float) -> Word:
        return Word(self.text, self.start + seconds, self.end + seconds)


def words_of(text: str) -> list[tuple[int, int]]:
    """Where each word begins and ends in the text."""
    return [match.span() for match in _WORD.finditer(text)]


def file_times(folder: Path, clip: Clip, words: Sequence[str]) -> np.ndarray:
    """(W, 2) spans of the clip's words; MalformedInput where there is no file, or it cannot be read."""
    path, offset = _file_of(folder, clip)
    read = [part.moved(-offset) for word in read_words(path, clip) for part in word.parts()]
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
    matching = _matching(words, [word.text for word in read])
    if words and not matching:
        some = " ".join(word.text for word in read[:5])
        raise MalformedInput(f"expected times of the words {' '.join(words[:5])} …, got those of {some} …")
    for ours, theirs, count in matching:
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
    """(first of ours, first of theirs, how many) of words that are the same: none where no word is spelled alike."""
    a, b = ([re.sub(r"\W", "", word).casefold() or word for word in words] for words in (ours, theirs))
    steps = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    if not any(kind == "equal" for kind, *_ in steps):
        return []
    # As many of ours as of theirs between two that match: numbers and names that are written otherwise.
    return [(a, c, b - a) for kind, a, b, c, d in steps if kind == "equal" or (kind == "replace" and b - a == d - c)]


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
    """The words of a file in order of time, silences and words without times left out.

    MalformedInput where it is not what its suffix says.
    """
    try:
        words = _READERS[path.suffix](path, clip)
    except (IndexError, KeyError, TypeError) as error:
        raise MalformedInput(f"{path}: expected word times as {path.suffix[1:]}: {error}") from error
    except ValueError as error:
        told = str(error) if isinstance(error, MalformedInput) else f"{path}: expected numbers: {error}"
        raise MalformedInput(told) from error
    words = [word for word in words if not (np.isnan(word.start) or np.isnan(word.end))]
    for word in words:
        if not word.start <= word.end < np.inf:
            raise MalformedInput(f"{path}: expected end >= start, got {word.start} and {word.end} for {word.text!r}")
    return sorted((w for w in words if w.text.strip().lower() not in _SILENCES), key=lambda w: (w.start, w.end))


def _text_grid(path: Path, clip: Clip | None) -> list[Word]:
    """Praat's long and short form alike: both are the same strings and numbers in the same order.

    All tiers that are called words, of whichever speaker; the only tier of intervals, whatever it is called.
    """
    found = _FIELD.finditer(_text(path))
    fields: list[Any] = [
        m[1].replace('""', '"') if m[1] is not None else float(m[2]) for m in found if not m[0].startswith("!")
    ]
    fields = fields[fields.index("TextGrid") :]
    tiers: list[tuple[str, list[Word]]] = []
    at, count = 4, _count(fields[3], fields)  # "TextGrid", xmin, xmax, number of tiers
    for _ in range(count):
        kind, name, size = fields[at], fields[at + 1], _count(fields[at + 4], fields)
        width = 3 if kind == "IntervalTier" else 2
        rows = [fields[at + 5 + width * k : at + 5 + width * (k + 1)] for k in range(size)]
        if width == 3:
            tiers.append((name, [Word(str(label), float(start), float(end)) for start, end, label in rows]))
        at += 5 + width * size
    named = [tier for tier in tiers if re.search(r"(?<![^\W_])words?(?![^\W_])", tier[0], re.IGNORECASE)]
    if not named and len(tiers) != 1:
        names = ", ".join(name for name, _ in tiers) or "none"
        raise MalformedInput(f"{path}: expected a tier called words, or only one of intervals, got {names}")
    return [word for _, words in named or tiers for word in words]


def _count(told: Any, fields: Sequence[Any]) -> int:  # noqa: ANN401 (a string where the file is damaged)
    """How many tiers or intervals a file says that it has: not more than it has strings and numbers."""
    if not 0 <= told <= len(fields):
        raise ValueError(f"a number of tiers or intervals, got {told}")
    return int(told)


def _text(path: Path) -> str:
    return text_files.read(path, setting="its encoding, utf-8,")


def _ctm(path: Path, clip: Clip | None) -> list[Word]:
    """Lines of: file, channel, start, duration, word. Of several files, the clip's."""
    rows = [line.split() for line in _text(path).splitlines() if line.strip() and not line.startswith(";;")]
    if len({row[0] for row in rows}) > 1 and clip is not None:
        video, _, name = clip.id.rpartition("$_$")
        names = [n for n in (clip.id, name, video) if any(row[0] == n for row in rows)]
        rows = [row for row in rows if names and row[0] == names[0]]
    return [Word(row[4], float(row[2]), float(row[2]) + float(row[3])) for row in rows]


def _csv(path: Path, clip: Clip | None) -> list[Word]:
    """Columns word, start, end; times that are empty are unknown."""
    table = read_table(path, ("word", "start", "end"))
    words = []
    for number, row in table.rows:
        times = [np.nan if is_blank(row[name]) else table.number(row[name]) for name in ("start", "end")]
        if any(np.isnan(time) and not is_blank(row[name]) for time, name in zip(times, ("start", "end"))):
            raise MalformedInput(f"{path}: expected seconds in line {number}, got {row['start']!r} and {row['end']!r}")
        words.append(Word(row["word"], *times))
    return words


_READERS: dict[str, Callable[[Path, Clip | None], list[Word]]] = {".TextGrid": _text_grid, ".ctm": _ctm, ".csv": _csv}
