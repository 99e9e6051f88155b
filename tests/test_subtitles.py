"""Subtitles as people have them: every word once, with the times it has. Expected values are written by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from lacuna.align.words import Settings
from lacuna.predict.cues import Cue, parse
from lacuna.predict.transcript import Transcript, read_transcript, token_spans
from lacuna.types import Clip, MalformedInput


def said(text: str) -> str:
    return " ".join(cue.text for cue in parse(text, "a.srt"))


@pytest.mark.parametrize(
    "stamps",
    [
        "00:00:01,000 --> 00:00:02,500",
        "00:00:01.000 --> 00:00:02.500",
        "00:00:01 --> 00:00:02,5",
        "0:0:1,0000 --> 0:0:2,5000",
        "00:01 --> 00:02.5",
        "00:00:01,000 -> 00:00:02,500",
        "00:00:01,000-->00:00:02,500",
        "  00:00:01,000  -->  00:00:02,500  X1:10 X2:20",
        "00:00:01,000 —> 00:00:02,500",
    ],
)
@pytest.mark.parametrize("number", ["1\n", ""])
def test_times_as_they_are_written(stamps, number):
    assert parse(f"{number}{stamps}\nwhat a day\n", "a.srt") == [Cue("what a day", 1.0, 2.5)]


@pytest.mark.parametrize(
    "stamps",
    [
        "00:00:01:000 --> 00:00:02:500",
        "00:00:01,000 --> ",
        "--> 00:00:02,500",
        "00:00:01,000 => 00:00:02,500",
        "00:00:01,000 - 00:00:02,500",
        "00:00:0l,000 --> 00:00:02,500",
    ],
)
def test_times_that_cannot_be_read_are_refused_with_their_line(stamps):
    with pytest.raises(MalformedInput, match=r"a.srt: line 6: expected 00:00:01,000 --> 00:00:02,500, got"):
        parse(f"1\n00:00:00,000 --> 00:00:01,000\nwell\n\n2\n{stamps}\nwhat a day\n", "a.srt")


FIRST, SECOND = "00:00:00,000 --> 00:00:01,000", "00:00:01,000 --> 00:00:02,000"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"1\n{FIRST}\nI have\n42\n\n2\n{SECOND}\ncats\n", "I have 42 cats"),
        (f"1\n{FIRST}\nI have\n\n42\n\n2\n{SECOND}\ncats\n", "I have 42 cats"),
        (f"{FIRST}\nI have\n42\n{SECOND}\ncats\n", "I have 42 cats"),
        (f"1\n{FIRST}\nI have cats\n2\n{SECOND}\nand\n\n\n\n7\n", "I have cats and 7"),
        (f"1\n{FIRST}\n2\n{SECOND}\ncats\n", "cats"),
        (f"1\r\n{FIRST}\r\nI have\r\n\r\n2\r\n{SECOND}\r\ncats", "I have cats"),
        (f"1\r{FIRST}\rI have\r\r2\r{SECOND}\rcats", "I have cats"),
        (f"\ufeff1\n{FIRST}\nI have\n\n2\n{SECOND}\ncats\n".removeprefix("\ufeff"), "I have cats"),
        (f"1\n{SECOND}\ncats\n\n2\n{FIRST}\nI have\n", "I have cats"),
        (f"1\n{FIRST}\nI have\n\n1\n{FIRST}\nI have\n\n2\n{SECOND}\ncats\n", "I have cats"),
        (f"1\n{FIRST}\nNo.\n\n2\n{SECOND}\nNo.\n", "No. No."),
        (f"1\n{FIRST}\n- No.\n- No.\n\n2\n{SECOND}\n- No.\n- Yes.\n", "- No. - No. - No. - Yes."),
    ],
)
def test_every_word_is_kept_once(text, words):
    assert said(text) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("<i>so</i> <b>good</b> <u>it</u> <s>is</s>", "so good it is"),
        ('<font color="#fff">so good</font>', "so good"),
        ("<v Roger Bingham>so good</v>", "so good"),
        ("<v.loud Roger>so <i.foo>good</i></v>", "so good"),
        ("<c.yellow.bg_blue>so good</c>", "so good"),
        ("<lang en>so good</lang> <ruby>a<rt>b</rt></ruby>", "so good ab"),
        ("{\\an8}so {\\i1}good{\\i0}", "so good"),
        ("so<br>good<br/>it", "so good it"),
        ("I <3 you and you > me", "I <3 you and you > me"),
        ("x < y > z <and> w", "x < y > z <and> w"),
        ("a <b and c> d", "a <b and c> d"),
        ("{laughs} so good [music]", "{laughs} so good [music]"),
        ("R&amp;B &lt;3 &quot;yes&quot; &#39;n&#x27; AT&T &amp;lt; a&nbsp;b", "R&B <3 \"yes\" 'n' AT&T &lt; a b"),
        ("me &copy you & &notit; &bogus;", "me &copy you & &notit; &bogus;".replace("&notit;", "¬it;")),
    ],
)
def test_real_tags_alone_are_removed_and_entities_read(line, words):
    assert said(f"1\n{FIRST}\n{line}\n") == words


def test_what_vtt_keeps_beside_its_cues_is_not_said():
    text = (
        "WEBVTT - a title\nKind: captions\n\nSTYLE\n::cue { color: red }\n\nNOTE\nnot said\n\nintro\n"
        "00:00.000 --> 00:01.000 align:start\nWell\nNOTE that\n\nNOTE said by nobody\neither\n\n"
        "00:01.000 --> 00:02.000\nyes\n\n2\n00:02.000 --> 00:03.000\nno\n\nREGION\nid:x\n"
    )
    assert [(c.text, c.start) for c in parse(text, "a.vtt")] == [("Well NOTE that", 0), ("yes", 1), ("no", 2)]


def captions(*cues: tuple[float, float, str]) -> str:
    return "WEBVTT\n\n" + "\n".join(f"00:{a:06.3f} --> 00:{b:06.3f}\n{text}\n" for a, b, text in cues)


ROLLING = {
    "roll-up": captions((0, 1, "a b"), (1, 2, "a b\nc d"), (2, 3, "c d\ne f"), (3, 4, "e f\ng")),
    "three lines": captions(*((i, i + 1, "\n".join("abcdefg"[i : i + 3])) for i in range(5))),
    "growing": captions((0, 1, "a"), (1, 2, "a b"), (2, 3, "a b c d"), (3, 4, "a b c d e f g")),
    "with inline times": captions(
        (0, 1, "a<00:00.500><c> b</c>"), (1, 1.01, "a b\n "), (1.01, 2, "a b\nc<00:01.500><c> d</c>"),
        (2, 2.01, "c d\n "), (2.01, 3, "c d\ne<00:02.500><c> f</c><00:02.800><c> g</c>"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", ROLLING.values(), ids=ROLLING)
def test_rolling_captions_are_said_once(text):
    assert said(text) == "a b c d e f g"
    cues = parse(text, "a.vtt")
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(cues))


def test_inline_times_are_used_where_they_are_usable():
    text = captions((0, 2, "so<00:00.500> very<00:01.250> good"), (2, 4, "it<00:09.000> is<00:01.000> fine"))
    assert parse(text, "a.vtt") == [
        Cue("so", 0, 0.5), Cue("very", 0.5, 1.25), Cue("good", 1.25, 2), Cue("it is fine", 2, 4),
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["00:00:01,000", "00:00:00,500"])
def test_words_of_unknown_length_are_kept_between_their_neighbours(tmp_path, end):
    (tmp_path / "a.srt").write_text(
        f"1\n00:00:00,000 --> 00:00:01,000\nthis\n\n2\n00:00:01,000 --> {end}\nfilm\n\n"
        "3\n00:00:02,000 --> 00:00:03,000\nis good\n"
    )
    transcript = read_transcript(tmp_path / "a.srt")
    assert transcript.text == "this film is good"
    spans = token_spans(Clip("c", "d", "test"), transcript, Settings())
    assert spans[1:-1] == pytest.approx(np.array([[0, 1], [1, 2], [2, 2.333333], [2.333333, 3]]), abs=1e-5)
    assert read_transcript(tmp_path / "a.srt", 0.5, 1.5).text == "this film"
    assert read_transcript(tmp_path / "a.srt", 1.5, 2.5).text == "is good"


def test_words_before_the_first_times_are_not_dropped():
    with pytest.raises(MalformedInput, match=r"a.srt: line 1: expected a cue's times before its words, got 'I love'"):
        parse(f"I love\n\n1\n{FIRST}\nit\n", "a.srt")
    with pytest.raises(MalformedInput, match="expected lines like"):
        parse("I love it\n", "a.srt")


def test_a_file_without_words_is_an_empty_transcript():
    assert parse(f"1\n{FIRST}\n \n<i></i>\n", "a.srt") == []
    assert Transcript("") == Transcript(" ".join(c.text for c in parse(f"1\n{FIRST}\n", "a.srt")))
