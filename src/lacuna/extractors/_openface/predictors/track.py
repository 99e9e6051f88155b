"""A clip's action units by OpenFace's predictors. In: frames and landmarks, in order. Out: AU columns, shapes.

All frames of one person's clip go in, those without a face too: medians, offsets and averages run over frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from lacuna.extractors._openface.predictors import aligned, fhog
from lacuna.extractors._openface.predictors.files import Predictors, read
from lacuna.extractors._openface.predictors.history import History
from lacuna.extractors._openface.predictors.shape import Pose, ShapeFit
from lacuna.extractors._openface.predictors.units import AGAIN, Judge

BATCH = 32  # frames fitted and described at once

Looked = tuple[np.ndarray, np.ndarray | None]  # a frame (H, W, 3) uint8 RGB, and its landmarks (68, 2) px


@dataclass(frozen=True)
class Described:
    """Poses of n frames, and their descriptors (n, 4464 + 3 x 68 + M): FHOG, then geometry."""

    pose: Pose
    values: np.ndarray


class ActionUnits:
    """The predictors of one folder: `units(frames)`."""

    def __init__(self, folder: Path) -> None:
        self._video, self._photo = read(folder), read(folder, static=True)
        self.version = (self._video.sha256 + self._photo.sha256)[:16]

    def __call__(self, frames: Iterable[Looked], photo: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Group `aus` (T, 35) and p_scale, p_rx.. p_0.. (T, 6 + M), zeros in frames without a face.

        `photo`: the frame is a picture of its own, for which there are other predictors.
        """
        return _Clip(self._photo if photo else self._video, photo).of(frames)


class _Clip:
    """One clip as its frames come in."""

    def __init__(self, predictors: Predictors, photo: bool) -> None:
        self._describer, self._judge = Describer(predictors), Judge(predictors.all, photo)
        self._history = History(fhog.WIDTH, self._describer.geometry)
        self._values: list[np.ndarray] = []  # by frame with a face, less running medians from AGAIN on
        self._shapes: list[np.ndarray] = []
        self._seen: list[bool] = []

    def of(self, frames: Iterable[Looked]) -> tuple[np.ndarray, np.ndarray]:
        for batch in _batched(frames):
            self._take(batch)
        seen = np.array(self._seen, bool)
        values = np.zeros((len(seen), len(self._judge.predictors)))
        shapes = np.zeros((len(seen), self._describer.parameters), np.float32)
        if seen.any():
            values[seen], shapes[seen] = self._values, self._shapes
            again = np.flatnonzero(seen)[:AGAIN]
            values[again] -= self._judge.less(self._history.median)
        return self._judge.columns(values, seen), shapes

    def _take(self, batch: list[Looked]) -> None:
        there = [(image, landmarks) for image, landmarks in batch if landmarks is not None]
        if there:
            found = self._describer(*zip(*there))
            raw = self._judge.raw(found.values)
            self._shapes.extend(found.pose.columns().astype(np.float32))
        row = 0
        for _, landmarks in batch:
            self._seen.append(landmarks is not None)
            self._history.add(None if landmarks is None else found.values[row])
            if landmarks is not None:
                late = len(self._values) >= AGAIN
                self._values.append(raw[row] - self._judge.less(self._history.median) if late else raw[row])
                row += 1


class Describer:
    """Poses and descriptors of frames with faces: `describer(images, landmarks)`."""

    def __init__(self, predictors: Predictors) -> None:
        self._fit, self._mean, self._triangles = ShapeFit(predictors.shape), predictors.shape.mean, predictors.triangles
        modes = len(predictors.shape.modes)
        self.geometry, self.parameters = self._mean.size + modes, 6 + modes

    def __call__(self, images: Iterable[np.ndarray], landmarks: Iterable[np.ndarray]) -> Described:
        """Pictures (H, W, 3) uint8 RGB and the landmarks (68, 2) px of each."""
        points = np.stack(list(landmarks)).astype(np.float64)
        pose = self._fit(points)
        warps = aligned.warps(points, pose, self._mean)
        cuts = np.stack([aligned.cut(image, warp) for image, warp in zip(images, warps)])
        masked = cuts * aligned.masks(points, warps, self._triangles)[..., None]
        moved = np.swapaxes(self._fit.displaced(pose.shape), 1, 2).reshape(len(points), -1)
        return Described(pose, np.concatenate([fhog.describe(masked), moved, pose.shape], axis=1))


def _batched(frames: Iterable[Looked]) -> Iterator[list[Looked]]:
    frames = iter(frames)
    while batch := list(islice(frames, BATCH)):
        yield batch
