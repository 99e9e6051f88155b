"""Pickles for MMSA. In: processed/<dataset> and which pickle is wanted. Out: the file, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

from lacuna.data.samples import Sample, read_samples
from lacuna.export.pickle import Settings, Written, dump
from lacuna.mask.mask import Level, mask
from lacuna.mask.variants import places
from lacuna.params import Params, plugin
from lacuna.storage.features import FeatureFile, Origin

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
    params: Params, processed: Path, path: Path | None = None, variant: Variant | None = None, aligned: bool = False
) -> Iterator[str]:
    """Write one pickle (`mmsa/unaligned.pkl`, `aligned.pkl` or `incomplete/<variant>.pkl`), and tell what it holds."""
    settings = params.export.of(processed.name)
    path = path or _place(processed, variant, aligned)
    samples, origins, tokens = _read(processed, settings.tokens, settings.features, aligned)
    if variant:
        samples, tokens = _lossy(samples, origins, tokens, variant)
    source = _Tokens(tokens.origin, {s.clip.id: s.features["tokens"] for s in tokens.samples})
    plain = [replace(s, features={m: s.features[m] for m in origins}) for s in samples]
    written = dump(path, plain, source, origins, Settings(settings.lengths, aligned, variant is not None))
    yield from _told(path, written)


def can_export(params: Params, processed: Path) -> bool:
    """Whether the exported features hold sound or video; else there is nothing that MMSA's models could read."""
    for name in params.export.of(processed.name).features:
        with FeatureFile(processed / "features" / f"{name}.h5") as file:
            if file.origin.modality in ("audio", "vision") and file.lengths().any():
                return True
    return False


class _Tokens:
    """Token ids by clip id, as `mmsa.dump` reads them."""

    def __init__(self, origin: Origin, sequences: dict[str, object]) -> None:
        self.origin, self._sequences = origin, sequences

    def __getitem__(self, clip_id: str) -> object:
        return self._sequences[clip_id]


def _place(processed: Path, variant: Variant | None, aligned: bool) -> Path:
    if variant:
        return processed / "mmsa" / "incomplete" / f"{variant.name}{'-aligned' * aligned}.pkl"
    return processed / "mmsa" / ("aligned.pkl" if aligned else "unaligned.pkl")


def _read(
    processed: Path, tokens: str, features: list[str], aligned: bool
) -> tuple[list[Sample], dict[str, Origin], SimpleNamespace]:
    """Samples of the exported features, their origins, and the same clips with token ids only."""
    names = [f"{ALIGNED}{n}" if aligned and _is_aligned(processed, n) else n for n in features]
    samples, origins = read_samples(processed, names)
    with FeatureFile(processed / "features" / f"{tokens}.h5") as file:
        found = file.many([s.clip.id for s in samples])
        words = [Sample(s.clip, {"tokens": ids}) for s, ids in zip(samples, found)]
        return samples, origins, SimpleNamespace(origin=file.origin, samples=words)


def _is_aligned(processed: Path, name: str) -> bool:
    with FeatureFile(processed / "features" / f"{name}.h5") as file:
        return file.origin.modality != "text"


def _lossy(
    samples: list[Sample], origins: dict[str, Origin], tokens: SimpleNamespace, variant: Variant
) -> tuple[list[Sample], SimpleNamespace]:
    """Samples and tokens as a variant leaves them: a word's id and its embedding are lost together."""
    pattern = plugin("patterns", variant.pattern)
    where, words = places(samples, origins), []
    for sample in tokens.samples:
        # Masks are drawn by modality: the ids are text, as their embeddings are.
        as_text = replace(sample, features={"text": sample.features["tokens"]})
        lost = mask(as_text, pattern, variant.level, variant.seed, 0, where[sample.clip.id])
        words.append(replace(sample, features={"tokens": lost.features["text"]}))
    lossy = [mask(s, pattern, variant.level, variant.seed, 0, where[s.clip.id]) for s in samples]
    return lossy, SimpleNamespace(origin=tokens.origin, samples=words)


def _told(path: Path, written: Written) -> Iterator[str]:
    clips = ", ".join(f"{count} {split}" for split, count in written.clips.items())
    lengths = ", ".join(f"{kind} {length}" for kind, length in written.lengths.items())
    cuts = ", ".join(f"{count} of {kind}" for kind, count in written.cuts.items() if count) or "none"
    yield f"{path}: {clips} clips; frames kept: {lengths}; cut: {cuts}"
    yield from (f"{path}: note: {note}" for note in written.notes)
