"""Subtitles. In: the text of an .srt or .vtt file. Out: every word of it once, in cues with the seconds they are said.

Written here because the parsers at hand lose words of what people have: pysubs2 1.8 drops cues whose times have no
fraction, takes "< y >" for a tag and VTT's notes for speech, and keeps entities and rolling captions as they are.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lacuna.types import MalformedInput

_STAMP = r"(?:(\d{1,9}):)?(\d{1,9}):(\d{1,9})(?:[.,](\d+))?"
_ARROW = re.compile(rf"\s*{_STAMP}\s*(?:-{{1,3}}|[–—])>\s*{_STAMP}(?:\s.*)?")
_ALMOST = re.compile(  # a line of times that is written otherwise, or cut short
    r"-->|\d:\d\d\S*\s*\S{0,3}[>→]\s*\d+:\d|^\s*\d+:\d\d\S*\s*.{0,8}\s*\d+:\d\d\S*\s*$|^\s*\d+:\d\d:[\d:.,\s>-]*$"
)
_INLINE = re.compile(rf"<{_STAMP}>")
_TAG = re.compile(
    r"</?(?:i|b|u|s|em|strong|ruby|rt|br)(?:\.[\w.-]+)*\s*/?>"  # those that have no attributes
    r"|</?(?:c|v|lang|font|span|p)(?:\.[\w.-]+)*(?:\s[^<>]*)?/?>|\{\\[^{}]*\}",
    re.IGNORECASE,
)
_BREAK = re.compile(r"<br\s*/?>|\\[nh]", re.IGNORECASE)  # \\N and \\h are ASS's, of which many are made
_ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|[a-z]+\d*);", re.IGNORECASE)
_ASIDE = re.compile(r"(NOTE|STYLE|REGION)(\s.*)?")  # what VTT keeps between its cues
_CLOSE = 0.5  # s between the end of a caption and the start of the next, which repeats it


@dataclass(frozen=True)
class Cue:
    """Words and the seconds from and to which they are said; equal where nobody noted how long."""

    text: str
    start: float
    end: float


Word = tuple[str, float | None]  # and the second at which it begins, where the line says it


@dataclass(frozen=True)
class _Caption:
    """Lines of words that are shown together."""

    start: float
    end: float
    lines: tuple[tuple[Word, ...], ...]

    def words(self) -> list[Word]:
        return [word for line in self.lines for word in line]


def is_timed(text: str) -> bool:
    """Whether a line of the text has the times of a cue."""
    return any(_ARROW.fullmatch(line) for line in text.splitlines())


def parse(text: str, name: str) -> list[Cue]:
    """The cues by start; MalformedInput where there is none, or a line of times that cannot be read."""
    lines = re.split(r"\r\n|\r|\n", text)
    arrows = [(i, match) for i, line in enumerate(lines) if (match := _ARROW.fullmatch(line)) and _is_time(match)]
    if not arrows:
        raise MalformedInput(f"{name}: expected lines like 00:00:01,000 --> 00:00:02,500, found none")
    known = {i for i, _ in arrows}
    strange = next((i for i, line in enumerate(lines) if i not in known and _ALMOST.search(line)), None)
    if strange is not None:
        raise MalformedInput(
            f"{name}: line {strange + 1}: expected 00:00:01,000 --> 00:00:02,500, got {lines[strange]!r:.60}"
        )
    captions = sorted(_captions(lines, arrows, name), key=lambda caption: caption.start)
    captions = list(dict.fromkeys(captions))  # the same cue twice, times and all
    return [cue for caption in (_collapsed(captions) if _rolls(captions) else captions) for cue in _cues(caption)]


def _captions(lines: Sequence[str], arrows: Sequence[tuple[int, re.Match[str]]], name: str) -> Iterator[_Caption]:
    vtt = lines[0].lstrip("\ufeff ").startswith("WEBVTT")
    # Where most cues have a number above them, a number there is no word.
    numbered = not vtt and 2 * sum(i > 0 and lines[i - 1].strip().isdecimal() for i, _ in arrows) > len(arrows)
    if numbered:
        _check_end(lines, arrows[-1][0], name)
    ends = [*(_without_name(lines, i, vtt, numbered) for i, _ in arrows), len(lines)]
    before = next((i for i, line in enumerate(lines[: ends[0]]) if line.strip()), None)
    if before is not None and not vtt:
        raise MalformedInput(
            f"{name}: line {before + 1}: expected a cue's times before its words, got {lines[before]!r:.60}"
        )
    for (i, match), end in zip(arrows, ends[1:]):
        start, until = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
        words = tuple(_words(line) for line in _spoken(lines[i + 1 : end], vtt))
        yield _Caption(start, max(start, until), tuple(line for line in words if line))


def _is_time(match: re.Match[str]) -> bool:
    """Whether hours, minutes and seconds are such; without hours, minutes may be more than 60."""
    hours, minutes, seconds = (match.group(at, at + 4) for at in (1, 2, 3))
    short = (int(m) < 60 or (h is None and int(m) < 6000) for h, m in zip(hours, minutes))
    return all(int(h or 0) < 100 for h in hours) and all(short) and all(int(s) < 60 for s in seconds)


def _check_end(lines: Sequence[str], arrow: int, name: str) -> None:
    """MalformedInput where a file ends with the number of a cue whose times are cut off."""
    following = str(int(lines[arrow - 1])) if arrow and lines[arrow - 1].strip().isdecimal() else ""
    for i in range(arrow + 2, len(lines)):
        last = lines[i].strip() == (str(int(following) + 1) if following else None) and not lines[i - 1].strip()
        if last and not re.search(r"[^\d:.,\s>-]", "".join(lines[i:])):
            raise MalformedInput(f"{name}: line {i + 1}: expected a cue after its number, got the file's end")


def _without_name(lines: Sequence[str], arrow: int, vtt: bool, numbered: bool) -> int:
    """Where the cue of this arrow begins: at the line above it, where that is the cue's number or name."""
    above = lines[arrow - 1].strip() if arrow else ""
    if not above:
        return arrow
    apart = arrow < 2 or not lines[arrow - 2].strip()
    return arrow - 1 if (vtt and apart) or (numbered and above.isdecimal()) else arrow


def _spoken(lines: Sequence[str], vtt: bool) -> Iterator[str]:
    """The lines of a cue, without the notes and styles that VTT has after a blank line."""
    aside, blank = False, False
    for line in lines:
        aside = vtt and bool(line.strip()) and (aside or (blank and bool(_ASIDE.fullmatch(line))))
        blank = not line.strip()
        if not aside:
            yield line


def _words(line: str) -> tuple[Word, ...]:
    """The words of a line, its tags removed, with the times that stand between them."""
    plain, times = "", []
    for part in _parted(line):
        if isinstance(part, float):
            times.append((len(plain), part))
        else:
            plain += _ENTITY.sub(lambda match: html.unescape(match[0]), _TAG.sub("", part))
    return tuple(
        (match[0], next((time for place, time in reversed(times) if place <= match.start()), None))
        for match in re.finditer(r"\S+", plain)
    )


def _parted(line: str) -> Iterator[str | float]:
    """Text and inline times in turn."""
    line, at = _BREAK.sub(" ", line), 0
    for match in _INLINE.finditer(line):
        yield line[at : match.start()]
        yield _seconds(match.groups())
        at = match.end()
    yield line[at:]


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + int(seconds or 0) + float(f"0.{fraction or 0}")


def _texts(words: Sequence[Word]) -> list[str]:
    return [text for text, _ in words]


def _rolls(captions: Sequence[_Caption]) -> bool:
    """Whether captions repeat the last lines of the one before above their own, or all of it before their own words.

    People repeat themselves too: one repetition counts only where words have times of their own, as recognisers write.
    """
    timed = any(time is not None for caption in captions for _, time in caption.words())
    pairs = [(a, b) for a, b in pairwise(captions) if a.lines and b.lines and b.start - a.end < _CLOSE]
    several = [(a, b) for a, b in pairs if len(b.lines) > 1]
    rolled = sum(0 < _overlap(_texts(a.words()), b) < len(b.words()) for a, b in several)
    grown = sum(len(a.words()) < len(b.words()) and _overlap(_texts(a.words()), b) == len(a.words()) for a, b in pairs)
    least = 1 if timed else 2
    return (rolled >= least and 2 * rolled > len(several)) or (grown >= 2 and 2 * grown > len(pairs))


def _overlap(shown: Sequence[str], caption: _Caption) -> int:
    """How many words of a caption repeat what was shown before it: whole lines of it, or all that was shown."""
    words, ends, total = _texts(caption.words()), {len(shown)}, 0
    for line in caption.lines:
        total += len(line)
        ends.add(total)
    lengths = (k for k in sorted(ends, reverse=True) if 0 < k <= min(len(words), len(shown)))
    return next((k for k in lengths if words[:k] == list(shown[-k:])), 0)


def _collapsed(captions: Sequence[_Caption]) -> Iterator[_Caption]:
    """Each caption with its new words alone."""
    shown: list[str] = []
    for caption in captions:
        words = caption.words()
        yield _Caption(caption.start, caption.end, (tuple(words[_overlap(shown, caption) :]),))
        shown = _texts(words)


def _cues(caption: _Caption) -> Iterator[Cue]:
    """A caption's words, parted where one has a time of its own that lies within the caption."""
    parts: list[tuple[float, list[str]]] = []
    for text, time in caption.words():
        usable = time is not None and (parts[-1][0] if parts else caption.start) < time <= caption.end
        if usable or not parts:
            parts.append((time if usable and time is not None else caption.start, []))
        parts[-1][1].append(text)
    ends = [start for start, _ in parts[1:]] + [caption.end]
    for (start, words), end in zip(parts, ends):
        yield Cue(" ".join(words), start, end)
