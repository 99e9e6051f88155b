"""Features of many clips, each made once. In: clips and an extractor's name and settings. Out: sequences in order.

A clip's result is kept under the hash of its media's bytes (or its words), its span, and the extractor's name, version,
settings and libraries: a changed label, another order or a second run costs nothing, a killed run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from lacuna.cache import Cache, digest_of, digest_of_file
from lacuna.compute import Lost, map_items, progress
from lacuna.params import plugin, plugin_settings
from lacuna.store import Origin
from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence


@dataclass
class Extraction:
    """An extractor with a cache before it: picklable, so that each worker builds its own extractor on first need."""

    name: str
    values: dict[str, object]
    cache_root: Path
    _settings: object = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._settings = plugin_settings("extractors", self.name, self.values)

    def __getstate__(self) -> dict[str, object]:
        return {"name": self.name, "values": self.values, "cache_root": self.cache_root}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)

    @cached_property
    def extractor(self) -> Callable[[Clip], FeatureSequence]:
        return plugin("extractors", self.name).Extractor(self._settings)

    @cached_property
    def cache(self) -> Cache:
        return Cache(self.cache_root, self.name)

    @cached_property
    def origin(self) -> Origin:
        """Columns, settings and versions, as they are written beside the features."""
        module = plugin("extractors", self.name)
        return Origin(
            extractor=self.name,
            modality=module.MODALITY,
            columns=tuple(self.extractor.columns),
            settings=asdict(self._settings),
            versions={"lacuna_extractor": str(module.VERSION), **self.extractor.versions()},
            dtype=getattr(module, "DTYPE", "float32"),
        )

    def key(self, clip: Clip) -> str:
        """What identifies a clip's result: all that decides it and nothing else."""
        made_by = (self.name, self.origin.settings, self.origin.versions)
        if self.origin.modality == "text":
            return digest_of(*made_by, clip.text)
        return digest_of(*made_by, digest_of_file(clip.path), clip.start, clip.end)

    def __call__(self, clip: Clip) -> FeatureSequence | MalformedInput:
        """The clip's features, from the cache where they are there; an error is returned, for it is one clip's."""
        try:
            key = self.key(clip)
            arrays = self.cache.get(key)
            if arrays is None:
                sequence = self.extractor(clip)
                arrays = {"values": sequence.values, "times": sequence.times, "seen": sequence.seen}
                self.cache.put(key, arrays)
            return FeatureSequence(**arrays, columns=self.origin.columns)
        except (MalformedInput, OSError) as error:
            return MalformedInput(f"{clip.id}: {error}")


@dataclass(frozen=True)
class Flaw:
    """A clip that has none of a modality, and why."""

    clip: str
    file: str
    reason: str


def extract(
    extraction: Extraction, clips: Sequence[Clip], workers: int | str, flaws: list[Flaw]
) -> Iterator[tuple[str, FeatureSequence]]:
    """(clip id, features) in order; a clip that fails has no frames and is added to `flaws`, and so is one unseen."""
    results = map_items(extraction, clips, workers)
    for clip, result in zip(clips, progress(results, len(clips), f"{extraction.name:<10}")):
        if isinstance(result, Lost | MalformedInput):
            flaws.append(Flaw(clip.id, str(clip.path or ""), getattr(result, "reason", None) or str(result)))
            result = empty_sequence(extraction.origin.columns, np.dtype(extraction.origin.dtype).type)
        elif not result.seen.any():
            flaws.append(Flaw(clip.id, str(clip.path or ""), _unseen(extraction.origin.modality, len(result))))
        yield clip.id, result


def _unseen(modality: str, frames: int) -> str:
    if modality == "vision" and frames:
        return f"no face in any of {frames} frames: kept without vision"
    return f"nothing to extract: kept without {modality}"
