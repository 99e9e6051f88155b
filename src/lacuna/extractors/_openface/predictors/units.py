"""Predictions of a clip, and what OpenFace makes of them in the end. In: descriptors, medians. Out: AU*_r, AU*_c.

Predictors are linear, so that of each frame only its products with their weights are kept.
"""

from __future__ import annotations

import numpy as np

from lacuna.extractors._openface.columns import INTENSITIES, PRESENCES
from lacuna.extractors._openface.predictors.files import Predictor

AGAIN = 3000  # frames with a face that are predicted again with the medians of the whole clip
STRONGEST = 5.0
AROUND_R, AROUND_C = 1, 3  # frames to either side that are averaged


class Judge:
    """All predictors at once."""

    def __init__(self, predictors: tuple[Predictor, ...], static: bool = False) -> None:
        self.predictors, self._static = predictors, static
        self._weights = np.stack([p.weights for p in predictors], axis=1)  # (D, P)
        means = np.stack([p.mean for p in predictors])
        self._offset = np.array([p.bias for p in predictors]) - (means * self._weights.T).sum(axis=1)
        self._dynamic = np.array([p.dynamic for p in predictors])

    def raw(self, descriptors: np.ndarray) -> np.ndarray:
        """(T, D) -> (T, P), before medians are taken off."""
        return descriptors @ self._weights + self._offset

    def less(self, median: np.ndarray) -> np.ndarray:
        """(D,) -> (P,): what a median takes off."""
        return np.where(self._dynamic, median @ self._weights, 0.0)

    def columns(self, values: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Predictions (T, P) of a clip's frames, of which those with a face are `seen` (T,) -> group `aus` (T, 35)."""
        found = np.zeros((len(values), len(INTENSITIES) + len(PRESENCES)))
        for predictor, column in zip(self.predictors, values.T):
            if predictor.labels is None:
                if predictor.unit in INTENSITIES:
                    found[:, INTENSITIES.index(predictor.unit)] = self._intensity(predictor, column, seen)
            elif predictor.unit in PRESENCES:
                present = np.where(seen, np.where(column > 0, *predictor.labels), 0.0)
                found[:, len(INTENSITIES) + PRESENCES.index(predictor.unit)] = self._presence(present)
        return found

    def _intensity(self, predictor: Predictor, column: np.ndarray, seen: np.ndarray) -> np.ndarray:
        offset = 0.0
        if predictor.dynamic and predictor.cutoff != -1 and seen.any() and not self._static:
            ordered = np.sort(column[seen])
            offset = ordered[min(int(len(ordered) * predictor.cutoff), len(ordered) - 1)]
        held = np.where(seen, np.clip(column - offset, 0, STRONGEST), 0.0)
        return held if self._static else _averaged(held, AROUND_R)

    def _presence(self, present: np.ndarray) -> np.ndarray:
        if self._static:
            return present
        voted = _averaged(present, AROUND_C) >= 0.5
        return np.where(_inner(len(present), AROUND_C), voted, present)


def _inner(count: int, around: int) -> np.ndarray:
    """Which of `count` frames have `around` neighbours on either side."""
    place = np.arange(count)
    return (place >= around) & (place < count - around)


def _averaged(values: np.ndarray, around: int) -> np.ndarray:
    """Means over each frame and `around` on either side; the outermost stay as they are."""
    width = 2 * around + 1
    if len(values) < width:
        return values
    means = np.lib.stride_tricks.sliding_window_view(values, width).mean(axis=1)
    return np.concatenate([values[:around], means, values[len(values) - around :]])
