"""Sample: a clip and its features by modality. In: clips.jsonl and features files. Out: samples, read when asked for.

`Samples` is a sequence of them over one store a modality: the packed features files, or sequences in memory.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from lacuna.data.heard import FILE as HEARD
from lacuna.data.heard import read_heard
from lacuna.data.scaler import Scaler
from lacuna.data.stores import Filed, Held, Part, Store
from lacuna.storage.features import NOTHING, FeatureFile, Origin
from lacuna.storage.files import check_digest, reading, replacing
from lacuna.storage.packed import pack
from lacuna.types import HIDDEN_COLUMN as HIDDEN_COLUMN  # the contract of tokens, for whoever reads samples
from lacuna.types import LOST_TOKEN as LOST_TOKEN
from lacuna.types import TAILED_COLUMN as TAILED_COLUMN
from lacuna.types import TOKEN_COLUMNS as TOKEN_COLUMNS
from lacuna.types import Clip, FeatureSequence, MalformedInput, counted
from lacuna.types import is_tokens as is_tokens
from lacuna.types import specials as specials

# Clips and which frames of each survive, (T,) bool -> their sequences, made of what was left.
Again = Callable[[Sequence[Clip], Sequence[np.ndarray]], list[FeatureSequence]]


@dataclass(frozen=True)
class Sample:
    """A clip and {modality: FeatureSequence}; a modality that the clip has not is a sequence without frames.

    `again` makes a modality's features anew after a loss, where what is lost would show through its neighbours;
    `others` are the samples of the same split that contradict this one (another class, another sign of the score).
    """

    clip: Clip
    features: dict[str, FeatureSequence]
    again: Mapping[str, Again] = field(default_factory=dict)
    others: Sequence[Sample] = field(default=(), repr=False, compare=False)


def write_clips(path: Path, clips: Iterable[Clip]) -> None:
    """One JSON object a line, in order; paths as given (relative to the working directory)."""
    with replacing(path, digest=True) as temporary, temporary.open("w", encoding="utf-8") as file:
        for clip in clips:
            record = asdict(clip) | {"path": None if clip.path is None else clip.path.as_posix()}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_clips(path: Path) -> list[Clip]:
    """The clips that `prepare` accepted; one that came without words has those that `transcribe` heard in it."""
    if not Path(path).is_file():
        raise MalformedInput(f"{path}: expected the clips of a dataset, found none (run `dvc repro prepare`)")
    path, remedy = Path(path), "delete it and run `dvc repro prepare`"
    check_digest(path, remedy)
    with reading(path, "a clip's record in each line", remedy), path.open(encoding="utf-8") as file:
        clips = [Clip(**_fields(json.loads(line))) for line in file]
    heard = read_heard(path.with_name(HEARD))
    return [replace(c, text=heard[c.id].text) if c.id in heard and not c.text.strip() else c for c in clips]


def _fields(record: dict[str, Any]) -> dict[str, Any]:
    """A clip's fields; of words that all clips share there is one in memory."""
    shared = {name: sys.intern(record[name]) for name in ("dataset", "split")}
    labels = {sys.intern(name): value for name, value in record["labels"].items()}
    return record | shared | {"labels": labels, "path": None if record["path"] is None else Path(record["path"])}


class Samples(Sequence[Sample]):
    """Samples that are read when they are asked for: clips, and a store of sequences for each modality.

    With a `scaler` sequences are scaled as they are read; `bonds` are what samples know beside their features.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        stores: Mapping[str, Store],
        scaler: Scaler | None = None,
        bonds: Bonds | None = None,
    ) -> None:
        self.clips, self.stores, self.scaler, self.bonds = tuple(clips), dict(stores), scaler, bonds or Bonds()

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Samples:
        """Itself, or samples that are in memory."""
        if isinstance(samples, Samples):
            return samples
        names = samples[0].features if samples else ()
        stores = {m: Held([s.features[m] for s in samples]) for m in names}
        return cls([s.clip for s in samples], stores, bonds=Bonds(samples[0].again) if samples else None)

    def __len__(self) -> int:
        return len(self.clips)

    @overload
    def __getitem__(self, chosen: int) -> Sample: ...

    @overload
    def __getitem__(self, chosen: slice) -> Samples: ...

    def __getitem__(self, chosen: int | slice) -> Sample | Samples:
        if isinstance(chosen, slice):
            return self.select(range(len(self))[chosen])
        chosen = range(len(self))[chosen]
        features, clip = {m: self.sequence(m, chosen) for m in self.stores}, self.clips[chosen]
        return Sample(clip, features, self.bonds.again, self.bonds.against(clip))

    def sequence(self, modality: str, place: int) -> FeatureSequence:
        """One modality of one sample, without reading the others."""
        read = self.stores[modality][place]
        return read if self.scaler is None else self.scaler(modality, read)

    def select(self, places: Sequence[int]) -> Samples:
        """Some of the samples, in this order; nothing is read or copied."""
        stores = {m: Part(store, places) for m, store in self.stores.items()}
        return Samples([self.clips[i] for i in places], stores, self.scaler, self.bonds)

    def of_split(self, split: str) -> Samples:
        """The samples of one split."""
        return self.select([i for i, clip in enumerate(self.clips) if clip.split == split])

    def scaled(self, scaler: Scaler | None) -> Samples:
        """The same samples under this scaler."""
        return Samples(self.clips, self.stores, scaler, self.bonds)

    def relabelled(self, label: Callable[[Clip], Clip]) -> Samples:
        """The same samples, their clips changed."""
        return Samples([label(clip) for clip in self.clips], self.stores, self.scaler, self.bonds)

    def bound(self, again: Mapping[str, Again], classes: int) -> Samples:
        """The same samples of one split, which know how to make features anew, and who contradicts them; `classes` is 0
        where labels are scores."""
        return Samples(self.clips, self.stores, self.scaler, Bonds(again, self, classes))

    @property
    def frames(self) -> np.ndarray:
        """(N,) int64: frames of all modalities together."""
        return sum((store.lengths for store in self.stores.values()), np.zeros(len(self), np.int64))

    @property
    def labels(self) -> np.ndarray:
        """(N,) multimodal labels, NaN where a clip has none."""
        return np.array([clip.label for clip in self.clips])


@dataclass(frozen=True)
class Bonds:
    """What the samples of a split know beside their features: see `Sample`."""

    again: Mapping[str, Again] = field(default_factory=dict)
    split: Samples | None = None
    classes: int = 0

    def against(self, clip: Clip) -> Sequence[Sample]:
        """The split's samples that contradict a clip, read when they are asked for."""
        if self.split is None or clip.label not in self._places:
            return ()
        return self.split.select(self._places[clip.label])

    @cached_property
    def _places(self) -> dict[float, list[int]]:
        """By label, the places of clips of another class; of scores, of another sign (0 contradicts nobody)."""
        labels = self.split.labels if self.split is not None else np.zeros(0)
        kinds = labels if self.classes else np.sign(labels)
        there = np.isfinite(kinds) if self.classes else np.isfinite(kinds) & (kinds != 0)
        own = {label: label if self.classes else np.sign(label) for label in set(labels[np.isfinite(labels)].tolist())}
        return {label: np.flatnonzero(there & (kinds != kind)).tolist() for label, kind in own.items()}


def read_samples(folder: Path, extractors: Sequence[str]) -> tuple[Samples, dict[str, Origin]]:
    """Samples of `processed/<dataset>` with one features file per modality, and {modality: Origin}."""
    return open_samples(
        read_clips(folder / "clips.jsonl"), {name: folder / "features" / f"{name}.h5" for name in extractors}
    )


def open_samples(
    clips: Sequence[Clip], files: Mapping[str, Path], needed: bool = True
) -> tuple[Samples, dict[str, Origin]]:
    """Samples over the features files of these extractors, which are packed first where they are not, and {modality:
    Origin}. Which modalities they have, and what is refused: see `has_frames`."""
    origins: dict[str, Origin] = {}
    stores: dict[str, Store] = {}
    ids = [clip.id for clip in clips]
    for extractor, path in files.items():
        with FeatureFile(path) as file:
            origin, there = file.origin, has_frames(file, len(clips), needed)
        modality = origin.modality
        if modality in origins:
            other = origins[modality].extractor
            raise MalformedInput(f"{extractor}: expected one extractor per modality, {other} is {modality} too")
        if there:
            origins[modality], stores[modality] = origin, Filed(pack(path), ids)
    return Samples(clips, stores), origins


def has_frames(file: FeatureFile, clips: int, needed: bool = True) -> bool:
    """Whether a dataset of so many clips has this modality; one that it cannot have (sound of still pictures, what
    given features lack) it has not. MalformedInput: one that it might have, that no clip has and that is `needed`;
    the first clip's reason is told."""
    if file.origin.columns == NOTHING or not (needed or file.lengths().any()):
        return False
    if needed and clips and not file.seen():
        raise MalformedInput(_why_empty(file.path, file.origin.modality, clips))
    return True


def _why_empty(path: Path, modality: str, clips: int) -> str:
    """What to say of a features file in which no clip has a frame."""
    rejects = path.with_suffix(".rejects.csv")
    reasons: list[str] = []
    if rejects.is_file():
        with rejects.open(encoding="utf-8-sig", newline="") as file:
            reasons = [row["reason"] for row in csv.DictReader(file) if row.get("reason")]
    first = f"; the first: {reasons[0]}" if reasons else ""
    return (
        f"{path}: expected {modality} of at least one of {counted(clips, 'clip')}, found none{first} (see "
        f"{rejects.name}: mend the settings of extract.{path.stem}, or leave {path.stem} out of train.features)"
    )


def polarity(clip: Clip) -> Clip:
    """Scores as the classes 0 negative, 1 neutral, 2 positive."""
    return replace(clip, labels={name: float(np.sign(value)) + 1 for name, value in clip.labels.items()})
