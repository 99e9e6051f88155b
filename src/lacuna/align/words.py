"""Word alignment. In: a clip, the times of its words, and features. Out: features with a frame for each token.

Audio and vision are averaged over each word's span and repeated for its tokens; [CLS] and [SEP] are unseen zeros. Times
come from the user's files, from what a speech recogniser heard, from forced alignment (a CTC model, or PocketSphinx for
English), or, embedded, from spreading the words over the voiced part in proportion to their letters: an estimate, and
named `proportional`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.ndimage import binary_closing

from lacuna.align import sphinx
from lacuna.align.ctc import CtcAligner
from lacuna.align.word_files import file_times, filled, heard_times, words_of
from lacuna.data.heard import read_heard
from lacuna.extractors import _text
from lacuna.media import RATE, decode
from lacuna.storage import pretrained
from lacuna.storage.features import Origin
from lacuna.types import Clip, FeatureSequence, MalformedInput, require_words

HOP = 160  # samples: 10 ms
PAUSE = 0.2  # s: shorter silences are part of speech


@dataclass(frozen=True)
class Settings:
    """words: where word times come from; source: folder of word-time files, wav2vec2 CTC model (hub id, directory), or
    the file of what stage transcribe heard.

    tokenizer, max_length and clean are those of the tokens that frames are made for.
    """

    words: Literal["proportional", "files", "ctc", "sphinx", "heard"] = "proportional"
    source: str = ""
    tokenizer: str = pretrained.EMBEDDED
    max_length: int = 50
    clean: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_words(self)
        if self.words in ("files", "ctc") and not self.source:
            what = "a folder of word-time files" if self.words == "files" else "a wav2vec2 CTC model"
            raise MalformedInput(f"source: expected {what} for words: {self.words}, got none")
        _text.check_cleaning(self.clean)


class Aligner:
    """Gives each token of a clip its span of time, and features a frame for each token."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._tokenizer = pretrained.tokenizer(settings.tokenizer)
        if settings.words == "files" and not Path(settings.source).is_dir():
            raise MalformedInput(f"source: expected a folder of word-time files, got {settings.source!r}")
        self._heard = read_heard(Path(settings.source)) if settings.words == "heard" else {}
        self._forced: Callable[[np.ndarray, Sequence[str]], np.ndarray] | None = None
        if settings.words == "ctc":
            self._forced = CtcAligner(settings.source)
        elif settings.words == "sphinx":
            self._forced = sphinx.Aligner()

    def origin(self, origin: Origin) -> Origin:
        """What the aligned features are made of."""
        return replace(origin, settings=origin.settings | {"aligned": asdict(self.settings)})

    def spans(self, clip: Clip, text: str | None = None) -> np.ndarray:
        """(T, 2) seconds from the clip's start for each token of `text` (the clip's own), NaN for [CLS] and [SEP]."""
        text = _text.cleaned(clip.text if text is None else text, self.settings.clean)
        places = words_of(text)
        owner = token_words(self._tokenizer, text, places, self.settings.max_length)
        if not len(owner):
            return np.zeros((0, 2))
        times = self._times(clip, [text[begin:end] for begin, end in places])
        return np.where(owner[:, None] >= 0, times[owner], np.nan)

    def _times(self, clip: Clip, words: Sequence[str]) -> np.ndarray:
        """(W, 2) start and end of each word."""
        if self.settings.words == "files":
            return file_times(Path(self.settings.source), clip, words)
        if self.settings.words == "heard":
            return heard_times(self._heard, clip, words)
        sound = None if clip.path is None else decode.audio(clip.path, RATE, clip.start, clip.end)
        if self._forced is not None and sound is not None and len(sound):
            return filled(self._forced(sound, words), words, len(sound) / RATE)
        return proportional(words, sound, _length(clip) if sound is None else len(sound) / RATE)


def _length(clip: Clip) -> float:
    """Seconds of a clip without sound; MalformedInput for given features, which have no clock to place words on."""
    if clip.path is None:
        raise MalformedInput(f"clip {clip.id}: expected a video to place its words in, got none (use words: files)")
    return max(0.0, decode.probe(clip.path).duration - clip.start) if clip.end is None else clip.end - clip.start


def token_words(tokenizer: Any, text: str, places: Sequence[tuple[int, int]], most: int) -> np.ndarray:  # noqa: ANN401
    """(T,) the word that each token is a part of, -1 for [CLS] and [SEP]; T = 0 where there is no word."""
    if not getattr(tokenizer, "is_fast", False):
        raise MalformedInput(
            f"{type(tokenizer).__name__}: expected a tokenizer that tells where in the text a token is"
        )
    options = {"return_offsets_mapping": True, "return_special_tokens_mask": True}
    encoded = tokenizer(text, truncation=True, max_length=most, **options)
    if all(encoded["special_tokens_mask"]):
        return np.zeros(0, np.int64)
    ends = np.array([end for _, end in places])
    owner = []
    for (begin, end), special in zip(encoded["offset_mapping"], encoded["special_tokens_mask"]):
        # The word that holds the token's last character: some tokenizers give a token the space before it.
        owner.append(-1 if special else int(np.searchsorted(ends, max(begin + 1, end))))
    return np.minimum(owner, len(places) - 1)


def proportional(words: Sequence[str], sound: np.ndarray | None, length: float) -> np.ndarray:
    """(W, 2) spans of the words spread over the voiced part (all of `length` s without sound), by their letters."""
    bounds = np.concatenate([[0], np.cumsum([max(1, len(word)) for word in words], dtype=np.float64)])
    bounds /= bounds[-1]
    hops = np.flatnonzero(voiced(sound)) if sound is not None else np.zeros(0, int)
    if not len(hops):
        return np.stack([bounds[:-1], bounds[1:]], 1) * length
    # Bounds count voiced hops, and then fall on the clock: a word begins after a pause and ends before one.
    bounds *= len(hops)
    first = np.minimum(np.floor(bounds[:-1] + 1e-9).astype(int), len(hops) - 1)
    last = np.maximum(np.ceil(bounds[1:] - 1e-9).astype(int) - 1, 0)
    starts, ends = hops[first] + bounds[:-1] - first, hops[last] + bounds[1:] - last
    return np.stack([starts, ends], 1) * HOP / RATE


def voiced(sound: np.ndarray) -> np.ndarray:
    """(hops,) bool: where sound at `RATE` is within 26 dB of its loud parts, short pauses closed."""
    hops = len(sound) // HOP
    level = np.sqrt((sound[: hops * HOP].reshape(hops, HOP) ** 2).mean(1)) if hops else np.zeros(0)
    loud = np.quantile(level, 0.95) if hops else 0.0
    if loud < 1e-4:
        return np.zeros(hops, bool)
    reach = int(PAUSE * RATE / HOP)
    return binary_closing(np.pad(level > 0.05 * loud, reach), np.ones(reach))[reach : reach + hops]


def average(sequence: FeatureSequence, spans: np.ndarray) -> FeatureSequence:
    """A frame for each span (T, 2): the mean of the seen frames in it; the nearest frame where it holds none.

    Spans of NaN, and those where nothing was seen, are unseen zeros. Times are the spans' middles.
    """
    values = np.zeros((len(spans), len(sequence.columns)), np.float32)
    seen = np.zeros(len(spans), bool)
    for i, (start, end) in enumerate(spans):
        if np.isnan(start) or not len(sequence):
            continue
        inside = (sequence.times >= start) & (sequence.times < end)
        if not inside.any():
            inside[np.abs(sequence.times - (start + end) / 2).argmin()] = True
        inside &= sequence.seen
        seen[i] = inside.any()
        if seen[i]:
            values[i] = sequence.values[inside].mean(0, dtype=np.float64)
    return FeatureSequence(values, _middles(spans), seen, sequence.columns)


def _middles(spans: np.ndarray) -> np.ndarray:
    """(T,) s; [CLS] stands where the first word begins, [SEP] where the last one ends."""
    if not len(spans) or np.isnan(spans).all():
        return np.zeros(len(spans))
    middles, known = spans.mean(1), np.flatnonzero(~np.isnan(spans[:, 0]))
    middles[: known[0]], middles[known[-1] + 1 :] = spans[known[0], 0], spans[known[-1], 1]
    return np.where(np.isnan(middles), spans[known[0], 0], middles)
