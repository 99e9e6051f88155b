"""Acoustic features by librosa's own functions. In: a clip's sound. Out: (T, D) float32, one row a hop.

A recipe, or any list of names in `librosa.feature` with their arguments (and `f0`): values equal librosa's own calls,
to the bit up to 20 s of sound and to float32's rounding beyond (`_stretches`); of the complex `fourier_tempogram` the
magnitude, as in librosa's own examples.
Recipes: `sims33` is CH-SIMS's 33 columns as shipped, `sims33_f0` as its paper says (the shipped "F0" is a zero-crossing
rate), `fet_default` MMSA-FET's example. COVAREP's 5 and 74 columns of MOSI and MOSEI cannot be had from librosa.
"""

from __future__ import annotations

import getpass
import hashlib
import importlib.metadata
import inspect
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from lacuna.extractors._rows import Rows
from lacuna.extractors._stretches import SECONDS, Call, Stretches, are_local
from lacuna.media import decode
from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence, joined

MODALITY = "audio"
VERSION = 4
PRELOAD = ("librosa.feature.spectral", "librosa.core.constantq")  # 2.4 s of processor time, most of it numba's

Feature = str | dict[str, dict[str, Any] | None]  # a name, or {name: its arguments}

_MFCC: Feature = {"mfcc": {"n_mfcc": 20, "htk": True}}
RECIPES: dict[str, tuple[Feature, ...]] = {
    "sims33": ("zero_crossing_rate", _MFCC, "chroma_cqt"),
    "sims33_f0": ("f0", _MFCC, "chroma_cqt"),
    "fet_default": (_MFCC, "rms", "zero_crossing_rate", "spectral_rolloff", "spectral_centroid"),
}
FRAMING = {"fet_default": (128, 512)}  # hop and window, samples, where a recipe asks for other than librosa's own
HOP, WINDOW = 512, 2048
NOT_BY_FRAME = ("tempo", "delta", "stack_memory", "inverse")
F0_RANGE = (65.0, 1000.0)  # Hz, C2 to about B5: speaking and shouting voices


@dataclass(frozen=True)
class Settings:
    """recipe or features (a list of names, or {name: {argument: value}}), not both; rate: Hz, None for the file's own;
    hop_length and window: samples, None for the recipe's; f0: the pitch tracker of feature `f0` ("pyin" or "yin").
    """

    recipe: str | None = None
    features: tuple[Feature, ...] = ()
    rate: int | None = 22050
    hop_length: int | None = None
    window: int | None = None
    f0: str = "pyin"

    def __post_init__(self) -> None:
        if self.recipe is not None and self.features:
            raise MalformedInput(f"features: expected none beside the recipe {self.recipe!r}, got {self.features}")
        if self.recipe is not None and self.recipe not in RECIPES:
            raise MalformedInput(f"recipe: expected one of {', '.join(RECIPES)}, got {self.recipe!r}")
        if self.f0 not in ("pyin", "yin"):
            raise MalformedInput(f"f0: expected pyin or yin, got {self.f0!r}")
        for name, least in (("rate", 2000), ("hop_length", 1), ("window", 4)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise MalformedInput(f"{name}: expected at least {least}, got {value}")
        for feature in self.features:
            _check(*_parsed(feature))

    @property
    def chosen(self) -> tuple[Feature, ...]:
        return self.features or RECIPES[self.recipe or "sims33"]

    @property
    def framing(self) -> tuple[int, int]:
        """Hop and window in samples."""
        hop, window = FRAMING.get(self.recipe or "sims33", (HOP, WINDOW))
        return self.hop_length or hop, self.window or window


def _parsed(feature: Feature) -> tuple[str, dict[str, Any]]:
    if isinstance(feature, str):
        return feature, {}
    if len(feature) != 1:
        raise MalformedInput(f"features: expected a name or one {{name: arguments}} an entry, got {feature}")
    ((name, arguments),) = feature.items()
    return name, dict(arguments or {})


def _function(name: str) -> Callable[..., np.ndarray]:
    import librosa  # the library: this file's own name is lacuna.extractors.librosa

    names = [n for n in dir(librosa.feature) if n not in NOT_BY_FRAME]
    if name not in names:
        raise MalformedInput(f"features: expected f0 or names of librosa.feature ({', '.join(names)}), got {name!r}")
    return getattr(librosa.feature, name)


def _check(name: str, arguments: dict[str, Any]) -> None:
    """Refuse unknown names and arguments before the first file is opened."""
    if name == "f0":
        known = {"fmin", "fmax"}
    else:
        parameters = inspect.signature(_function(name)).parameters
        if "kwargs" in parameters:
            return  # mfcc and others hand what they do not know to melspectrogram: the trial run in Extractor judges
        known = set(parameters) - {"y", "sr"}
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise MalformedInput(f"features: {name}: expected arguments among {sorted(known)}, got {', '.join(unknown)}")


def compiling() -> FileLock:
    """Within it, one process of this environment at a time.

    librosa's functions are compiled on first use and kept on disk. Two processes that do so at once leave files that
    crash every later process, so the first use of an environment is made alone.
    """
    own = os.access(sys.prefix, os.W_OK)  # the environment's folder, else one that every user may write to
    name = hashlib.sha256(f"{getpass.getuser()} {sys.prefix}".encode()).hexdigest()[:16]
    return FileLock(Path(sys.prefix, ".lacuna.lock") if own else Path(tempfile.gettempdir(), f"lacuna-{name}.lock"))


class Extractor:
    """A clip's sound as librosa's features, (T, D) float32; times are k · hop / rate s, the centres of the windows."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._features = [_parsed(feature) for feature in settings.chosen]
        # One second of a tone tells the columns, and refuses arguments that librosa itself refuses.
        rate = settings.rate or 22050
        tone = np.sin(2 * np.pi * 220 / rate * np.arange(rate)).astype(np.float32)
        with compiling():
            tried = self._rows(tone, rate)
        self.columns = tuple(
            f"{name}_{i}" if len(rows) > 1 else name
            for (name, _), rows in zip(self._features, tried)
            for i in range(len(rows))
        )

    def versions(self) -> dict[str, str]:
        """What decides the values beside the settings: librosa, and the decoder."""
        return {name: importlib.metadata.version(name) for name in ("librosa", "numpy", "av")}

    def __call__(self, clip: Clip) -> FeatureSequence:
        return joined(self.pieces(clip))

    def pieces(self, clip: Clip) -> Iterator[FeatureSequence]:
        """The clip's features; of long sound a stretch at a time, where all of them can be had so."""
        rate, sound = 0, Rows()
        if clip.path is not None and (rate := self.settings.rate or decode.probe(clip.path).audio_rate):
            for samples in decode.sound(clip.path, rate, clip.start, clip.end) or ():
                sound.extend(samples)
        if not len(sound):
            yield empty_sequence(self.columns)
        elif len(sound) <= SECONDS * rate or not are_local(self._features):
            yield self.of_samples(sound[:], rate)
        else:
            yield from self._in_stretches(sound, rate)

    def of_samples(self, samples: np.ndarray, rate: int) -> FeatureSequence:
        """The features of mono samples (n,) at `rate` Hz."""
        return self._sequence(self._rows(samples, rate), 0, rate)

    def _in_stretches(self, sound: Rows, rate: int) -> Iterator[FeatureSequence]:
        first = 0
        with _as_malformed():
            for rows in Stretches(sound, rate, self.settings.framing, self._features, self._caller(rate)):
                yield self._sequence(rows, first, rate)
                first += rows[0].shape[1]

    def _sequence(self, rows: list[np.ndarray], first: int, rate: int) -> FeatureSequence:
        """Rows of the features, whose first frame is number `first` of the clip."""
        frames = min(r.shape[1] for r in rows)  # uncentred features have a window's frames fewer
        values = np.concatenate([r[:, :frames] for r in rows]).T.astype(np.float32)
        times = np.arange(first, first + frames) * self.settings.framing[0] / rate
        return FeatureSequence(np.ascontiguousarray(values), times, np.ones(frames, bool), self.columns)

    def _rows(self, samples: np.ndarray, rate: int) -> list[np.ndarray]:
        """Per feature (its rows, T)."""
        with _as_malformed():
            return [self._feature(name, arguments, samples, rate) for name, arguments in self._features]

    def _caller(self, rate: int) -> Call:
        return lambda name, arguments, samples: self._feature(name, arguments, samples, rate)

    def _feature(self, name: str, arguments: dict[str, Any], samples: np.ndarray, rate: int) -> np.ndarray:
        hop, window = self.settings.framing
        if name == "f0":
            return _log_f0(samples, rate, hop, self.settings.f0, **arguments)[None]
        function = _function(name)
        parameters = inspect.signature(function).parameters
        given = {"sr": rate, "hop_length": hop, "n_fft": window, "frame_length": window}
        takes = {k: v for k, v in given.items() if k in parameters or (name == "mfcc" and k in ("hop_length", "n_fft"))}
        found = function(y=samples, **(takes | arguments))
        return np.abs(found) if np.iscomplexobj(found) else found  # fourier_tempogram, whose angle is the window's own


@contextmanager
def _as_malformed() -> Iterator[None]:
    """librosa's refusals as ours, and its warnings held back."""
    import librosa

    with warnings.catch_warnings():
        # Silence and sounds shorter than a window are facts of a clip that librosa handles, if not quietly.
        warnings.filterwarnings("ignore", module=r"librosa.*")
        try:
            yield
        except (librosa.ParameterError, TypeError) as error:
            raise MalformedInput(f"features: expected arguments that librosa takes: {error}") from error


def _log_f0(
    samples: np.ndarray, rate: int, hop: int, tracker: str, fmin: float = F0_RANGE[0], fmax: float = F0_RANGE[1]
) -> np.ndarray:
    """Natural log of F0 in Hz, (T,); 0 where the sound is not voiced.

    yin does not tell voiced from unvoiced: it is voiced where yin's F0 lies inside the range and the frame is within
    40 dB of the loudest one.
    """
    import librosa

    if tracker == "pyin":
        f0, voiced, _ = librosa.pyin(samples, fmin=fmin, fmax=fmax, sr=rate, hop_length=hop)
    else:
        f0 = librosa.yin(samples, fmin=fmin, fmax=fmax, sr=rate, hop_length=hop)
        loudness = librosa.feature.rms(y=samples, frame_length=WINDOW, hop_length=hop)[0]
        voiced = (f0 < 0.99 * fmax) & (f0 > 1.01 * fmin) & (loudness > 0.01 * loudness.max()) & (loudness > 1e-6)
    return np.where(voiced, np.log(np.where(voiced, f0, 1.0)), 0.0)
