"""Who of several people speaks. In: tracks, and the clip's sound. Out: the track whose lips move with the sound."""

from __future__ import annotations

import numpy as np

from lacuna.extractors._openface import points
from lacuna.extractors._openface.tracks import Track
from lacuna.media import RATE

WINDOW = 0.1  # s of sound around a frame
BLOCK = 512  # frames at once
SMOOTHED = 0.3  # s: lips and loudness agree over syllables, not over single frames
_UPPER, _LOWER, _CORNERS = (61, 62, 63), (67, 66, 65), (60, 64)


def loudness(samples: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Log RMS of the sound (n,) at RATE Hz around each time (T,) s."""
    squares = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    low = np.clip(((times - WINDOW / 2) * RATE).astype(int), 0, len(samples))
    high = np.clip(((times + WINDOW / 2) * RATE).astype(int), 0, len(samples))
    return np.log10(np.sqrt((squares[high] - squares[low]) / np.maximum(high - low, 1)) + 1e-4)


def lip_motion(track: Track) -> np.ndarray:
    """How fast the mouth opens or closes in each frame (T,), mouth widths per second."""
    opening = np.concatenate([_opening(track.kept[i : i + BLOCK]) for i in range(0, len(track.kept), BLOCK)])
    return np.abs(np.gradient(opening, np.array(track.times)))


def _opening(kept: np.ndarray) -> np.ndarray:
    """Height of the open mouth over its width (T,)."""
    lips = points.landmarks(kept)[..., :2]
    opening = np.linalg.norm(lips[:, _UPPER] - lips[:, _LOWER], axis=-1).mean(axis=1)
    width = np.linalg.norm(lips[:, _CORNERS[0]] - lips[:, _CORNERS[1]], axis=-1)
    return opening / np.maximum(width, 1e-6)


def _smooth(signal: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Means over SMOOTHED s around each time."""
    low = np.searchsorted(times, times - SMOOTHED / 2)
    high = np.searchsorted(times, times + SMOOTHED / 2, side="right")
    sums = np.concatenate([[0.0], np.cumsum(signal)])
    return (sums[high] - sums[low]) / (high - low)


def agreement(track: Track, samples: np.ndarray) -> float:
    """Correlation of lip motion with loudness, -1..1; 0 where either does not change or there are too few frames."""
    if len(track.frames) < 5:
        return 0.0
    times = np.array(track.times)
    moving, loud = _smooth(lip_motion(track), times), _smooth(loudness(samples, times), times)
    if moving.std() < 1e-6 or loud.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(moving, loud)[0, 1])


def active(tracks: list[Track], samples: np.ndarray | None) -> Track:
    """The track that agrees best with the sound, its length counting too; the largest where there is no sound."""
    if samples is None or not len(samples):
        return max(tracks, key=lambda track: track.area)
    longest = max(len(track.frames) for track in tracks)
    scores = [agreement(track, samples) * np.sqrt(len(track.frames) / longest) for track in tracks]
    best = max(scores)
    if best <= 0:
        return max(tracks, key=lambda track: track.area)
    return tracks[scores.index(best)]
