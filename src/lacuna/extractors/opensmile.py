"""openSMILE's feature sets, eGeMAPSv02 by default. In: a clip's sound. Out: (T, D) float32.

Needs the package `opensmile` (the extra `lacuna[opensmile]`), which is free for research only: never a default.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass

import numpy as np

from lacuna.media import decode
from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence

MODALITY = "audio"
VERSION = 3
LEVELS = {"lld": "LowLevelDescriptors", "functionals": "Functionals"}


@dataclass(frozen=True)
class Settings:
    """feature_set: a name of opensmile.FeatureSet; level: "lld" (100 frames/s) or "functionals" (one row a clip)."""

    feature_set: str = "eGeMAPSv02"
    level: str = "lld"
    rate: int = 16000

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise MalformedInput(f"level: expected {' or '.join(LEVELS)}, got {self.level!r}")
        if self.rate < 2000:
            raise MalformedInput(f"rate: expected at least 2000 Hz, got {self.rate}")


class Extractor:
    """A clip's sound as openSMILE's columns; times are the frames' starts in s."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        try:
            library = importlib.import_module("opensmile")
        except ModuleNotFoundError as error:
            raise MalformedInput(
                "opensmile: expected the package of that name (pip install 'lacuna[opensmile]'), it is not installed"
            ) from error
        sets = [name for name in dir(library.FeatureSet) if not name.startswith("_")]
        if settings.feature_set not in sets:
            raise MalformedInput(f"feature_set: expected one of {', '.join(sets)}, got {settings.feature_set!r}")
        self._smile = library.Smile(
            feature_set=library.FeatureSet[settings.feature_set],
            feature_level=library.FeatureLevel[LEVELS[settings.level]],
        )
        self.columns = tuple(self._smile.feature_names)

    def versions(self) -> dict[str, str]:
        """What decides the values beside the settings."""
        return {name: importlib.metadata.version(name) for name in ("opensmile", "av")}

    def __call__(self, clip: Clip) -> FeatureSequence:
        samples = None if clip.path is None else decode.audio(clip.path, self.settings.rate, clip.start, clip.end)
        if samples is None or not len(samples):
            return empty_sequence(self.columns)
        table = self._smile.process_signal(samples, self.settings.rate)
        values = table.to_numpy(np.float32)
        seen = np.isfinite(values).all(1)  # a signal shorter than openSMILE's window gives a row of NaN
        times = table.index.get_level_values("start").total_seconds().to_numpy()
        return FeatureSequence(np.where(seen[:, None], values, 0).astype(np.float32), times, seen, self.columns)
