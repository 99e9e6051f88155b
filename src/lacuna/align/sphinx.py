"""English speech by PocketSphinx, whose wheel brings its model. In: sound at 16 kHz. Out: its words, or their times.

A small Gaussian-mixture model of 2015: it places known words within some hundredths of a second, and hears clear speech
passably; a wav2vec2 or Whisper model does both better, where one can be had.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lacuna.media import RATE
from lacuna.types import MalformedInput

NAME = "sphinx"  # where settings name a speech model
_FRAME = 0.01  # s
_SILENT = 1e-3  # of full scale; in digital silence the model hears "dog"


def recognised(sound: np.ndarray) -> str:
    """What is heard in (n,) samples in [-1, 1]; "" where nothing is."""
    if np.abs(sound).max(initial=0) < _SILENT:
        return ""
    told = _decoded(_decoder(), sound).hyp()
    return "" if told is None else told.hypstr


class Aligner:
    """Places words that are known to be said."""

    def __init__(self) -> None:
        self._decoder = _decoder(lm=None)

    def __call__(self, sound: np.ndarray, words: Sequence[str]) -> np.ndarray:
        """(W, 2) s; NaN for words that the dictionary lacks. MalformedInput: sound that the words do not fit."""
        owner, parts = self._known(words)
        spans = np.full((len(words), 2), np.nan)
        if not parts:
            return spans
        self._decoder.set_align_text(" ".join(parts))
        said = [s for s in _decoded(self._decoder, sound).seg() or () if s.word[0] not in "<["]
        if len(said) != len(parts):
            raise MalformedInput(f"expected sound in which {len(parts)} words are said, found {len(said)} of them")
        for word, one in zip(owner, said):
            start = spans[word, 0] if spans[word, 0] >= 0 else one.start_frame * _FRAME
            spans[word] = start, (one.end_frame + 1) * _FRAME
        return spans

    def _known(self, words: Sequence[str]) -> tuple[list[int], list[str]]:
        """The dictionary's words in these, "twenty-one" being two, and which of `words` each is a part of."""
        parts = [(i, part) for i, word in enumerate(words) for part in re.findall(r"[a-z']+", word.lower())]
        parts = [(i, part.strip("'")) if self._decoder.lookup_word(part) is None else (i, part) for i, part in parts]
        known = [(i, part) for i, part in parts if part and self._decoder.lookup_word(part) is not None]
        return [i for i, _ in known], [part for _, part in known]


def _decoder(**options: object) -> Any:  # noqa: ANN401
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise MalformedInput(f"{NAME}: expected the package pocketsphinx (pip install 'lacuna[speech]')") from error
    return Decoder(samprate=float(RATE), loglevel="FATAL", **options)


def _decoded(decoder: Any, sound: np.ndarray) -> Any:  # noqa: ANN401
    decoder.start_utt()
    samples = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
    if len(samples):
        decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    return decoder
