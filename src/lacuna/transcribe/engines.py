"""Speech recognisers. In: sound at 16 kHz. Out: words, with their times where the engine tells them.

faster-whisper (any language, word times), a model of transformers, or PocketSphinx (English, small and offline).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from lacuna.align import sphinx
from lacuna.compute.device import device_of
from lacuna.data.heard import Heard, HeardWord
from lacuna.media import RATE, decode
from lacuna.storage import pretrained
from lacuna.types import MalformedInput

Name = Literal["faster-whisper", "transformers", "sphinx"]
Engine = Callable[[np.ndarray], Heard]

AUTO = "auto"
# Folders in CTranslate2's format have this file; sizes are names that faster-whisper fetches.
_CONVERTED = "model.bin"
_SIZES = ("tiny", "base", "small", "medium", "large", "turbo", "distil")
PACKAGES = {"faster-whisper": ("faster-whisper", "ctranslate2"), "transformers": ("transformers",), "sphinx": ()}


def engine_for(model: str) -> Name:
    """The engine that a model is for: a size or a converted folder is faster-whisper's, `sphinx` its own."""
    if model == sphinx.NAME:
        return "sphinx"
    converted = (Path(model) / _CONVERTED).is_file() and not (Path(model) / "generation_config.json").is_file()
    return "faster-whisper" if converted or model.split("-")[0].split(".")[0] in _SIZES else "transformers"


@lru_cache(maxsize=1)
def engine(name: str, model: str, language: str = AUTO, device: str = AUTO) -> Engine:
    """A recogniser that is ready to hear; MalformedInput where its package or its weights cannot be had."""
    if name not in get_args(Name):
        raise MalformedInput(f"transcribe.engine: expected one of {', '.join(get_args(Name))}; got {name!r}")
    if name != "sphinx" and not model:
        raise MalformedInput(f"transcribe.model: expected a model for {name} (a folder, a hub id or a size), got none")
    makers: dict[str, Callable[[], Engine]] = {
        "faster-whisper": lambda: _Whisper(model, language, device),
        "transformers": lambda: _transformers(model, device),
        "sphinx": lambda: lambda sound: Heard(sphinx.recognised(sound), "en"),
    }
    return makers[name]()


def versions(name: str, model: str) -> dict[str, str]:
    """What decides what is heard beside the settings: the weights' fingerprint and the engine's packages."""
    weights = pretrained.fingerprint(model) if model else ""
    return {"weights": weights} | {p: importlib.metadata.version(p) for p in PACKAGES[name]}


def hear(path: Path, recogniser: Engine, start: float = 0.0, end: float | None = None) -> Heard:
    """What a recogniser hears in a file from `start` to `end` s; nothing where there is no sound."""
    sound = decode.audio(path, RATE, start, end)
    return recogniser(sound) if sound is not None and len(sound) else Heard()


class _Whisper:
    """faster-whisper, greedy at temperature 0, so that the same sound gives the same words; silence is left out."""

    def __init__(self, model: str, language: str, device: str) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise MalformedInput(
                "transcribe: expected the package faster-whisper (pip install 'lacuna[transcribe]'), found none"
            ) from error
        kind = device_of(device).type
        options = {"device": kind, "compute_type": "float16" if kind == "cuda" else "int8", "cpu_threads": 1}
        try:
            self._model = WhisperModel(model, **options)
        except (ValueError, RuntimeError, OSError) as error:
            raise MalformedInput(
                f"transcribe.model: expected a folder of faster-whisper or a size that can be fetched, got {model!r}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        self._language = None if language == AUTO else language

    def __call__(self, sound: np.ndarray) -> Heard:
        segments, info = self._model.transcribe(
            sound, self._language, word_timestamps=True, temperature=0.0, vad_filter=True,
            condition_on_previous_text=False,
        )  # fmt: skip
        said = [word for segment in segments for word in segment.words or ()]
        words = tuple(
            HeardWord(w.word.strip(), round(float(w.start), 3), round(float(w.end), 3), round(float(w.probability), 4))
            for w in said
        )
        if not words:
            return Heard()
        text = "".join(word.word for word in said).strip()
        return Heard(text, info.language, round(float(np.mean([w.confidence for w in words])), 4), words)


def _transformers(model: str, device: str) -> Engine:
    """A recogniser of transformers, by hub id or folder; it tells no times."""
    pipeline = pretrained.import_transformers().pipeline
    try:
        recogniser: Any = pipeline("automatic-speech-recognition", model=model, device=device_of(device))
    except (OSError, ValueError) as error:
        raise MalformedInput(
            f"asr: expected a speech recognition model (hub id, folder, faster-whisper's size or sphinx), got "
            f"{model!r}: {str(error).splitlines()[0]}"
        ) from error

    def recognised(sound: np.ndarray) -> Heard:
        options = {"chunk_length_s": 30} if len(sound) > 30 * RATE else {}
        return Heard(str(recogniser({"raw": sound, "sampling_rate": RATE}, **options)["text"]).strip())

    return recognised
