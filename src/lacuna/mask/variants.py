"""Incomplete variants on disk. In: samples, a pattern, levels, seeds. Out: which frames survive, for all models.

Layout: `survives/<modality>` (levels, seeds, frames of all clips) bool, `offsets/<modality>` (N + 1,), `ids` (N,); the
attributes `pattern`, `levels` and `seeds` name the axes. The features stay where they are: a variant is what is left
of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, ModuleType

import h5py
import numpy as np

from lacuna.data.samples import Sample
from lacuna.mask.mask import Draw, Level, Place, disturbed, harm
from lacuna.params import plugin
from lacuna.storage.features import Origin, replacing
from lacuna.types import MalformedInput


def places(samples: Sequence[Sample], origins: Mapping[str, Origin]) -> dict[str, Place]:
    """Where each clip stands in its split, which only the pattern `legacy` needs.

    Features are padded as the pickle is that they came from; others as far as the longest of all splits, as a pickle
    of them would be.
    """
    result, padded, rows = {}, {}, {}
    for modality in samples[0].features if samples else ():
        told = origins[modality].settings if modality in origins else {}
        padded[modality] = int(told.get("padded") or max(1, *(len(s.features[modality]) for s in samples)))
        rows |= told.get("rows", {})
    for split in {sample.clip.split for sample in samples}:
        members = [s for s in samples if s.clip.split == split]
        lacking = rows.get(split, len(members)) - len(members)
        result |= {s.clip.id: Place(i, len(members), padded, lacking) for i, s in enumerate(members)}
    return result


def write_variants(
    path: Path,
    samples: Sequence[Sample],
    pattern: ModuleType,
    levels: Sequence[Level],
    seeds: Sequence[int],
    origins: Mapping[str, Origin] = MappingProxyType({}),
) -> dict[str, np.ndarray]:
    """Draw every mask and write them; returns the share of lost frames by modality, (levels,)."""
    name, where = pattern.__name__.rpartition(".")[2], places(samples, origins)
    shares = {}
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(pattern=name, levels=json.dumps(list(levels)), seeds=json.dumps(list(seeds)))
        file.create_dataset("ids", data=[s.clip.id for s in samples], dtype=h5py.string_dtype())
        for modality in samples[0].features if samples else ():
            lengths = [len(s.features[modality]) for s in samples]
            survives = np.ones((len(levels), len(seeds), sum(lengths)), bool)
            for i, level in enumerate(levels):
                for j, seed in enumerate(seeds):
                    drawn = [
                        pattern.survivors(
                            s.features[modality],
                            Draw(s.clip.dataset, s.clip.id, modality, name, level, seed, 0, where[s.clip.id]),
                        )
                        for s in samples
                    ]
                    survives[i, j] = np.concatenate(drawn)
            file.create_dataset(f"survives/{modality}", data=survives, compression="gzip", compression_opts=1)
            file[f"offsets/{modality}"] = np.concatenate([[0], np.cumsum(lengths)])
            shares[modality] = 1 - survives.mean((1, 2)) if survives.size else np.zeros(len(levels))
    return shares


class Variants:
    """A variants file in memory: `survivors(clip id, modality, level, seed)` (T,) bool."""

    def __init__(self, path: Path) -> None:
        if not Path(path).is_file():
            raise MalformedInput(f"{path}: expected incomplete variants, found none (run `dvc repro mask`)")
        with h5py.File(path, "r") as file:
            self.pattern: str = file.attrs["pattern"]
            self.levels: list[Level] = json.loads(file.attrs["levels"])
            self.seeds: list[int] = json.loads(file.attrs["seeds"])
            self._survives = {m: data[:] for m, data in file["survives"].items()}
            self._offsets = {m: data[:] for m, data in file["offsets"].items()}
            self._index = {clip: i for i, clip in enumerate(file["ids"].asstr()[:])}

    def survivors(self, clip: str, modality: str, level: Level, seed: int) -> np.ndarray:
        """(T,) bool: which frames of a clip's modality are left."""
        rows = self.rows(clip, modality)
        return self.frames(modality, level, seed)[rows.start : rows.stop]

    def rows(self, clip: str, modality: str) -> range:
        """Where a clip's frames stand among those of all clips."""
        return range(*self._offsets[modality][self._index[clip] :][:2])

    def frames(self, modality: str, level: Level, seed: int) -> np.ndarray:
        """(frames of all clips,) bool: which are left."""
        return self._survives[modality][self.levels.index(level), self.seeds.index(seed)]

    def identity(self, level: Level, seed: int) -> str:
        """Equal where two variants are the same: nothing lost, or the same modalities, whatever the seed."""
        i, j = self.levels.index(level), self.seeds.index(seed)
        digest = hashlib.sha256()
        for modality, survives in self._survives.items():
            if self.spoils and not survives[i, j].all():
                digest.update(f"{modality} {level} {seed}".encode())  # noise differs by draw where it falls
            digest.update(np.packbits(survives[i, j]).tobytes())
        return digest.hexdigest()

    @cached_property
    def module(self) -> ModuleType:
        """The pattern itself, which knows what becomes of frames that do not survive."""
        return plugin("patterns", self.pattern)

    @property
    def spoils(self) -> bool:
        """Whether such frames are disturbed, and not simply lost."""
        return hasattr(self.module, "spoil")

    def apply(self, sample: Sample, level: Level, seed: int) -> Sample:
        """The sample as this variant leaves it."""
        features = {}
        for modality, sequence in sample.features.items():
            survives = self.survivors(sample.clip.id, modality, level, seed)
            features[modality] = harm(sequence, self.module, survives, self._draw(sample, modality, level, seed))
        return Sample(sample.clip, features)

    def spoilt(self, sample: Sample, seed: int) -> Sample:
        """The sample with every frame disturbed, by a pattern that disturbs: a variant takes those it does not keep."""
        features = {
            modality: disturbed(sequence, self.module, self._draw(sample, modality, 1.0, seed))
            for modality, sequence in sample.features.items()
        }
        return Sample(sample.clip, features)

    def _draw(self, sample: Sample, modality: str, level: Level, seed: int) -> Draw:
        return Draw(sample.clip.dataset, sample.clip.id, modality, self.pattern, level, seed)


def levels_of(pattern: str, rates: Sequence[float], modalities: Sequence[str], subsets: bool) -> list[Level]:
    """The rates; for whole modalities also every subset that may be left, as "audio+text"."""
    if pattern != "modality" or not subsets:
        return list(rates)
    names = sorted(modalities)
    chosen = [[n for k, n in enumerate(names) if bits >> k & 1] for bits in range(1, 1 << len(names))]
    return [*rates, *("+".join(c) for c in sorted(chosen, key=lambda c: (len(c), c)))]
