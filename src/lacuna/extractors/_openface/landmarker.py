"""Faces of a clip, found once and followed. In: RGB pictures of one clip in order. Out: kept points, and 52 scores.

A face of the last picture is looked for where it was; the detector runs where one was lost, and every `AGAIN` s while
there may be more. Results depend on the frames of the same clip alone: `start` before each clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lacuna.extractors._openface.networks import ALIKE, Blendshapes, Crop, Detector, Mesher, crop_of
from lacuna.extractors._openface.points import KEPT
from lacuna.extractors._openface.weights import networks

AGAIN = 0.5  # s between two looks for faces that were not there
SCORED = 0.06  # s between two scorings: faces move slowly beside 25 frames/s, and scores are a tenth of the cost
_KEPT = np.array(KEPT)


@dataclass(frozen=True)
class Face:
    """One face in one frame: kept points (KEPT, 3) float32 px, and blendshape scores (52,) where it was scored."""

    kept: np.ndarray
    scores: np.ndarray | None = None

    @cached_property
    def size(self) -> float:
        """Mean of its width and height, px."""
        width, height = (self.kept[:, :2].max(axis=0) - self.kept[:, :2].min(axis=0)).tolist()
        return (width + height) / 2

    @cached_property
    def middle(self) -> tuple[float, float]:
        """Where it is, px."""
        x, y = self.kept[:, :2].mean(axis=0).tolist()
        return x, y


class Landmarker:
    """`landmarker(image, time) -> [Face]`."""

    def __init__(
        self, task: str | None = None, max_faces: int = 4, min_confidence: float = 0.5, scored: bool = True
    ) -> None:
        found = networks(task)
        self.version = found.sha256[:16]
        self._detect, self._mesh = Detector(found, min_confidence), Mesher(found)
        self._score = Blendshapes(found) if scored else None
        self._most, self._least = max_faces, min_confidence
        self.start()

    def start(self) -> None:
        """Forget the last clip."""
        self._crops: list[Crop] = []
        self._looked = self._scored = -np.inf  # s: when the detector and the scores last ran

    def __call__(self, image: np.ndarray, time: float) -> list[Face]:
        """Faces of an RGB picture (H, W, 3) uint8 shown at `time` s; a face keeps its place in the list."""
        found = self._meshes(image, self._crops, [])
        lost = len(found) < len(self._crops) or not found
        looks = lost or (len(found) < self._most and time >= self._looked + AGAIN - 1e-6)
        if looks:
            self._looked = time
            found = self._meshes(image, self._new(image, found), found)
        scores = looks or time >= self._scored + SCORED - 1e-6  # a new face is scored at once
        if scores:
            self._scored = time
        self._crops = [crop_of(points) for points in found]
        return [Face(points[_KEPT].astype(np.float32), self._scores(points, scores)) for points in found]

    def _scores(self, points: np.ndarray, wanted: bool) -> np.ndarray | None:
        return self._score(points) if wanted and self._score is not None else None

    def points(self, image: np.ndarray) -> list[np.ndarray]:
        """All 478 points (478, 3) px of each face of one picture."""
        return self._meshes(image, self._new(image, []), [])

    def _new(self, image: np.ndarray, found: list[np.ndarray]) -> list[Crop]:
        """Crops around faces that are not among those found: from their points, as in the pictures that follow."""
        known = [crop_of(points) for points in found]
        crops = [c for c in self._detect(image) if all(c.overlap(k) < ALIKE for k in known)]
        return [crop_of(points) for points in self._meshes(image, crops[: self._most - len(found)], [])]

    def _meshes(self, image: np.ndarray, crops: list[Crop], found: list[np.ndarray]) -> list[np.ndarray]:
        """The points (478, 3) of `found` and of each crop that holds a face, each face once."""
        found = list(found)
        for crop in crops:
            points, sure = self._mesh(image, crop)
            if sure >= self._least and all(crop_of(points).overlap(crop_of(other)) < ALIKE for other in found):
                found.append(points)
        return found
