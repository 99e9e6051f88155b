"""Incomplete variants on disk. In: lengths, a pattern, levels, seeds. Out: which frames survive, for all models.

Layout: `survives/<modality>` (levels, seeds, frames of all clips) bool, `offsets/<modality>` (N + 1,), `ids` (N,); the
attributes `pattern`, `levels` and `seeds` name the axes. The features stay where they are: a variant is what is left
of them.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np

from lacuna.data.samples import Sample, Samples, has_frames
from lacuna.mask.mask import (
    Draw,
    Level,
    Place,
    disturbed,
    level_by_modality,
    lost,
    name_of,
    survivors_by_level,
)
from lacuna.params import plugin
from lacuna.storage.features import FeatureFile
from lacuna.storage.files import damaged, reading, replacing
from lacuna.storage.hdf5 import created, opened, require_room
from lacuna.types import Clip, FeatureSequence, MalformedInput

WRITE_BYTES = 1 << 23  # of masks gathered before a write, which packs whole chunks

REMEDY = "delete it and run `dvc repro mask`"


@dataclass(frozen=True)
class Counted:
    """One modality of a data set, without its values: frames of each clip (N,), and the sequences in the same order,
    which hold values only where they are token ids."""

    lengths: np.ndarray
    sequences: Iterable[FeatureSequence]
    told: Mapping[str, Any] = field(default_factory=dict)  # settings of the features' origin


def count_frames(clips: Sequence[Clip], files: Iterable[Path]) -> dict[str, Counted]:
    """{modality: its frames} of these features files, of which neither times nor values are held."""
    modalities = {}
    for path in files:
        with FeatureFile(path) as file:
            told = file.origin.settings
            own = dict(zip(file.ids, file.lengths().tolist()))
            lengths, modality = np.array([own.get(clip.id, 0) for clip in clips], np.int64), file.origin.modality
            there = has_frames(file, len(clips))
        if there:
            modalities[modality] = Counted(lengths, _Marked(path, [clip.id for clip in clips]), told)
    return modalities


def counted(samples: Samples) -> dict[str, Counted]:
    """The same of samples."""
    return {m: Counted(store.lengths, store) for m, store in samples.stores.items()}


class _Marked:
    """The sequences of a features file in the order of the clips, read in large pieces, without values that only a
    model reads."""

    def __init__(self, path: Path, clip_ids: Sequence[str]) -> None:
        self._path, self._ids = path, clip_ids

    def __iter__(self) -> Iterator[FeatureSequence]:
        with FeatureFile(self._path) as file:
            yield from file.marked(self._ids)


def places(
    clips: Sequence[Clip], lengths: Mapping[str, np.ndarray], told: Mapping[str, Mapping[str, Any]]
) -> dict[str, Place]:
    """Where each clip stands in its split, which only the pattern `legacy` needs; `lengths` are (N,) by modality.

    Features are padded as the pickle is that they came from, as the settings of their origin have `told`; others as far
    as the longest of all splits, as a pickle of them would be.
    """
    result: dict[str, Place] = {}
    padded = {m: int(told.get(m, {}).get("padded") or max(1, *count, 1)) for m, count in lengths.items()}
    rows = {split: n for settings in told.values() for split, n in settings.get("rows", {}).items()}
    for split in {clip.split for clip in clips}:
        members = [i for i, clip in enumerate(clips) if clip.split == split]
        lacking = rows.get(split, len(members)) - len(members)
        result |= {clips[i].id: Place(k, len(members), padded, lacking) for k, i in enumerate(members)}
    return result


@dataclass(frozen=True)
class Grid:
    """The masks of a file: a pattern at these levels, each drawn once a seed."""

    pattern: ModuleType
    levels: Sequence[Level]
    seeds: Sequence[int]

    def draw(self, sequence: FeatureSequence, clip: Clip, modality: str, place: Place) -> np.ndarray:
        """(levels, seeds, T) bool: what survives of one sequence."""
        name = name_of(self.pattern)
        draws = (Draw(clip.dataset, clip.id, modality, name, 0.0, seed, 0, place) for seed in self.seeds)
        by_seed = [survivors_by_level(self.pattern, sequence, draw, self.levels) for draw in draws]
        return np.stack(by_seed, 1)


def _places(clips: Sequence[Clip], modalities: Mapping[str, Counted]) -> dict[str, Place]:
    lengths = {m: counted.lengths for m, counted in modalities.items()}
    return places(clips, lengths, {m: counted.told for m, counted in modalities.items()})


def write_variants(
    path: Path, clips: Sequence[Clip], modalities: Mapping[str, Counted], grid: Grid
) -> dict[str, np.ndarray]:
    """Draw every mask and write them; returns the share of lost frames by modality, (levels,)."""
    where, shares = _places(clips, modalities), {}
    with replacing(path, digest=True) as temporary, created(temporary) as file:
        levels, seeds = json.dumps(list(grid.levels)), json.dumps(list(grid.seeds))
        file.attrs.update(pattern=name_of(grid.pattern), levels=levels, seeds=seeds)
        file.create_dataset("ids", data=[clip.id for clip in clips], dtype=h5py.string_dtype())
        for modality, counted in modalities.items():
            drawn = (
                grid.draw(sequence, clip, modality, where[clip.id]) for clip, sequence in zip(clips, counted.sequences)
            )
            shape = (len(grid.levels), len(grid.seeds), int(counted.lengths.sum()))
            require_room(file, int(np.prod(shape)) + 16 * len(clips))
            kind = {"dtype": bool, "compression": "gzip", "compression_opts": 1}
            # No name holds the dataset: it is closed, and so written, before the next one.
            left = _write_rows(file.create_dataset(f"survives/{modality}", shape, **kind), drawn)
            file[f"offsets/{modality}"] = np.concatenate([[0], np.cumsum(counted.lengths)])
            shares[modality] = 1 - left / max(1, shape[1] * shape[2])
    return shares


def _write_rows(rows: h5py.Dataset, drawn: Iterable[np.ndarray]) -> np.ndarray:
    """Append masks (levels, seeds, T), some megabytes at a time; returns how many frames survive, (levels,)."""
    waiting: list[np.ndarray] = []
    left, end, size = np.zeros(len(rows), np.int64), 0, 0
    for one in chain(drawn, [None]):
        if waiting and (one is None or size >= WRITE_BYTES):
            together = np.concatenate(waiting, 2)
            rows[:, :, end : end + together.shape[2]] = together
            left, end = left + together.sum((1, 2)), end + together.shape[2]
            waiting.clear()
            size = 0
        if one is not None:
            waiting.append(one)
            size += one.nbytes
    return left


class Variants:
    """A variants file: which frames survive, by clip, modality, level and seed; of all its clips, or of those named.

    A bit a frame is kept in memory.
    """

    def __init__(self, path: Path, clips: Iterable[str] | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MalformedInput(f"{path}: expected incomplete variants, found none (run `dvc repro mask`)")
        kind = "incomplete variants"
        with opened(self.path, kind, REMEDY) as file, reading(self.path, kind, REMEDY):
            self.pattern, self.levels, self.seeds = axes(file)
            ids = file["ids"].asstr()[:].tolist()
            offsets = {m: data[:] for m, data in file["offsets"].items()}
            self._check_shapes({m: data.shape for m, data in file["survives"].items()}, offsets, len(ids))
            wanted = set(ids if clips is None else clips)
            kept = np.array([clip in wanted for clip in ids], bool)
            self._index = {clip: i for i, clip in enumerate(clip for clip in ids if clip in wanted)}
            self._offsets, self._bits = {}, {}
            for modality, survives in file["survives"].items():
                lengths = np.diff(offsets[modality])
                self._offsets[modality] = np.concatenate([[0], np.cumsum(lengths[kept])])
                columns = np.repeat(kept, lengths)
                # A level at a time: all of them may be more than fits.
                levels = [np.packbits(survives[i][:, columns] != 0, axis=-1) for i in range(len(self.levels))]
                self._bits[modality] = np.stack(levels)

    def _check_shapes(self, shapes: dict[str, tuple[int, ...]], offsets: dict[str, np.ndarray], clips: int) -> None:
        """The parts must fit each other, so that no clip is given another's rows."""
        if shapes.keys() != offsets.keys():
            raise damaged(self.path, f"offsets of {', '.join(shapes)}", ", ".join(offsets), REMEDY)
        for modality, own in offsets.items():
            if own.shape != (clips + 1,) or own[0] or (np.diff(own) < 0).any():
                raise damaged(self.path, f"{clips + 1} growing offsets", own.shape, REMEDY)
            wanted = (len(self.levels), len(self.seeds), own[-1])
            if shapes[modality] != wanted:
                raise damaged(self.path, f"survives/{modality} of shape {wanted}", shapes[modality], REMEDY)

    def masks(self, clip: str, modality: str) -> np.ndarray:
        """(levels, seeds, T) bool: which frames of a clip's modality are left in each variant."""
        start, stop = (int(x) for x in self._offsets[modality][self._index[clip] :][:2])
        first = start // 8
        bits = np.unpackbits(self._bits[modality][..., first : -(-stop // 8)], axis=-1)
        return bits[..., start - 8 * first : stop - 8 * first].astype(bool)

    def of_seed(self, seed: int) -> Variants:
        """The same variants, of one mask seed alone."""
        j, one = self.seeds.index(seed), copy.copy(self)
        one.seeds, one._bits = [seed], {m: bits[:, j : j + 1] for m, bits in self._bits.items()}
        return one

    def survivors(self, clip: str, modality: str, level: Level, seed: int) -> np.ndarray:
        """(T,) bool: which frames of a clip's modality are left."""
        return self.masks(clip, modality)[self.levels.index(level), self.seeds.index(seed)]

    def identity(self, level: Level, seed: int) -> str:
        """Equal where two variants are the same: nothing lost, or the same modalities, whatever the seed."""
        i, j = self.levels.index(level), self.seeds.index(seed)
        digest = hashlib.sha256()
        for modality, bits in self._bits.items():
            frames = int(self._offsets[modality][-1])
            if (self.spoils or self.swaps) and np.unpackbits(bits[i, j]).sum() < frames:
                digest.update(f"{modality} {level} {seed}".encode())  # noise differs by draw where it falls
            digest.update(bits[i, j].tobytes())
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
        return Draw(sample.clip.dataset, sample.clip.id, modality, self.pattern, level, seed)


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
    levels: list[Level] = [*rates, *dict.fromkeys(level_by_modality(one) for one in own if one)]
    if pattern != "modality" or not subsets:
        return levels
    names = sorted(modalities)
    chosen = [[n for k, n in enumerate(names) if bits >> k & 1] for bits in range(1, 1 << len(names))]
    return [*levels, *("+".join(c) for c in sorted(chosen, key=lambda c: (len(c), c)))]
