"""English speech: words are placed where GRID's own alignment has them, and what was not said is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacuna.align import sphinx
from lacuna.align.words import Aligner, Settings
from lacuna.media import decode
from lacuna.types import Clip, MalformedInput

DATA = Path(os.environ.get("LACUNA_DATA", Path(__file__).resolve().parents[1] / "../shared/data")) / "clips"
needs_clips = pytest.mark.skipif(not DATA.is_dir(), reason="LACUNA_DATA names no folder with clips")
# bbaf2n.align as the GRID corpus has it, in 1/25000 s.
GRID = {"bin": (23750, 29500), "blue": (29500, 34000), "at": (34000, 35500), "f": (35500, 41000)}
GRID |= {"two": (41000, 47250), "now": (47250, 53000)}


@needs_clips
def test_words_are_where_the_corpus_has_them():
    sound = decode.audio(DATA / "grid/bbaf2n.mpg", sphinx.RATE)
    spans = sphinx.Aligner()(sound, list(GRID))
    np.testing.assert_allclose(spans, np.array(list(GRID.values())) / 25000, atol=0.06)


@needs_clips
def test_case_signs_and_unknown_words():
    sound = decode.audio(DATA / "grid/bbaf2n.mpg", sphinx.RATE)
    align = sphinx.Aligner()
    plain = align(sound, list(GRID))
    spans = align(sound, ["Bin,", "qqx-Blue", "at", "F", '"two"', "now!", "42", "我"])
    np.testing.assert_allclose(spans[:6], plain)
    assert np.isnan(spans[6:]).all()
    joined = align(sound, ["bin-blue", "at", "f", "two", "now"])
    np.testing.assert_allclose(joined[0], [plain[0, 0], plain[1, 1]])


@needs_clips
def test_tokens_get_the_spans_of_their_words():
    path = DATA / "grid/bbaf2n.mpg"
    spans = Aligner(Settings("sphinx")).spans(Clip("a", "d", "test", "bin blue at f two now", {}, path))
    assert np.isnan(spans[[0, -1]]).all() and len(spans) == 8
    np.testing.assert_allclose(spans[1:-1], np.array(list(GRID.values())) / 25000, atol=0.06)


@pytest.mark.parametrize("seconds", [0, 0.01, 1.0])
def test_silence(seconds):
    silence = np.zeros(int(seconds * sphinx.RATE), np.float32)
    assert sphinx.recognised(silence) == ""
    with pytest.raises(MalformedInput, match="2 words are said, found 0"):
        sphinx.Aligner()(silence, ["hello", "world"])
    assert np.isnan(sphinx.Aligner()(silence, ["qqx", "我"])).all()


@given(words=st.lists(st.text(max_size=8), max_size=4))
def test_any_words_are_placed_or_refused(words):
    noise = np.random.default_rng(0).normal(0, 0.1, sphinx.RATE // 2).astype(np.float32)
    try:
        spans = ALIGNER(noise, words)
    except MalformedInput:
        return
    known = ~np.isnan(spans[:, 0])
    assert spans.shape == (len(words), 2)
    assert (spans[known, 0] < spans[known, 1]).all() and (np.diff(spans[known, 0]) >= 0).all()


ALIGNER = sphinx.Aligner()
