"""How answers are counted. In: predictions and labels of a `Task`. Out: its metrics, intervals and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lacuna.data.task import Task
from lacuna.evaluate import metrics

Bounds = dict[str, tuple[float, float] | None]  # the interval of each metric, None where it is undefined
LEAST_GROUP = 20  # answers whose share of wrong ones is told together


@dataclass(frozen=True)
class Judged(Task):
    """A task with the metrics that it is judged by."""

    @classmethod
    def by(cls, task: Task) -> Judged:
        return cls(**asdict(task))

    def scores(self, predictions: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        if self.classes:
            ece = metrics.calibration(predictions, labels)["ece"]
            return metrics.classification(predictions, labels) | {"ece": ece}
        return metrics.regression(predictions, labels, self.scale)

    def intervals(self, predictions: np.ndarray, labels: np.ndarray, draws: int) -> Bounds:
        if self.classes:
            return metrics.classification_intervals(predictions, labels, draws)
        return metrics.regression_intervals(predictions, labels, self.scale, draws)

    def calibration(self, outputs: Sequence[dict[str, np.ndarray]], labels: np.ndarray) -> dict[str, object]:
        """How far stated confidence can be trusted, over the outputs of several runs taken together: the reliability
        curve of probabilities, and errors against `uncertainty` where a model states one. Scores state neither."""
        if not self.classes:
            return {}
        told, known = np.concatenate([o["prediction"] for o in outputs]), np.tile(labels, len(outputs))
        result = {"reliability": metrics.calibration(told, known)["curve"]}
        if all("uncertainty" in o for o in outputs):
            doubts = np.concatenate([o["uncertainty"] for o in outputs])
            wrong, asked = told.argmax(1) != known, np.isfinite(known)
            groups = int(np.clip(asked.sum() // LEAST_GROUP, 2, 10))
            result["uncertainty"] = metrics.uncertainty_quality(doubts[asked], wrong[asked], groups)
        return result

    def majority(self, train: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        if self.classes:
            return metrics.baseline_classification(train, labels, self.classes)
        return metrics.baseline_regression(train, labels, self.scale)
