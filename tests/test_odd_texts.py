"""Tables, transcripts and word times with odd content: read rightly, told, or refused in one line and at once."""

from __future__ import annotations

import time

import pytest

from lacuna.align.word_files import read_words
from lacuna.predict.cues import Cue, parse
from lacuna.prepare.tables import read_table
from lacuna.storage.text import garbled
from lacuna.types import MalformedInput

COLUMNS = ("video_id", "clip_id", "text", "label")
ROWS = "video_id,clip_id,text,label\nv,1,so good,1\nv,2,not bad,2\n"


def table(tmp_path, content: str | bytes):
    (tmp_path / "label.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(tmp_path / "label.csv", COLUMNS)


@pytest.mark.parametrize(
    ("first", "mark", "told"),
    [
        ("sep=\\t", "\t", "tabs"),
        ("sep=\t", "\t", "tabs"),
        ("sep=:", ":", ":"),
        ("SEP=^", "^", "^"),
        ('"sep=~"', "~", "~"),
        ("sep=|", "|", "bars"),
    ],
)
def test_a_separator_that_the_first_line_names_is_used_and_told(tmp_path, first, mark, told):
    read = table(tmp_path, f"{first}\n{ROWS.replace(',', mark)}")
    assert [row["text"] for _, row in read.rows] == ["so good", "not bad"] and not read.ragged
    assert read.guessed == (f"fields parted by {told}",)


@pytest.mark.parametrize("length", [140_000, 10_000_000])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_field_without_an_end_is_refused_with_its_line(tmp_path, length, quoted):
    field = "a" * length
    field = f'"{field}' if quoted else field
    with pytest.raises(
        MalformedInput, match=r"label.csv: line 3: expected at most 131072 characters in a field"
    ) as told:
        table(tmp_path, ROWS.replace("not bad", field))
    assert len(str(told.value)) < 300


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (ROWS.replace("\n", "\r"), ["so good", "not bad"]),
        (ROWS.replace("\n", "\r\r\n"), ["so good", "not bad"]),
        (ROWS.replace("\nv,2", "\n\ufeffv,2"), ["so good", "not bad"]),
        ("\ufeff\ufeff" + ROWS, ["so good", "not bad"]),
        (ROWS + ",,,\n,,,\n", ["so good", "not bad"]),
        (ROWS.replace("video_id", "video_id\u00a0"), ["so good", "not bad"]),
    ],
)
def test_line_ends_marks_and_blank_rows_change_nothing(tmp_path, content, texts):
    read = table(tmp_path, content)
    assert [row["text"] for _, row in read.rows] == texts and [row["video_id"] for _, row in read.rows] == ["v", "v"]


@pytest.mark.parametrize("text", ["très bien", "don’t", "“so”", "привет", "我很喜欢", "naïve café", "Größe"])
def test_words_that_were_garbled_before_are_told(tmp_path, text):
    """Utf-8 that a program read as cp1252 and saved as utf-8: valid, and wrong."""
    data = text.encode()
    twice = "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in data)
    assert garbled(f"so {twice} it is") and not garbled(text)
    (told,) = table(tmp_path, ROWS.replace("not bad", twice)).guessed
    assert told.startswith("words like '") and told.endswith("', garbled before it was saved")


@pytest.mark.parametrize(
    "text", ["NÃO É", "À bientôt…", "l’été", "Ça va »", "«Ça»", "50 € – “à”", "Ünïcödé", "ÄÖÜ ÄÖÜ", "Đặng"]
)
def test_accents_are_not_taken_for_garbled(text):
    assert garbled(text) == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("na\ufffdve", "words like 'na\ufffdve', garbled before it was saved"),
        ("\ufffd", "words like '\ufffd', garbled before it was saved"),
        ("salt &amp; pepper", "words like '&amp;', as they stand"),
        ("I&#39;m", "words like '&#39;', as they stand"),
        ("&#x1F600;", "words like '&#x1F600;', as they stand"),
    ],
)
def test_words_that_a_program_spoilt_are_told(tmp_path, text, told):
    read = table(tmp_path, ROWS.replace("not bad", text))
    assert read.guessed == (told,) and read.rows[1][1]["text"] == text


@pytest.mark.parametrize("text", ["R&D", "AT&T; Bell", "me & you", "&", "&co"])
def test_an_ampersand_is_no_escape(tmp_path, text):
    assert table(tmp_path, ROWS.replace("not bad", text)).guessed == ()


FIRST = "00:00:00,000 --> 00:00:01,000"


@pytest.mark.parametrize(
    "stamps",
    [
        "00:60:01,000 --> 00:60:02,000",
        "0" * 5000 + ":00:01,000 --> 00:00:02,000",
        "00:00:61,000 --> 00:00:62,000",
        "-00:00:01,000 --> 00:00:02,000",
        "99999999999:00:01 --> 99999999999:00:02",
    ],
)
def test_times_that_are_none_are_refused_with_their_line(stamps):
    with pytest.raises(MalformedInput, match=r"a.srt: line 6: expected 00:00:01,000 --> 00:00:02,500, got") as told:
        parse(f"1\n{FIRST}\nwell\n\n2\n{stamps}\nyes\n", "a.srt")
    assert len(str(told.value)) < 200


def test_minutes_without_hours_may_be_many():
    assert parse("WEBVTT\n\n75:00.000 --> 75:01.000\nyes\n", "a.vtt") == [Cue("yes", 4500, 4501)]


@pytest.mark.parametrize("mark", ["\\N", "\\h", "\\n", "<br>"])
def test_line_breaks_of_other_formats_part_words(mark):
    assert parse(f"1\n{FIRST}\nso{mark}good\n", "a.srt") == [Cue("so good", 0, 1)]


GRID = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2\n<exists>\n{}\n"IntervalTier"\n"words"\n0\n2\n{}\n'


@pytest.mark.parametrize("count", ["1e308", "999999999999", "-1", "1e400", "2000000"])
@pytest.mark.parametrize("tiers", [True, False])
def test_numbers_of_tiers_and_intervals_are_claims(tmp_path, count, tiers):
    (tmp_path / "a.TextGrid").write_text(GRID.format(*((count, "1") if tiers else ("1", count))) + '0\n1\n"so"\n')
    began = time.monotonic()
    with pytest.raises(MalformedInput, match=r"a\.TextGrid: expected"):
        read_words(tmp_path / "a.TextGrid")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ctm", "v 1 0.0 inf so\n"),
        ("a.ctm", "v 1 x 1 so\n"),
        ("a.ctm", "v 1 0.5\n"),
        ("a.ctm", "v 1 1.0 -0.5 so\n"),
        ("a.csv", "word,start,end\nso,inf,inf\n"),
        ("a.csv", "word,start,end\nso,1.0,0.5\n"),
    ],
)
def test_word_times_that_are_none_are_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(MalformedInput, match=name.replace(".", r"\.")):
        read_words(tmp_path / name)
