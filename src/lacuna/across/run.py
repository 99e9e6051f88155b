"""Models of one dataset judged on another's test split. In: checkpoints, the other's features, variants. Out: scores.

Both datasets need features of the same columns. What a model sees is scaled as in its own training: nothing of the
other dataset is fitted, and nothing is chosen on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lacuna.data.samples import Samples, polarity, read_samples
from lacuna.data.task import Task, class_names
from lacuna.evaluate.judged import Judged
from lacuna.evaluate.scores import Means
from lacuna.evaluate.under_loss import Run, over_rates, predict_variants, summary
from lacuna.mask.variants import Variants
from lacuna.params import checked
from lacuna.storage.features import Origin
from lacuna.storage.files import read_json, replacing
from lacuna.train import checkpoint
from lacuna.train.checkpoint import Card
from lacuna.train.trainer import choose_device
from lacuna.types import MalformedInput


@dataclass(frozen=True)
class Other:
    """The dataset that is judged on: its folder, the features to read, the range of its labels and the patterns."""

    folder: Path
    features: Sequence[str]
    label_range: tuple[float, float]
    patterns: Sequence[str]


@dataclass(frozen=True)
class Across:
    """What across/<model>.<other>.json holds: summaries by pattern, level and metric as in scores, and every run."""

    dataset: str
    judged_on: str
    model: str
    task: str
    clips: dict[str, int]  # by split of the dataset that was judged on
    patterns: dict[str, dict[str, Means]]
    over_rates: dict[str, Means]
    runs: list[dict[str, Any]]  # each `under_loss.Run`


def judge_across(folders: Sequence[Path], other: Other, device: str = "auto") -> Across:
    """Scores of checkpoints (one a seed) on the other dataset's test split, by pattern and level."""
    samples, origins = read_samples(other.folder, other.features)
    test = samples.of_split("test")
    if not np.isfinite(test.labels).any():
        raise MalformedInput(f"{other.folder.name}: expected labelled clips in the split test, got none")
    cards = [checkpoint.read_card(folder) for folder in folders]
    for card in cards:
        _check(card, other, origins)
    runs = [run for folder in folders for run in _runs(folder, test, other, device)]
    patterns = summary(runs)
    rates = {name: over_rates(levels) for name, levels in patterns.items()}
    card, model, clips = cards[0], folders[0].parent.name, {"test": len(test)}
    return Across(
        card.dataset, other.folder.name, model, card.task, clips, patterns, rates, [asdict(run) for run in runs]
    )


def _check(card: Card, other: Other, origins: dict[str, Origin]) -> None:
    """Refuse other columns than the model's own, and labels that mean something else."""
    checkpoint.check_features(card, origins)
    if card.task == "regression" and tuple(card.label_range) != tuple(other.label_range):
        raise MalformedInput(
            f"across.datasets: expected labels in {list(card.label_range)} as in {card.dataset}, "
            f"{other.folder.name} has {list(other.label_range)} (prepare.label_range)"
        )
    names = class_names(other.folder)
    if card.task == "class" and names != tuple(card.classes):
        raise MalformedInput(
            f"across.datasets: expected the classes of {card.dataset} ({', '.join(card.classes) or 'without names'}), "
            f"{other.folder.name} has others ({', '.join(names) or 'without names'})"
        )


def _runs(folder: Path, test: Samples, other: Other, device: str) -> Iterator[Run]:
    """One checkpoint under every pattern, level and mask seed of the other dataset."""
    network, card = checkpoint.load(folder)
    spec, scale = card.spec, checkpoint.scaler_of(card)
    seen = (test.relabelled(polarity) if card.task == "polarity" else test).scaled(scale)
    task = Task(card.task, ("sims" if card.label_range[1] <= 1 else "mosi") * (not spec.classes), spec.classes)
    for pattern in other.patterns:
        variants = Variants(other.folder / "variants" / f"{pattern}.h5")
        for level, seed, outputs in predict_variants(network, seen, spec, variants, choose_device(device)):
            yield Run(pattern, level, seed, card.seed, Judged.by(task).scores(outputs["prediction"], seen.labels))


def write_across(path: Path, scores: Across) -> None:
    """The record as JSON."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(asdict(scores), indent=1), encoding="utf-8")


def read_across(path: Path) -> Across:
    """The record in a file; MalformedInput where it holds something else."""
    record = read_json(path, "delete it and run `dvc repro across`")
    if not isinstance(record, dict) or "judged_on" not in record:
        raise MalformedInput(f"{path}: expected scores on another dataset, got other JSON")
    return checked(Across, record, str(path))
