"""Scores corrected by the share that was lost, and intervals that hold what they promise. In: answers on validation.

Out: the same answers on test, moved toward validation's mean as more is lost; how often a stated variance covers the
truth, as it is and scaled on validation (split conformal prediction).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from lacuna.types import MalformedInput

How = Literal["none", "shift", "shrink", "both"]
NOMINAL = (0.5, 0.8, 0.9, 0.95)  # coverage that intervals promise
SHARES = np.linspace(0, 1, 41)  # tried for classes


@dataclass(frozen=True)
class Answers:
    """(N,) scores or (N, K) probabilities, the share (N,) of the input that was kept, (N,) labels (NaN where unknown),
    and the (N,) variances that the model states, if it does."""

    prediction: np.ndarray
    kept: np.ndarray
    labels: np.ndarray
    variance: np.ndarray | None = None

    @property
    def deviation(self) -> np.ndarray:
        """The root of the stated variances."""
        if self.variance is None:
            raise MalformedInput("answers: expected variances, the model states none")
        return np.sqrt(self.variance)

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        """All of them, of clips with a label."""
        told, kept, labels = (np.concatenate([getattr(p, n) for p in parts]) for n in ("prediction", "kept", "labels"))
        known, stated = np.isfinite(labels), [p.variance for p in parts if p.variance is not None]
        variance = np.concatenate(stated)[known] if stated else None
        return cls(told[known], kept[known], labels[known], variance)


@dataclass(frozen=True)
class Correction:
    """With k the share kept: p + (1 - k) (shift + shrink (center - p)); of classes (1 - k) shrink goes to the shares of
    the classes on validation, `center`."""

    shift: float
    shrink: float
    center: tuple[float, ...]

    def __call__(self, prediction: np.ndarray, kept: np.ndarray) -> np.ndarray:
        lost = 1 - kept
        if prediction.ndim == 2:
            weight = (lost * self.shrink)[:, None]
            return (1 - weight) * prediction + weight * np.array(self.center)
        return prediction + lost * (self.shift + self.shrink * (self.center[0] - prediction))


def fit(how: How, told: Answers) -> Correction:
    """The correction that is best on these answers: least squares of scores, cross-entropy of classes."""
    if told.prediction.ndim == 2:
        return _fit_classes(how, told)
    center, lost = float(told.labels.mean()), 1 - told.kept
    columns = {"shift": lost, "shrink": lost * (center - told.prediction)}
    names = [name for name in columns if how in (name, "both")]
    found = dict.fromkeys(columns, 0.0)
    if names and lost.any():
        matrix = np.stack([columns[name] for name in names], 1)
        # Both within the bounds at once: where answers hardly differ, a shrink cut afterwards leaves a wild shift.
        low = [0.0 if name == "shrink" else -np.inf for name in names]
        high = [1.0 if name == "shrink" else np.inf for name in names]
        solved = scipy.optimize.lsq_linear(matrix, told.labels - told.prediction, (low, high))
        found |= dict(zip(names, solved.x.tolist()))
    return Correction(found["shift"], found["shrink"], (center,))


def _fit_classes(how: How, told: Answers) -> Correction:
    classes = told.labels.astype(int)
    center = np.bincount(classes, minlength=told.prediction.shape[1]) / len(classes)
    tried = [Correction(0.0, share, tuple(center.tolist())) for share in SHARES]
    if how in ("none", "shift"):  # probabilities have no shift
        return tried[0]
    return min(tried, key=lambda c: _entropy(c(told.prediction, told.kept), classes))


def _entropy(probabilities: np.ndarray, classes: np.ndarray) -> float:
    return float(-np.log(probabilities[np.arange(len(classes)), classes].clip(1e-6)).mean())


def quantiles(told: Answers) -> dict[float, float]:
    """For each nominal coverage the number of stated deviations that holds it on these answers (Vovk et al., 2005)."""
    ratio = np.sort(np.abs(told.prediction - told.labels) / told.deviation)
    places = [int(np.ceil((len(ratio) + 1) * level)) - 1 for level in NOMINAL]
    return {level: float(ratio[min(place, len(ratio) - 1)]) for level, place in zip(NOMINAL, places)}


def coverage(told: Answers, scaled: dict[float, float]) -> dict[str, dict[str, float]]:
    """By nominal coverage: the share of labels that the stated variance covers as a Gaussian's (`stated`), and scaled
    on validation (`calibrated`), with the mean width of the latter."""
    known = Answers.joined([told])
    error, deviation = np.abs(known.prediction - known.labels), known.deviation
    return {
        str(level): {
            "stated": float((error <= scipy.special.ndtri((1 + level) / 2) * deviation).mean()),
            "calibrated": float((error <= scaled[level] * deviation).mean()),
            "width": float(2 * scaled[level] * deviation.mean()),
        }
        for level in NOMINAL
    }
