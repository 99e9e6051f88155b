"""Hear a dataset's clips. In: clips and settings. Out: what was heard in each, from a cache where it is there.

A clip's result is kept under the hash of its media's bytes, its span, and the engine with its weights and settings, as
features are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from lacuna.compute.device import device_of
from lacuna.compute.workers import Engine, Lost, map_items, progress
from lacuna.data.heard import Heard
from lacuna.storage.cache import Cache, digest_of
from lacuna.storage.files import known_digest
from lacuna.transcribe import engines
from lacuna.types import Clip, MalformedInput, Reject


@dataclass(frozen=True)
class Settings:
    """engine: which recogniser; model: its folder, hub id or size; language: its code, or auto; device: auto, cpu …;
    clips: those that came without words, or all, for the times of words that are known."""

    engine: str = "faster-whisper"
    model: str = ""
    language: str = engines.AUTO
    device: str = engines.AUTO
    clips: Literal["wordless", "all"] = "wordless"


@dataclass(frozen=True)
class Hearing:
    """A recogniser with a cache before it; picklable: each worker loads the model on first need."""

    settings: Settings
    root: Path

    @cached_property
    def _versions(self) -> dict[str, str]:
        return engines.versions(self.settings.engine, self.settings.model)

    def _key(self, clip: Clip) -> str:
        known = {"engine": self.settings.engine, "language": self.settings.language, "device": self._device}
        return digest_of("heard", known, self._versions, known_digest(Path(str(clip.path))), clip.start, clip.end)

    @property
    def _device(self) -> str:
        return device_of(self.settings.device).type  # a GPU computes in another precision

    def __call__(self, clip: Clip) -> Heard | MalformedInput:
        """What is said in the clip; an error is returned, for it is one clip's."""
        cache = Cache(self.root, "transcribe")
        try:
            if clip.path is None:
                return Heard()
            key = self._key(clip)
            kept = cache.get(key)
            if kept is not None:
                return Heard.of(json.loads(b"".join(piece["json"].tobytes() for piece in kept)))
            recogniser = engines.engine(
                self.settings.engine, self.settings.model, self.settings.language, self.settings.device
            )
            heard = engines.hear(clip.path, recogniser, clip.start, clip.end)
            cache.put(key, [{"json": np.frombuffer(json.dumps(asdict(heard)).encode(), np.uint8)}])
            return heard
        except (MalformedInput, OSError) as error:
            return MalformedInput(f"{clip.id}: {error}")


def transcribe(
    clips: Sequence[Clip], settings: Settings, cache: Path, workers: Engine | int | str, rejects: list[Reject]
) -> Iterator[tuple[str, Heard]]:
    """(clip id, what was heard) of the clips that are to be heard, in order; those that fail go to `rejects`."""
    engines.engine(settings.engine, settings.model, settings.language, settings.device)  # or stop before any clip
    asked = [clip for clip in clips if clip.path is not None and (settings.clips == "all" or not clip.text.strip())]
    hearing = Hearing(settings, cache)
    several = 1 if hearing._device == "cuda" else workers  # one model fills a GPU
    results = map_items(hearing, asked, several)
    for clip, heard in zip(asked, progress(results, len(asked), "transcribe")):
        if isinstance(heard, Heard):
            yield clip.id, heard
        else:
            reason = heard.reason if isinstance(heard, Lost) else str(heard)
            rejects.append(Reject(clip.id, str(clip.path), reason, "transcribe"))
