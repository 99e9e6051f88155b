"""Action units from all that is known of a face. In: movement, distances and blendshape scores. Out: columns.

Each unit is the mean of those sources that see it. The scores are absolute, so that what is held counts; the mesh's
movement and distances count from the clip's own rest.
"""

from __future__ import annotations

import numpy as np

from lacuna.extractors._openface.columns import INTENSITIES, PRESENCES
from lacuna.extractors._openface.motions import UNITS

PRESENT = 1.0  # AU*_c is 1 from this intensity on (FACS level A)
SMOOTHED = 0.1  # s over which intensities are averaged: at 25 frames/s three frames, as OpenFace does
_SOURCES = {
    1: "movement", 2: "movement", 4: "distance score", 5: "distance score", 6: "score", 7: "distance score",
    9: "distance", 10: "score", 12: "score", 14: "score", 15: "distance score", 17: "distance score",
    20: "distance score", 23: "movement distance score", 25: "distance score", 26: "distance score",
    28: "movement score", 45: "distance score",
}  # fmt: skip


def _shares(source: str) -> np.ndarray:
    """(18,): how much of each unit a source has."""
    named = [_SOURCES[unit].split() for unit in UNITS]
    return np.array([names.count(source) / len(names) for names in named])


_MOVEMENT, _DISTANCE, _SCORE = map(_shares, ("movement", "distance", "score"))


def mixed(movement: np.ndarray, distance: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Intensities (T, 18) of three sources as one."""
    return _MOVEMENT * movement + _DISTANCE * distance + _SCORE * score


def filled(found: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Intensities (T, 18), NaN in frames that were not scored, filled in between by time (T,) s."""
    scored = np.isfinite(found[:, 0])
    return np.stack([np.interp(times, times[scored], column[scored]) for column in found.T], axis=1)


def smoothed(found: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Means of intensities (T, 18) over SMOOTHED s around each time (T,) s."""
    low = np.searchsorted(times, times - SMOOTHED / 2)
    high = np.searchsorted(times, times + SMOOTHED / 2, side="right")
    sums = np.concatenate([np.zeros((1, found.shape[1])), np.cumsum(found, axis=0)])
    return (sums[high] - sums[low]) / (high - low)[:, None]


def columns_of(found: np.ndarray) -> np.ndarray:
    """Intensities of all units (T, 18) -> the columns of group `aus` (T, 35): 17 AU*_r, then 18 AU*_c."""
    place = {unit: i for i, unit in enumerate(UNITS)}
    strength = found[:, [place[unit] for unit in INTENSITIES]]
    present = found[:, [place[unit] for unit in PRESENCES]] >= PRESENT
    return np.concatenate([strength, present], axis=1)
