"""Words from sound, where nobody gives them. In: a media file and a speech recognition model. Out: text."""

from __future__ import annotations

from pathlib import Path

from lacuna import pretrained
from lacuna.align import sphinx
from lacuna.media import RATE, decode
from lacuna.types import MalformedInput


def transcribe(path: Path, source: str, start: float = 0.0, end: float | None = None) -> str:
    """What `source` hears: a hub id or directory of a transformers ASR model, or sphinx. "" where there is no sound."""
    sound = decode.audio(path, RATE, start, end)
    if sound is None or not len(sound):
        return ""
    if source == sphinx.NAME:
        return sphinx.recognised(sound)
    pipeline = pretrained.import_transformers().pipeline
    try:
        recogniser = pipeline("automatic-speech-recognition", model=source)
    except (OSError, ValueError) as error:
        raise MalformedInput(
            f"asr: expected a speech recognition model (hub id, directory or sphinx), got {source!r}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    options = {"chunk_length_s": 30} if len(sound) > 30 * RATE else {}
    return str(recogniser({"raw": sound, "sampling_rate": RATE}, **options)["text"]).strip()
