"""librosa's features of long sound, a stretch at a time. In: sound on disk. Out: the same values in bounded memory.

A stretch is computed with `CONTEXT` seconds around it, which are then dropped: more than any filter here reaches. What
librosa takes from the whole sound is taken from the whole first: the tuning (chroma_cqt) and the loudest moment (mfcc).
Only features of `LOCAL`, with those of their arguments that leave them local, can be had so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lacuna.extractors._rows import Rows

SECONDS = 20.0  # of a stretch; shorter sound is given to librosa whole
CONTEXT = 2.5  # s: 1.5 of the longest wavelet's window (chroma_cqt, 32.7 Hz), the rest for its resampling
_MEL = {"n_mels", "fmin", "fmax", "htk", "power"}
LOCAL: dict[str, set[str]] = {
    "zero_crossing_rate": set(),
    "rms": set(),
    "mfcc": _MEL | {"n_mfcc", "dct_type", "norm", "lifter", "mel_norm"},
    "melspectrogram": _MEL | {"norm"},
    "spectral_centroid": set(),
    "spectral_bandwidth": {"p", "norm"},
    "spectral_rolloff": {"roll_percent"},
    "spectral_flatness": {"power", "amin"},
    "chroma_cqt": {"tuning", "norm", "threshold"},
}
_CEPSTRAL = ("n_mfcc", "dct_type", "norm", "lifter")  # mfcc's arguments that come after the mel spectrogram
_DECIBELS = 80.0  # below the loudest moment, where librosa's power_to_db cuts
_TUNING_WINDOW, _TUNING_HOP = 2048, 512  # the framing of librosa.estimate_tuning, whatever the feature's own is
_BINS = 36  # an octave, of chroma_cqt

Named = tuple[str, dict[str, Any]]
Call = Callable[[str, dict[str, Any], np.ndarray], np.ndarray]  # name, arguments, samples -> (rows, T)


def are_local(features: Sequence[Named]) -> bool:
    """Whether each frame of these depends on the sound around it alone, once the global facts are known."""
    return all(name in LOCAL and set(arguments) <= LOCAL[name] for name, arguments in features)


class Stretches:
    """Iterate for the features of `sound` (n,) at `rate` Hz: a list of (rows, T) a stretch, one per feature."""

    def __init__(self, sound: Rows, rate: int, framing: tuple[int, int], features: Sequence[Named], call: Call) -> None:
        self._sound, self._rate, self._call = sound, rate, call
        self._hop, window = framing
        self._context = -(-int(max(CONTEXT * rate, 2 * window)) // self._hop)  # frames
        self._features = [self._prepared(name, arguments) for name, arguments in features]

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        for first, last in self._spans():
            yield [rows(first, last) for rows in self._features]

    def _spans(self) -> Iterator[tuple[int, int]]:
        """Frames of each stretch."""
        frames, step = 1 + len(self._sound) // self._hop, max(1, int(SECONDS * self._rate) // self._hop)
        return ((first, min(first + step, frames)) for first in range(0, frames, step))

    def _around(self, first: int, last: int, make: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """`make` of the samples around the frames, cut to the frames themselves."""
        start = max(0, first - self._context)
        samples = self._sound[start * self._hop : (last + self._context) * self._hop]
        return make(samples)[:, first - start : last - start]

    def _prepared(self, name: str, arguments: dict[str, Any]) -> Callable[[int, int], np.ndarray]:
        if name == "mfcc":
            return self._cepstrum(arguments)
        if name == "chroma_cqt" and "tuning" not in arguments:
            arguments = arguments | {"tuning": self._tuning()}
        return lambda first, last: self._around(first, last, lambda y: self._call(name, arguments, y))

    def _cepstrum(self, arguments: dict[str, Any]) -> Callable[[int, int], np.ndarray]:
        import librosa

        own = {k: v for k, v in arguments.items() if k in _CEPSTRAL}
        mel = {k: v for k, v in arguments.items() if k in _MEL} | {"norm": arguments.get("mel_norm", "slaney")}
        spectra, loudest = Rows(mel.get("n_mels", 128)), -np.inf
        for first, last in self._spans():
            power = self._around(first, last, lambda y: self._call("melspectrogram", mel, y))
            decibels = librosa.power_to_db(power, top_db=None)
            loudest = max(loudest, decibels.max())
            spectra.extend(decibels.T)
        cut = np.float32(loudest - _DECIBELS)
        return lambda first, last: librosa.feature.mfcc(S=np.maximum(spectra[first:last].T, cut), **own)

    def _tuning(self) -> float:
        """librosa.estimate_tuning of the whole sound, its peaks found a stretch at a time."""
        import librosa

        hop, found = _TUNING_HOP, []
        frames, step = 1 + len(self._sound) // hop, int(SECONDS * self._rate / 2) // hop
        for first in range(0, frames, step):
            start, last = max(0, first - 4), min(first + step, frames)
            samples = self._sound[start * hop : (last + 4) * hop]
            pitches, sizes = librosa.piptrack(y=samples, sr=self._rate, n_fft=_TUNING_WINDOW, hop_length=hop)
            pitches, sizes = pitches[:, first - start : last - start], sizes[:, first - start : last - start]
            found.append(np.stack([pitches[pitches > 0], sizes[pitches > 0]]))
        pitches, sizes = np.concatenate(found, axis=1)
        threshold = np.median(sizes) if len(sizes) else 0.0
        return librosa.pitch_tuning(pitches[sizes >= threshold], bins_per_octave=_BINS)
