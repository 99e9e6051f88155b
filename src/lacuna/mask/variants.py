"""Incomplete variants on disk. In: samples, a pattern, levels, seeds. Out: which frames survive, for all models.

Layout: `survives/<modality>` (levels, seeds, frames of all clips) bool, `offsets/<modality>` (N + 1,), `ids` (N,); the
attributes `pattern`, `levels` and `seeds` name the axes. The features stay where they are: a variant is what is left
of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np

from lacuna.data.samples import Sample
from lacuna.mask.mask import Draw, Level, Place, disturbed, draw_of, level_by_modality, lost
from lacuna.params import plugin
from lacuna.storage.files import damaged, reading, replacing
from lacuna.storage.hdf5 import created, opened, require_room
from lacuna.types import MalformedInput

REMEDY = "delete it and run `dvc repro mask`"


def places(samples: Sequence[Sample]) -> dict[str, Place]:
    """Where each clip stands in its split, which only the pattern `legacy` needs."""
    result = {}
    for split in {sample.clip.split for sample in samples}:
        members = [s for s in samples if s.clip.split == split]
        padded = {m: max(1, *(len(s.features[m]) for s in members)) for m in members[0].features}
        result |= {s.clip.id: Place(i, len(members), padded) for i, s in enumerate(members)}
    return result


def write_variants(
    path: Path, samples: Sequence[Sample], pattern: ModuleType, levels: Sequence[Level], seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Draw every mask and write them; returns the share of lost frames by modality, (levels,)."""
    name, where = pattern.__name__.rpartition(".")[2], places(samples)
    shares = {}
    with replacing(path, digest=True) as temporary, created(temporary) as file:
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
                            draw_of(s, modality, pattern, level, seed, 0, where[s.clip.id]),
                        )
                        for s in samples
                    ]
                    survives[i, j] = np.concatenate(drawn)
            require_room(file, survives.nbytes + 16 * len(lengths))
            file.create_dataset(f"survives/{modality}", data=survives, compression="gzip", compression_opts=1)
            file[f"offsets/{modality}"] = np.concatenate([[0], np.cumsum(lengths)])
            shares[modality] = 1 - survives.mean((1, 2)) if survives.size else np.zeros(len(levels))
    return shares


class Variants:
    """A variants file in memory: `survivors(clip id, modality, level, seed)` (T,) bool."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MalformedInput(f"{path}: expected incomplete variants, found none (run `dvc repro mask`)")
        kind = "incomplete variants"
        with opened(self.path, kind, REMEDY) as file, reading(self.path, kind, REMEDY):
            self.pattern, self.levels, self.seeds = axes(file)
            self._offsets = {m: data[:] for m, data in file["offsets"].items()}
            self._index = {clip: i for i, clip in enumerate(file["ids"].asstr()[:])}
            self._check_shapes({m: data.shape for m, data in file["survives"].items()})
            self._survives = {m: data[:].astype(bool, copy=False) for m, data in file["survives"].items()}

    def _check_shapes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """The parts must fit each other, so that no clip is given another's rows."""
        if shapes.keys() != self._offsets.keys():
            raise damaged(self.path, f"offsets of {', '.join(shapes)}", ", ".join(self._offsets), REMEDY)
        for modality, offsets in self._offsets.items():
            if offsets.shape != (len(self._index) + 1,) or offsets[0] or (np.diff(offsets) < 0).any():
                raise damaged(self.path, f"{len(self._index) + 1} growing offsets", offsets.shape, REMEDY)
            wanted = (len(self.levels), len(self.seeds), offsets[-1])
            if shapes[modality] != wanted:
                raise damaged(self.path, f"survives/{modality} of shape {wanted}", shapes[modality], REMEDY)

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
            if (self.spoils or self.swaps) and not survives[i, j].all():
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

    @property
    def swaps(self) -> bool:
        """Whether a modality that does not survive is another clip's."""
        return hasattr(self.module, "swap")

    def apply(self, sample: Sample, level: Level, seed: int, modalities: Iterable[str] | None = None) -> Sample:
        """The sample as this variant leaves it; of it only some modalities, if they are named."""
        features = {}
        for modality in sample.features if modalities is None else modalities:
            survives = self.survivors(sample.clip.id, modality, level, seed)
            draw = self._draw(sample, modality, level, seed)
            features[modality] = lost(sample, modality, self.module, survives, draw)
        return replace(sample, features=features)

    def spoilt(self, sample: Sample, seed: int) -> Sample:
        """The sample with every frame disturbed, by a pattern that disturbs: a variant takes those it does not keep."""
        features = {
            modality: disturbed(sequence, self.module, self._draw(sample, modality, 1.0, seed))
            for modality, sequence in sample.features.items()
        }
        return Sample(sample.clip, features)

    def _draw(self, sample: Sample, modality: str, level: Level, seed: int) -> Draw:
        return draw_of(sample, modality, self.module, level, seed)


def axes(file: h5py.File) -> tuple[str, list[Level], list[int]]:
    """The pattern, the levels and the seeds of an open variants file."""
    attrs = file.attrs
    return str(attrs["pattern"]), list(json.loads(attrs["levels"])), list(json.loads(attrs["seeds"]))


def levels_of(
    pattern: str,
    rates: Sequence[float],
    modalities: Sequence[str],
    subsets: bool,
    by_modality: Sequence[Mapping[str, float]] = (),
) -> list[Level]:
    """The rates, those by modality (of modalities that there are), and for whole modalities every subset that may be
    left, as "audio+text"."""
    own = [{m: rate for m, rate in one.items() if m in modalities} for one in by_modality]
    rates = [*rates, *dict.fromkeys(level_by_modality(one) for one in own if one)]
    if pattern != "modality" or not subsets:
        return rates
    names = sorted(modalities)
    chosen = [[n for k, n in enumerate(names) if bits >> k & 1] for bits in range(1, 1 << len(names))]
    return [*rates, *("+".join(c) for c in sorted(chosen, key=lambda c: (len(c), c)))]
