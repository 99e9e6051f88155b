"""Thousands of damaged label tables and transcripts: what is taken from them is right, or they are refused.

A table's clip says its own number in its text and, by a rule, in its label and split, so that a text beside another's
label shows. A transcript's cue says its number in its words and its times. Damage is done to the syntax (quotes,
separators, line ends, encodings, lengths), where readers go wrong: that a digit or a letter has become another one is
nothing that a reader could notice.
"""

from __future__ import annotations

import random
import re
import time

import pytest

from lacuna.datasets.labelled_videos import REQUIRED, _Row
from lacuna.predict.cues import Cue, parse
from lacuna.prepare.tables import read_table
from lacuna.storage import text as text_files
from lacuna.types import MalformedInput

SPLITS = ("train", "valid", "test")
WORDS = {
    "ascii": "so good",
    "utf-8": "schön 好 café",
    "gb18030": "我很喜欢这部电影，真的",
    "cp1252": "don’t schön",
    "cp932": "とても良い",
}
LONGEST = 5.0  # s that one file may take


class _Anywhere:
    """Videos that are always found: the media are no part of this."""

    def find(self, *_: object, **__: object) -> None:
        return None


def _table(draw: random.Random) -> tuple[bytes, str]:
    """A label table, some fields of it quoted; its words' kind."""
    kind = draw.choice(list(WORDS))
    parted = draw.choice([",", ",", ";", "\t"])
    rows = [parted.join(REQUIRED)]
    for number in range(draw.randint(3, 30)):
        text = f"number n{number}n {WORDS[kind]}"
        text = draw.choice([text, f'"{text}"', f'"{text}, {text}"', f'"a ""{text}"""', f'"{text}\n{text}"'])
        rows.append(parted.join(["v", str(number), text, str(_label(number)), SPLITS[number % 3]]))
    text = draw.choice(["\n", "\r\n"]).join(rows) + "\n"
    return text.encode("utf-8" if kind == "ascii" else kind), kind


def _label(number: int) -> float:
    return number % 13 / 2 - 3


def _transcript(draw: random.Random) -> tuple[bytes, str]:
    kind, vtt = draw.choice(list(WORDS)), draw.random() < 0.4
    lines = ["WEBVTT", ""] if vtt else []
    for number in range(draw.randint(2, 20)):
        start, end = (f"00:00:{second:02d}{'.' if vtt else ','}000" for second in (number, number + 1))
        lines += [str(number + 1)] * (not vtt) + [f"{start} --> {end}", f"number n{number}n {WORDS[kind]}", ""]
    text = draw.choice(["\n", "\r\n"]).join(lines)
    return text.encode("utf-8" if kind == "ascii" else kind), kind


MARKS = (
    b'"',
    b'"',
    b'""',
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b" ",
    b"<",
    b">",
    b"&",
    b"-->",
    b"\0",
    b"\x1b",
    b"\xff",
)


def _damaged(data: bytes, draw: random.Random) -> bytes:
    """One to three of: a mark put in or taken out, bytes cut off, a stretch twice or gone, another encoding."""
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(data) or 1)
        way = draw.randrange(7)
        if way <= 1:
            data = data[:at] + draw.choice(MARKS) + data[at:]
        elif way == 2:
            places = [m.start() for m in re.finditer(rb'[",;\t\r\n:>]', data)]
            at = draw.choice(places) if places else 0
            data = data[:at] + data[at + 1 :]
        elif way == 3:
            data = data[: max(1, at)]
        elif way == 4:
            data = data[:at] + bytes([draw.randrange(128, 256)]) + data[at:]
        elif way == 5:
            lines = data.split(b"\n")
            k = draw.randrange(len(lines))
            lines[k : k + 1] = draw.choice([[], [lines[k]] * 2, [lines[k][: len(lines[k]) // 2]]])
            data = b"\n".join(lines)
        else:
            data = draw.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"sep=;\n", b"\n\n"]) + data
    return data


def _rows(path) -> list[tuple[str, str, float, str]]:
    """(clip id, text, label, split) of the rows that are taken."""
    table, taken = read_table(path, REQUIRED), []
    for number, row in table.rows:
        try:
            if number in table.ragged:
                continue
            clip = _Row(table, row, (-3.0, 3.0)).clip("v$_$x", "own", _Anywhere())
        except MalformedInput:
            continue
        taken.append((row["clip_id"], clip.text, clip.label, clip.split))
    return taken


def _wrong_row(clip_id: str, text: str, label: float, split: str, kind: str) -> bool:
    """Whether a row that was taken says what none of the table's rows said."""
    said = set(re.findall(r"n(\d+)n", text))
    if len(said) > 1 or not _is_known(text, kind):
        return True  # the text of two rows, or words that nobody wrote
    numbers = [int(n) for n in said] or ([int(clip_id)] if clip_id.isdecimal() else [])
    return any(label != _label(n) or split != SPLITS[n % 3] for n in numbers)


def _is_known(text: str, kind: str) -> bool:
    """Whether every character beyond ASCII is one of those that were written."""
    return set(re.sub(r"[\0-\x7f]", "", text)) <= set(WORDS[kind])


def _wrong_cue(cue: Cue, kind: str) -> bool:
    """Whether a cue has the words of another one's time, words that nobody wrote, or times among its words."""
    said = [int(n) for n in re.findall(r"number n(\d+)n", cue.text)]
    misplaced = len(said) == 1 and cue.start != said[0]
    return misplaced or not _is_known(cue.text, kind) or "00:00:" in cue.text


def _attack(count: int, seed: int, make, wrong) -> dict[str, int]:
    """What becomes of so many damaged files: refused, read, or read wrongly; other errors are not caught."""
    told = {"refused": 0, "read": 0, "wrong": 0, "slow": 0}
    for index in range(count):
        draw = random.Random(seed * 1_000_003 + index)
        data, kind = make(draw)
        data, began = _damaged(data, draw), time.perf_counter()
        try:
            found = wrong(data, kind)
        except MalformedInput:
            told["refused"] += 1
        else:
            told["read"] += 1
            told["wrong"] += bool(found)
            if found:
                print(f"wrong: file {index} of seed {seed}: {found}")
        told["slow"] += time.perf_counter() - began > LONGEST
    return told


def attack_tables(count: int, seed: int, path) -> dict[str, int]:
    def wrong(data: bytes, kind: str) -> list:
        path.write_bytes(data)
        return [row for row in _rows(path) if _wrong_row(*row, kind)]

    return _attack(count, seed, _table, wrong)


def attack_transcripts(count: int, seed: int) -> dict[str, int]:
    def wrong(data: bytes, kind: str) -> list:
        text = text_files.decode(data, "a.srt")[0]
        return [cue for cue in parse(text, "a.srt") if _wrong_cue(cue, kind)]

    return _attack(count, seed, _transcript, wrong)


def test_some_damaged_label_tables(tmp_path):
    told = attack_tables(150, 0, tmp_path / "label.csv")
    assert told["wrong"] == told["slow"] == 0 and told["refused"] > 20 and told["read"] > 20


def test_some_damaged_transcripts():
    told = attack_transcripts(150, 0)
    assert told["wrong"] == told["slow"] == 0 and told["refused"] > 20 and told["read"] > 20


@pytest.mark.slow
def test_thousands_of_damaged_texts(tmp_path, capsys):
    tables, transcripts = attack_tables(2000, 1, tmp_path / "label.csv"), attack_transcripts(2000, 1)
    with capsys.disabled():
        print(f"\n2000 label tables: {tables}\n2000 transcripts: {transcripts}")
    assert tables["wrong"] == tables["slow"] == transcripts["wrong"] == transcripts["slow"] == 0
