"""The median of each number of a descriptor over a clip so far. In: descriptors, frame by frame. Out: their medians.

Every number has a histogram, so that a clip of any length takes the same memory. As in OpenFace (`FaceAnalyser`): only
odd frames are learned from, FHOG's medians are not below zero, and the first one is taken as it is.
"""

from __future__ import annotations

import numpy as np


class _Histograms:
    """`bins` bins from low to high for each of `width` numbers, and in which bin the median lies."""

    def __init__(self, width: int, low: float, high: float, bins: int) -> None:
        self._low, self._step = low, (high - low) / bins
        self._counts = np.zeros((width, bins), np.int32)
        self._each = np.arange(width)
        self._bin = np.zeros(width, int)
        self._below = np.zeros(width, int)  # how many lie in bins before the median's
        self._placed = False

    def add(self, values: np.ndarray) -> None:
        """Count values (width,)."""
        last = self._counts.shape[1] - 1
        place = np.clip((values - self._low) / self._step, 0, last).astype(int)
        self._counts[self._each, place] += 1
        self._below += place < self._bin

    def smallest(self, goal: int) -> np.ndarray:
        """The `goal`-th smallest value so far (width,), as the middle of its bin."""
        if not self._placed:
            self._placed = True
            for i, counts in enumerate(self._counts):
                sums = np.cumsum(counts)
                self._bin[i] = np.searchsorted(sums, goal)
                self._below[i] = sums[self._bin[i]] - counts[self._bin[i]]
        while len(high := np.flatnonzero(self._below >= max(goal, 1))):
            self._bin[high] -= 1
            self._below[high] -= self._counts[high, self._bin[high]]
        while len(low := np.flatnonzero(self._below + self._counts[self._each, self._bin] < goal)):
            self._below[low] += self._counts[low, self._bin[low]]
            self._bin[low] += 1
        return self._low + (self._bin + 0.5) * self._step


class History:
    """One person's: `history.add(descriptor)` with each frame; None where there was no face."""

    def __init__(self, fhog: int, geometry: int) -> None:
        self._fhog, self._width = fhog, fhog + geometry
        self._parts = _Histograms(fhog, -0.005, 1.0, 1000), _Histograms(geometry, -60.0, 60.0, 10000)
        self._frames = self._learned = 0
        self._first = np.zeros(self._width)

    def add(self, descriptor: np.ndarray | None) -> None:
        """The FHOG's and then the geometry's numbers of the next frame."""
        self._frames += 1
        if self._frames % 2 == 0:
            return
        if descriptor is not None:
            self._learned += 1
            for part, values in zip(self._parts, np.split(descriptor, [self._fhog])):
                part.add(values)
        if self._learned == 1:
            self._first = np.zeros(self._width) if descriptor is None else descriptor

    @property
    def median(self) -> np.ndarray:
        """(FHOG's and the geometry's width,): where nothing was learned, the histograms' first bins."""
        if self._learned == 1:
            return self._first
        fhog, geometry = (part.smallest((self._learned + 1) // 2) for part in self._parts)
        return np.concatenate([np.where(fhog < 0, 0, fhog), geometry])
