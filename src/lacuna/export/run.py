"""Pickles for MMSA. In: clips, features files and which pickle is wanted. Out: the file, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lacuna.data.samples import Again, Samples, open_samples
from lacuna.data.scaler import Scaler
from lacuna.data.stores import Filed, Store
from lacuna.export.pickle import Dump, Settings, Written
from lacuna.mask.after_loss import leaks, made_again
from lacuna.mask.mask import Level
from lacuna.mask.masked import Drawn, Encoded, Masked
from lacuna.mask.variants import places
from lacuna.params import plugin
from lacuna.storage.features import FeatureFile, Origin
from lacuna.storage.files import note_digest
from lacuna.storage.packed import pack
from lacuna.types import Clip

ALIGNED = "aligned_"  # what the align stage puts before an extractor's name


@dataclass(frozen=True)
class Variant:
    """One incomplete variant: a pattern's name, its level (a rate, or the modalities left) and the seed."""

    pattern: str
    level: Level
    seed: int

    @property
    def name(self) -> str:
        return f"{self.pattern}-{self.level}-{self.seed}"


def export_pickle(
    path: Path,
    clips: Sequence[Clip],
    files: Mapping[str, Path],
    tokens: Path,
    settings: Settings,
    variant: Variant | None = None,
) -> Iterator[str]:
    """Write one pickle of these features files, {extractor: path}, and of token ids; tell its size, then what it holds.

    A clip at a time is in memory, whatever the size.
    """
    samples, origins = open_samples(clips, files, needed=False)
    again, told = (made_again(origins, Scaler({}, {})), leaks(origins)) if variant else ({}, [])
    ids = pack(tokens)
    samples = Samples(clips, samples.stores | {"tokens": Filed(ids, [clip.id for clip in clips])})
    if variant:
        samples = _lossy(samples, origins, variant, again)
    dump = Dump(path, samples, origins | {"tokens": ids.origin}, replace(settings, notes=tuple(told)))
    yield f"{path}: {dump.size / 1e6:,.1f} MB"
    written = dump.write()
    note_digest(path)
    yield from _told(path, written)


def aligned_files(folder: Path, features: Sequence[str]) -> dict[str, Path]:
    """The features files of `folder` for an aligned pickle: audio and vision as stage align left them."""
    names = {name: name if _is_text(folder / f"{name}.h5") else f"{ALIGNED}{name}" for name in features}
    return {name: folder / f"{file}.h5" for name, file in names.items()}


def can_export(files: Sequence[Path]) -> bool:
    """Whether the exported features hold sound or video; else there is nothing that MMSA's models could read."""
    for path in files:
        with FeatureFile(path) as file:
            if file.origin.modality in ("audio", "vision") and file.lengths().any():
                return True
    return False


def place_of(folder: Path, variant: Variant | None, aligned: bool) -> Path:
    """Where a pickle goes: `unaligned.pkl`, `aligned.pkl` or `incomplete/<variant>.pkl`."""
    if variant:
        return folder / "incomplete" / f"{variant.name}{'-aligned' * aligned}.pkl"
    return folder / ("aligned.pkl" if aligned else "unaligned.pkl")


def _is_text(path: Path) -> bool:
    with FeatureFile(path) as file:
        return file.origin.modality == "text"


def _lossy(samples: Samples, origins: Mapping[str, Origin], variant: Variant, again: Mapping[str, Again]) -> Samples:
    """The samples as a variant leaves them. Masks are drawn by modality: token ids are text, as their embeddings are,
    so that a word's id and its embedding are lost together, and words before they are encoded."""
    pattern, stores = plugin("patterns", variant.pattern), dict[str, Store]()
    lengths = {m: store.lengths for m, store in samples.stores.items() if m != "tokens"}
    where = places(samples.clips, lengths, {m: origin.settings for m, origin in origins.items()})
    for kind, store in samples.stores.items():
        modality = "text" if kind == "tokens" else kind
        masked = Masked(store, samples.clips, modality, pattern, Drawn(variant.level, variant.seed), where)
        remade = kind in again and not hasattr(pattern, "spoil")
        stores[kind] = Encoded(masked, samples.clips, again[kind]) if remade else masked
    return Samples(samples.clips, stores)


def _told(path: Path, written: Written) -> Iterator[str]:
    clips = ", ".join(f"{count} {split}" for split, count in written.clips.items())
    lengths = ", ".join(f"{kind} {length}" for kind, length in written.lengths.items())
    cuts = ", ".join(f"{count} of {kind}" for kind, count in written.cuts.items() if count) or "none"
    yield f"{path}: clips: {clips}; frames kept: {lengths}; cut: {cuts}"
    yield from (f"{path}: note: {note}" for note in written.notes)
