"""Which checkpoint answers for which metric. In: a run's folder and the protocol. Out: `Choice`s; and what keeps them.

`validation`: one checkpoint, best on validation. `paper`, as much published code does: one a metric, best on the very
test clips that are reported on, so that its scores are too good. Those lie in `<run>/paper/<metric>/`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import nn

from lacuna.evaluate.judged import Judged
from lacuna.evaluate.metrics import lower_is_better
from lacuna.params import plugin
from lacuna.train import checkpoint
from lacuna.train.feed import Loss
from lacuna.train.plan import Plan
from lacuna.train.run import Fitting
from lacuna.train.trainer import Progress, predict
from lacuna.types import MalformedInput

PAPER = "paper"
Value = TypeVar("Value")
LEADING = frozenset({"mae", "accuracy"})  # the metric whose checkpoint's predictions are kept
MAIN = "main"  # the one of these that the task has, as a value of training.select


@dataclass(frozen=True)
class Choice:
    """A checkpoint and the metrics that it answers for; the one that leads also for all that no checkpoint is `taken`
    for (a correlation may be undefined in every epoch), and its predictions are kept."""

    folder: Path
    metrics: frozenset[str] = frozenset()
    taken: frozenset[str] = frozenset()
    leads: bool = True

    def part(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Of values by metric, those of this checkpoint."""
        return {k: v for k, v in values.items() if k in self.metrics or (self.leads and k not in self.taken)}


def choices(folder: Path, protocol: str) -> list[Choice]:
    """The checkpoints of a training run under a protocol; metrics that chose the same epoch share one."""
    if protocol != PAPER:
        return [Choice(folder)]
    epochs: dict[int, list[str]] = {}
    for path in sorted((folder / PAPER).glob("*/model.json")):
        epochs.setdefault(checkpoint.read_card(path.parent).best_epoch, []).append(path.parent.name)
    if not epochs:
        raise MalformedInput(
            f"{folder / PAPER}: expected checkpoints chosen on test, found none (run `dvc repro train`)"
        )
    taken = frozenset(name for names in epochs.values() for name in names)
    return [
        Choice(folder / PAPER / names[0], frozenset(names), taken, not LEADING.isdisjoint(names))
        for names in epochs.values()
    ]


class PaperKeeper:
    """After each epoch asks the test split, and keeps for each metric the weights that were best on it so far.

    Asked under the same kind of loss as in training, with masks that stay the same over epochs, as validation is.
    """

    def __init__(self, run: Fitting) -> None:
        self._folder, self._model, self._card, self._judged = run.kept, run.model, run.card, Judged.by(run.corpus.task)
        self._test, self._loss = run.corpus.splits["test"], run.loss

    def __call__(self, progress: Progress) -> None:
        device = next(self._model.parameters()).device
        told = predict(self._model, self._test, self._card.spec, device, loss=self._loss)["prediction"]
        for name, value in self._judged.scores(told, self._test.labels).items():
            if isinstance(value, float) and self._better(name, value):
                card = replace(self._card, best_epoch=progress.epoch, chosen_on_test={name: value})
                checkpoint.save(self._folder / name, self._model, card)

    def finish(self, folder: Path) -> None:
        """Move what was kept to `<folder>/paper`."""
        self._folder.mkdir(parents=True, exist_ok=True)  # no metric may have been defined in any epoch
        shutil.move(self._folder, _emptied(folder / PAPER))

    def _better(self, name: str, value: float) -> bool:
        """Whether no earlier epoch was as good; what a run that was killed had kept counts."""
        if not (self._folder / name / "model.json").is_file():
            return True
        best = checkpoint.read_card(self._folder / name).chosen_on_test[name]
        return value < best if lower_is_better(name) else value > best


class Selection:
    """Chooses the epoch by a metric of the validation split, a mean over the missing rates of `training.select_rates`.

    Masks stay the same over epochs, and are those of no training epoch.
    """

    def __init__(self, run: Fitting) -> None:
        told: Mapping[str, Any] = run.card.training
        self._judged = Judged.by(run.corpus.task)
        self._metric, self._rates = str(told["select"]), [float(rate) for rate in told["select_rates"]]
        self._pattern, self._seed = plugin("patterns", told["select_pattern"]), run.card.seed
        self._valid, self._spec = run.corpus.splits["valid"], run.card.spec
        self._labels = self._valid.labels
        shape = (len(self._labels), self._judged.classes) if self._judged.classes else len(self._labels)
        names = [
            name for name, v in self._judged.scores(np.ones(shape), self._labels).items() if not isinstance(v, list)
        ]
        if self._metric == MAIN:
            self._metric = next(name for name in names if name in LEADING)
        if self._metric not in names:
            expected = f"expected loss, {MAIN} or one of {', '.join(names)}"
            raise MalformedInput(f"training.select: {expected}; got {self._metric!r}")

    def measure(self, model: nn.Module) -> float:
        """The criterion, lower is better: the metric, or its negative where more is better; infinite if undefined."""
        values = [self._score(model, rate) for rate in self._rates]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return float("inf")
        return float(np.mean(known)) * (1 if lower_is_better(self._metric) else -1)

    def _score(self, model: nn.Module, rate: float) -> float | None:
        loss, device = Loss(self._pattern, rate, self._seed), next(model.parameters()).device
        told = predict(model, self._valid, self._spec, device, loss=loss)["prediction"]
        return self._judged.scores(told, self._labels)[self._metric]

    def __call__(self, progress: Progress) -> None:
        """Nothing is kept."""

    def finish(self, folder: Path) -> None:
        """Nothing is left."""


def observers_of(made: Plan) -> list[type]:
    """Who watches the training of a model."""
    chosen = [] if made.training.select == "loss" else [Selection]
    return [*chosen, *([PaperKeeper] if made.protocol == PAPER else [])]


def keep_none(folder: Path) -> None:
    """Under `validation` the place for what was chosen on test, an out of the stage, says why it is empty."""
    target = _emptied(folder / PAPER)
    target.mkdir(parents=True)
    (target / "none.txt").write_text("No checkpoint was chosen on the test split: train.protocol is validation.\n")


def _emptied(target: Path) -> Path:
    if target.is_dir():
        shutil.rmtree(target)
    return target
