"""Word vectors from a text file (GloVe, word2vec text, fastText `.vec`). In: a clip's text. Out: one row a word.

A word that the file lacks keeps its place, with zeros and `seen` false. The file is indexed once, vectors are read as
words come, so that a file of millions of words costs an index and not gigabytes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from lacuna.extractors import _text
from lacuna.types import Clip, FeatureSequence, MalformedInput

MODALITY = "text"
VERSION = 1
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class Settings:
    """file: `word v1 v2 …` a line; lowercase: as the vectors' makers did; max_length: words kept; clean: what is
    taken out of the text first, any of retweets, links, mentions, hashtags, hashes, case.
    """

    file: str = ""
    lowercase: bool = True
    max_length: int = 50
    clean: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.file:
            raise MalformedInput("file: expected a text file of word vectors, got ''")
        _text.check_cleaning(self.clean)
        if self.max_length < 1:
            raise MalformedInput(f"max_length: expected at least 1, got {self.max_length}")


class Extractor:
    """A clip's words as vectors (T, D) float32; times are positions."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        path = Path(settings.file)
        if not path.is_file():
            raise MalformedInput(f"{path}: expected a text file of word vectors, found none")
        self._file = path.open("rb")
        self._places, self._width, self._digest = self._index()
        self.columns = tuple(f"glove_{i}" for i in range(self._width))
        self._vector = lru_cache(maxsize=20_000)(self._read)

    def versions(self) -> dict[str, str]:
        """What decides the values beside the settings: the file's SHA-256."""
        return {"file": self._digest}

    def __call__(self, clip: Clip) -> FeatureSequence:
        text = _text.cleaned(clip.text, self.settings.clean)
        words = WORD.findall(text.lower() if self.settings.lowercase else text)[: self.settings.max_length]
        seen = np.array([word.encode() in self._places for word in words], bool)
        values = np.zeros((len(words), self._width), np.float32)
        for i in np.flatnonzero(seen):
            values[i] = self._vector(words[i].encode())
        return FeatureSequence(values, np.arange(len(words), dtype=np.float64), seen, self.columns)

    def unread(self, clip: Clip) -> str:
        """What of the clip's text is beyond max_length."""
        text = _text.cleaned(clip.text, self.settings.clean)
        ends = [match.end() for match in WORD.finditer(text)]
        return text[ends[self.settings.max_length - 1] :].strip() if len(ends) > self.settings.max_length else ""

    def _index(self) -> tuple[dict[bytes, int], int, str]:
        """{word: its line's place in the file}, the width, and the file's digest."""
        places: dict[bytes, int] = {}
        digest, place, width = hashlib.sha256(), 0, 0
        for number, line in enumerate(self._file):
            digest.update(line)
            parts = line.split()
            if number == 0 and len(parts) == 2:
                pass  # word2vec's header: how many words, how wide
            elif width == 0:
                width = len(parts) - 1
            if parts and not (number == 0 and len(parts) == 2):
                # A few of GloVe's 840B "words" hold spaces: the vector is what stands last.
                places.setdefault(b" ".join(parts[:-width]), place)
            place += len(line)
        if width < 1 or not places:
            raise MalformedInput(f"{self.settings.file}: expected lines of a word and its vector, got none")
        return places, width, digest.hexdigest()

    def _read(self, word: bytes) -> np.ndarray:
        self._file.seek(self._places[word])
        line = self._file.readline()
        try:
            vector = np.array(line.split()[-self._width :], np.float32)
        except ValueError as error:
            raise MalformedInput(f"{self.settings.file}: {word.decode()}: expected numbers: {error}") from error
        if len(vector) != self._width or not np.isfinite(vector).all():
            raise MalformedInput(f"{self.settings.file}: {word.decode()}: expected {self._width} finite numbers")
        return vector
