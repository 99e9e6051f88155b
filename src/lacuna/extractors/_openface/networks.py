"""Google's three face networks on LiteRT. In: RGB pictures and crops. Out: boxes, mesh points, blendshape scores.

What surrounds the networks follows MediaPipe's graphs (Apache-2.0: face_detector_graph.cc,
face_landmarks_detector_graph.cc, face_blendshapes_graph.cc): how a picture is brought to the network's size, the
anchors of the detector, and how its answers are decoded. One thread, so that equal pictures give equal bytes.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lacuna.extractors._openface.weights import Networks
from lacuna.types import MalformedInput

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

WIDER = 1.5  # a crop's side in proportion to the face's box
ALIKE = 0.5  # boxes that share this much (intersection over union) are one face
EYES = (33, 263)  # outer corners on the mesh: the crop is turned so that they lie level
SCORES = 52
# The mesh points that the blendshape network reads.
READ = np.array([
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81,
    82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154,
    155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263,
    267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321,
    323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387,
    388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
])  # fmt: skip


@dataclass(frozen=True)
class Crop:
    """A turned rectangle of a picture: its middle, width and height in px, its turn in rad (clockwise)."""

    x: float
    y: float
    width: float
    height: float
    turn: float

    @property
    def axes(self) -> np.ndarray:
        """(2, 2): its unit vectors to the right and down, as columns."""
        sine, cosine = np.sin(self.turn), np.cos(self.turn)
        return np.array([[cosine, -sine], [sine, cosine]])

    def overlap(self, other: Crop) -> float:
        """Intersection over union of both, as if they stood upright."""
        wide = min(self.x + self.width / 2, other.x + other.width / 2) - max(
            self.x - self.width / 2, other.x - other.width / 2
        )
        high = min(self.y + self.height / 2, other.y + other.height / 2) - max(
            self.y - self.height / 2, other.y - other.height / 2
        )
        both = max(wide, 0.0) * max(high, 0.0)
        return both / (self.width * self.height + other.width * other.height - both)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what C++ libraries print to stderr; shown after all when the block fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        shown = os.dup(2)
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            os.dup2(shown, 2)
            os.close(shown)
            if failed:
                held.seek(0)
                os.write(2, held.read())


class Network:
    """One network: its input is written in place, `network()` runs it and gives its outputs by name."""

    def __init__(self, content: bytes, name: str) -> None:
        with quiet():
            from ai_edge_litert.interpreter import Interpreter

            try:
                self._run: Interpreter = Interpreter(model_content=content, num_threads=1)
                self._run.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise MalformedInput(f"{name}: expected a TensorFlow Lite network: {error}") from error
        self._place = self._run.get_input_details()[0]["index"]
        self._found = {d["name"]: d["index"] for d in self._run.get_output_details()}

    def input(self) -> np.ndarray:
        """Its input, to be written in place and let go of before the network runs."""
        return self._run.tensor(self._place)()

    def __call__(self) -> dict[str, np.ndarray]:
        self._run.invoke()
        return {name: self._run.get_tensor(index) for name, index in self._found.items()}


class Detector:
    """BlazeFace, short range: `detector(image)` -> crops around faces, the surest first."""

    SIDE = 128
    STRIDES = ((8, 2), (16, 6))  # px, and anchors at each place

    def __init__(self, networks: Networks, min_confidence: float) -> None:
        self._network = Network(networks.detector, "face_detector")
        self._least = min_confidence

    def __call__(self, image: np.ndarray) -> list[Crop]:
        """image: (H, W, 3) uint8 RGB."""
        height, width = image.shape[:2]
        scale = self.SIDE / max(height, width)
        shift = (self.SIDE - np.array([width, height]) * scale) / 2
        view = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        small = cv2.warpAffine(image, view, (self.SIDE, self.SIDE), flags=cv2.INTER_LINEAR)
        np.multiply(small, np.float32(2 / 255), out=self._network.input()[0])
        self._network.input()[...] -= np.float32(1)
        found = self._network()
        scores = 1 / (1 + np.exp(-np.clip(found["classificators"][0, :, 0].astype(np.float64), -100, 100)))
        likely = np.flatnonzero(scores >= self._least)
        values = found["regressors"][0, likely].astype(np.float64)
        values[:, :2] += self._anchors()[likely]
        values[:, 4:] += np.tile(self._anchors()[likely], 6)
        return [self._crop(row, shift, scale) for row in _merged(values, scores[likely])]

    def _crop(self, values: np.ndarray, shift: np.ndarray, scale: float) -> Crop:
        (x, y), (width, height) = (values[:2] - shift) / scale, values[2:4] / scale
        across = values[6:8] - values[4:6]  # between the eyes
        return Crop(x, y, WIDER * width, WIDER * height, float(np.arctan2(across[1], across[0])))

    @classmethod
    @cache
    def _anchors(cls) -> np.ndarray:
        """(896, 2) px: where each answer counts from."""
        places = []
        for stride, count in cls.STRIDES:
            steps = (np.arange(cls.SIDE // stride) + 0.5) * stride
            x, y = np.meshgrid(steps, steps)
            places.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), count, axis=0))
        return np.concatenate(places)


def _merged(values: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """Overlapping answers (n, 16) as one, their mean by score: MediaPipe's weighted non-maximum suppression."""
    order, found = np.argsort(-scores, kind="stable"), []
    while len(order):
        alike = _overlaps(values[order[0]], values[order]) > ALIKE
        alike[0] = True
        group = order[alike]
        found.append(np.average(values[group], axis=0, weights=scores[group]))
        order = order[~alike]
    return found


def _overlaps(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Intersection over union of box (x, y, width, height, …) with boxes (n, …)."""
    low = np.maximum(one[:2] - one[2:4] / 2, many[:, :2] - many[:, 2:4] / 2)
    high = np.minimum(one[:2] + one[2:4] / 2, many[:, :2] + many[:, 2:4] / 2)
    both = np.prod(np.maximum(high - low, 0), axis=1)
    return both / (np.prod(one[2:4]) + np.prod(many[:, 2:4], axis=1) - both)


class Mesher:
    """478 points of the face in a crop: `mesher(image, crop)` -> (478, 3) px, and how surely there is a face."""

    SIDE = 256

    def __init__(self, networks: Networks) -> None:
        self._network = Network(networks.landmarks, "face_landmarks_detector")

    def __call__(self, image: np.ndarray, crop: Crop) -> tuple[np.ndarray, float]:
        """image: (H, W, 3) uint8 RGB. Depth in px too, toward the camera negative."""
        axes = crop.axes * (np.array([crop.width, crop.height]) / self.SIDE)
        corner = np.array([crop.x, crop.y]) - axes.sum(axis=1) * (self.SIDE / 2)
        view = np.concatenate([axes, corner[:, None]], axis=1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cut = cv2.warpAffine(image, view, (self.SIDE, self.SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        np.multiply(cut, np.float32(1 / 255), out=self._network.input()[0])
        found = self._network()
        points = found["Identity"].reshape(-1, 3).astype(np.float64)
        flat = points[:, :2] @ axes.T + corner
        depth = points[:, 2:] * (crop.width / self.SIDE)
        sure = 1 / (1 + np.exp(-float(found["Identity_1"].item())))
        return np.concatenate([flat, depth], axis=1), sure


def crop_of(points: np.ndarray) -> Crop:
    """The crop around mesh points (478, 3) px, for the next picture: a square, its eye corners level."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    (x, y), side = (low + high) / 2, WIDER * float((high - low).max())
    across = points[EYES[1], :2] - points[EYES[0], :2]
    return Crop(x, y, side, side, float(np.arctan2(across[1], across[0])))


class Blendshapes:
    """Scores of 52 movements of the face: `blendshapes(points)` -> (52,) float32, 0..1."""

    def __init__(self, networks: Networks) -> None:
        self._network = Network(networks.blendshapes, "face_blendshapes")

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """points: (478, 3) px."""
        self._network.input()[0] = points[READ, :2]
        return next(iter(self._network().values())).copy()
