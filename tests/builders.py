"""Hand-made clips, sequences and samples for tests: small, seeded, with a signal that models can learn."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from lacuna.data.samples import Sample, Samples
from lacuna.mask.mask import Level
from lacuna.mask.variants import Grid, counted, write_variants
from lacuna.types import TOKEN_COLUMNS, Clip, FeatureSequence

WIDTHS = {"text": 6, "audio": 4, "vision": 5}


def sequence(values: np.ndarray, seen: np.ndarray | None = None, prefix: str = "c") -> FeatureSequence:
    frames, width = values.shape
    columns = tuple(f"{prefix}{i}" for i in range(width))
    seen = np.ones(frames, bool) if seen is None else seen
    return FeatureSequence(values.astype(np.float32), np.arange(frames) / 25, seen, columns)


def tokens(*ids: int) -> FeatureSequence:
    values = np.stack([np.array(ids), np.ones(len(ids), int), np.zeros(len(ids), int)], 1).astype(np.int64)
    return FeatureSequence(values, np.arange(len(ids), dtype=float), np.ones(len(ids), bool), TOKEN_COLUMNS)


def clip(index: int, split: str = "train", label: float = 0.0, **changes: object) -> Clip:
    return Clip(**{"id": f"v$_${index}", "dataset": "made", "split": split, "labels": {"M": label}} | changes)


def samples(count: int, split: str = "train", seed: int = 0, widths: dict[str, int] = WIDTHS) -> list[Sample]:
    """Samples whose first column of each modality carries the label, with noise."""
    rng = np.random.default_rng([seed, count])
    made = []
    for i in range(count):
        label = float(rng.uniform(-3, 3))
        features = {}
        for modality, width in widths.items():
            frames = int(rng.integers(3, 9))
            values = rng.normal(size=(frames, width)) * 0.3
            values[:, 0] += label
            features[modality] = sequence(values, prefix=f"{modality}_")
        made.append(Sample(clip(i, split, label, id=f"{split}$_${i}"), features))
    return made


def variants_file(
    path: Path, made: Sequence[Sample], pattern: ModuleType, levels: Sequence[Level], seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Masks of these samples at `path`; the shares that are lost."""
    read = Samples.of(made)
    return write_variants(path, read.clips, counted(read), Grid(pattern, levels, seeds))


def stage(name: str, *words: str) -> None:
    """Run a stage's script in this process, as DVC does in one of its own."""
    argv, sys.argv = sys.argv, [f"pipeline/{name}.py", *words]
    try:
        runpy.run_path(str(Path(__file__).parents[1] / "pipeline" / f"{name}.py"), run_name="__main__")
    finally:
        sys.argv = argv
