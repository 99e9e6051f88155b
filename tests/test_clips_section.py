"""The list of clips: worst first, each answer as it was given, sorted and filtered, and read aloud as it looks."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lacuna.data.samples import write_clips
from lacuna.evaluate.scores import Scores
from lacuna.figures.clips_data import clips_section, read_answers
from lacuna.figures.drawing import drawing
from lacuna.figures.sections.clips import Shown, Told, section
from lacuna.types import Clip

ANSWERS = {"a": (1.0, 0.5), "b<i>": (-2.0, 0.0), "c": (0.0, 0.0)}
SCORES = Scores(
    dataset="made", model="lnln", protocol="validation", task="regression", scale="", patterns={}, over_rates={}
)
LABELS = {"a": 1.5, "b<i>": 2.0, "c": 0.25}


def _clip(name: str, split: str = "test") -> Clip:
    return Clip(name, "made", split, f"words & {name}", {"M": LABELS[name]} if name in LABELS else {})


def _npz(path: Path) -> None:
    """Two seeds and two draws, whose mean is ANSWERS, under two patterns; and levels that are no rates."""
    path.parent.mkdir(parents=True)
    arrays = {"ids": np.array(list(ANSWERS)), "labels": np.array(list(LABELS.values()))}
    for i, rate in enumerate(("0.0", "0.5")):
        values = np.array([answers[i] for answers in ANSWERS.values()])
        for mask, train, shift in ((1, 1, 0.25), (1, 2, -0.25), (2, 1, 0.5), (2, 2, -0.5)):
            arrays[f"frames/{rate}/{mask}/{train}/prediction"] = values + shift
            arrays[f"span/{rate}/{mask}/{train}/prediction"] = values + 9
    arrays["modality/text+audio/1/1/prediction"] = values
    np.savez(path, **arrays)


def test_answers_are_means_over_seeds_and_draws(tmp_path: Path) -> None:
    _npz(tmp_path / "scores/lnln.npz")
    found = read_answers(tmp_path / "scores/lnln.npz")
    assert found == {name: {"0.0": a, "0.5": b} for name, (a, b) in ANSWERS.items()}
    assert read_answers(tmp_path / "none.npz") == {}


def test_the_section_of_a_dataset(tmp_path: Path) -> None:
    _npz(tmp_path / "scores/lnln.npz")
    clips = [_clip("t", "train"), *(_clip(name) for name in ANSWERS)]
    write_clips(tmp_path / "clips.jsonl", clips)
    made = clips_section("made", tmp_path, clips, [SCORES])
    names = re.findall(r'<th scope="row" data-v="([^"]*)"', made.body)
    assert names == ["b&lt;i&gt;", "a", "c", "t"]  # errors 4, 0.5, 0.25 and none
    assert '<td class="n" data-v="4.0000">4.00</td>' in made.body
    assert '<td>0.5</td><td class="n">+0.50</td>' in made.body and 'data-split="train"' in made.body
    assert '<polyline points="0,19.0 60,10.0"/>' in made.body  # from -2, the largest there is, to 0
    assert clips_section("made", tmp_path, clips, [replace(SCORES, model="rcml", task="polarity")]) is None


class _Tags(HTMLParser):
    """What is open at the end of a page, and tags that a reader's software goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_it_is_whole_and_told_to_who_cannot_see_it() -> None:
    told = [Told("m & n", {"0.0": 1.0, "0.9": -1.0})]
    body = section("made", [Shown(_clip("a"), told), Shown(_clip("b<i>"), told)], 7).body
    parser = _Tags()
    parser.feed(body.partition("<script>")[0])
    assert not parser.open and "b<i>" not in body and "m &amp; n" in body and "7 more clips" in body
    for wanted in ("<caption>", 'scope="col"', 'scope="row"', 'role="status"', "<label>Split <select>", 'tabindex="0"'):
        assert wanted in body, wanted


def test_error_without_answers_or_label() -> None:
    assert np.isnan(Shown(_clip("a")).error)
    assert Shown(_clip("a"), [Told("x", {"0.0": 0.5}), Told("y", {"0.0": 2.0})]).error == pytest.approx(0.75)


def test_a_figure_is_a_pdf_with_equal_bytes() -> None:
    pdfs = []
    for _ in range(2):
        with drawing("x", "X", "X.") as drawn:
            drawn.axes().plot([1, 2], [3, 4])
        pdfs.append(drawn.picture.pdf)
    assert pdfs[0].startswith(b"%PDF") and pdfs[0] == pdfs[1]
