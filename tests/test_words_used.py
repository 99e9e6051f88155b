"""Every answer shows the words that were used and tells of those that were not, however they are given and asked."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from media_files import Video, write_video
from small_checkpoint import FEATURES, write_checkpoint
from typer.testing import CliRunner

import lacuna
from lacuna.cli import app
from lacuna.data.heard import Heard, HeardWord
from lacuna.extractors import glove, tokens
from lacuna.predict import run as predicting
from lacuna.predict.answers import Question
from lacuna.predict.run import Predictor
from lacuna.predict.uploads import Desk, Limits
from lacuna.types import Clip, MalformedInput

SAID = "what a wonderful day"
SRT = "1\n00:00:00,000 --> 00:00:01,000\n<i>what a</i>\n\n2\n00:00:01,000 --> 00:00:02,000\nwonderful day\n"
FILES = {
    "a.srt": SRT.encode(),
    "a.vtt": ("WEBVTT\n\n" + SRT.replace(",", ".")).encode(),
    "a.txt": b" what a\r\nwonderful day\n",
    "16.txt": SAID.encode("utf-16"),
    "wide.txt": SAID.encode("utf-16-le"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder):
    return write_checkpoint(folder / "lnln")


@pytest.fixture(scope="module")
def clip(folder):
    return write_video(folder / "clip.mp4", Video(frames=50))


@pytest.fixture(scope="module")
def predictor(folder, checkpoint):
    return Predictor(checkpoint, "cpu", folder / "cache")


def asked(checkpoint, *words: str) -> str:
    """What `lacuna predict` says."""
    done = CliRunner().invoke(app, ["predict", "--checkpoint", str(checkpoint), "--device", "cpu", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("given", [["--text", SAID], *(["--transcript", name] for name in FILES)], ids=str)
def test_the_command_shows_the_words_plainly_and_as_json(folder, checkpoint, clip, given, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LACUNA_CACHE", str(folder / "cache"))
    plain, whole = asked(checkpoint, clip, *given), json.loads(asked(checkpoint, clip, *given, "--json"))
    assert re.search(rf"^text +{SAID}$", plain, re.M) and whole["text"] == SAID
    told = [note for note in whole["notes"] if "text" in note]
    assert told == (["text: 16.txt is read as utf-16"] if "16.txt" in given else
                    ["text: wide.txt is read as utf-16-le"] if "wide.txt" in given else [])  # fmt: skip
    assert all(note in plain for note in told)


def test_the_encoding_of_a_transcript_can_be_named(folder, checkpoint, clip, monkeypatch):
    monkeypatch.setenv("LACUNA_CACHE", str(folder / "cache"))
    (folder / "page.txt").write_bytes("c’est très bien".encode("cp1252"))
    refused = CliRunner().invoke(app, ["predict", str(clip), "--checkpoint", str(checkpoint), "--transcript",
                                       str(folder / "page.txt")])  # fmt: skip
    assert refused.exit_code == 1 and "expected utf-8, got another encoding (perhaps cp125" in str(refused.exception)
    told = json.loads(asked(checkpoint, clip, "--transcript", folder / "page.txt", "--encoding", "cp1252", "--json"))
    assert told["text"] == "c’est très bien" and told["notes"] == []


def test_the_python_api_and_the_page_show_the_same(folder, checkpoint, clip, predictor):
    answer = predictor(clip, transcript=folder / "a.srt")
    assert answer.text == SAID and ("text", SAID) in answer.lines()
    assert lacuna.predict(clip, checkpoint, transcript=folder / "a.srt", device="cpu").text == SAID
    desk = Desk(checkpoint, Limits(patience=600), "cpu")
    try:
        given = desk.example(Clip("v$_$1", "mine", "test", SAID, {}, clip), Question(text=SAID))
        assert desk.answer(given, Question(drop=["audio"])).text == SAID
    finally:
        desk.close()


WORDS = tuple(HeardWord(word, i / 4, i / 4 + 0.2, 0.93) for i, word in enumerate(SAID.split()))
TOLD = {  # what engines tell beside the words: language and confidence, the language alone, neither
    "(en, confidence 93%)": Heard(SAID, "en", 0.93, WORDS),
    "(en)": Heard(SAID, "en"),
    "": Heard(SAID),
}


@pytest.mark.parametrize("sure", TOLD)
def test_heard_words_are_shown_as_heard(predictor, clip, monkeypatch, sure):
    monkeypatch.setattr(predicting.engines, "engine", lambda *_: lambda sound: TOLD[sure])
    answer = predictor(clip, asr="sphinx")
    assert answer.text == SAID and ("heard", SAID) in answer.lines() and ("text", SAID) not in answer.lines()
    assert (("", sure) in answer.lines()) is bool(sure) and answer.as_dict()["heard"]["text"] == SAID
    assert predictor(clip, text=SAID).heard is None and ("text", SAID) in predictor(clip, text=SAID).lines()


def test_a_recogniser_that_hears_nothing_says_so(predictor, clip, monkeypatch):
    monkeypatch.setattr(predicting.engines, "engine", lambda *_: lambda sound: Heard())
    answer = predictor(clip, asr="sphinx")
    assert answer.text == "" and answer.notes == ("text: no words were heard",)


def test_only_the_words_of_a_span_are_used(predictor, folder, clip):
    assert predictor(clip, transcript=folder / "a.srt", start=1.0, end=1.5).text == "wonderful day"
    answer = predictor(clip, transcript=folder / "a.txt", start=1.0, end=1.5)
    assert answer.text == SAID and answer.notes == ("text: all of a.txt, which does not say when it is said",)
    (folder / "late.srt").write_text(SRT.replace("00:00:0", "00:00:5"))
    assert predictor(clip, transcript=folder / "late.srt", end=1.0).notes == ("text: none in late.srt in that time",)


@pytest.mark.parametrize("words", [18, 19, 40])
def test_a_text_that_is_cut_is_told_with_what_is_not_read(predictor, clip, words):
    """max_length is 20: [CLS], 18 words that are one token each, [SEP]."""
    word = ["day", "good", "bad"]
    text = " ".join(word[i % 3] for i in range(words))
    answer = predictor(clip, text=text)
    assert answer.text == text
    left = " ".join(word[i % 3] for i in range(18, words))
    left = left if len(left) <= 80 else f"{left[:40]} … {left[-40:]}"
    told = (f"text: cut at 20 tokens, as the model's own texts were; not read: {left!r}",)
    assert answer.notes == (told if left else ())


def test_every_extractor_of_words_tells_what_it_does_not_read(tmp_path):
    (tmp_path / "vectors.txt").write_text("good 1 2\nday 3 4\n")
    said = Clip("v$_$1", "d", "test", "good day, good night")
    made = [
        tokens.Extractor(tokens.Settings(max_length=4)),
        glove.Extractor(glove.Settings(file=str(tmp_path / "vectors.txt"), max_length=2)),
    ]
    assert [extractor.unread(said) for extractor in made] == [", good night"] * 2
    assert [extractor.unread(replace(said, text="good day")) for extractor in made] == ["", ""]


def test_words_that_the_model_does_not_read_are_told(folder, clip):
    audio = write_checkpoint(folder / "audio", features={"librosa": FEATURES["librosa"]})
    predictor = Predictor(audio, "cpu", folder / "cache")
    told = ("text: not used, the model reads audio",)
    for question in (Question(text=SAID), Question(transcript=folder / "a.srt"), Question(asr="sphinx")):
        answer = predictor(clip, question)
        assert answer.text == "" and answer.notes == told
    assert predictor(clip).notes == ()


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Question(text="a", transcript="b.srt"), "expected one of them, got text and transcript"),
        (Question(text="a", asr="sphinx"), "expected one of them, got text and asr"),
        (Question(transcript="b.srt", asr="sphinx"), "expected one of them, got transcript and asr"),
        (Question(text="a", encoding="cp1252"), "encoding: expected the transcript that is in 'cp1252', got none"),
    ],
)
def test_words_that_would_be_passed_over_are_refused(predictor, clip, question, message):
    with pytest.raises(MalformedInput, match=message):
        predictor(clip, question)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (SRT, "subtitles"),
        ("WEBVTT\n\n" + SRT.replace(",", "."), "subtitles"),
        ("[00:00.00]what a\n[00:01.00]day\n", "lines with times"),
        ("title\n[0:01:02,5] what a\n", "lines with times"),
        ('{"text": "what a day", "segments": []}', "JSON"),
        ('["what", "a", "day"]', "JSON"),
        ("{\\rtf1\\ansi what a day}", "RTF"),
        ("<!DOCTYPE html><p>what a day</p>", "HTML or XML"),
        ('<?xml version="1.0"?>\n<tt><p>what</p></tt>', "HTML or XML"),
        ("[Script Info]\nTitle: x\n", "an ASS script"),
    ],
)
def test_what_is_no_plain_text_is_not_read_as_words(predictor, clip, tmp_path, content, kind):
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(MalformedInput, match=rf"a\.txt: expected plain words in a \.txt file, got {kind}"):
        predictor(clip, transcript=tmp_path / "a.txt")


@pytest.mark.parametrize(
    "content", ["[laughs] at 10:30 we left", "{smile} ok", '"so" it is', "42", "a < b > c", "<3 you"]
)
def test_plain_text_with_marks_is_read(predictor, clip, tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    assert predictor(clip, transcript=tmp_path / "a.txt").text == content
