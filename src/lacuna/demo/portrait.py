"""The face that acts the demo: NASA's portrait of Eileen Collins, public domain, as scikit-image ships it.

In: the picture and `landmarks.csv` (points of that picture, px, found once with MediaPipe's face mesh). Out: a crop to
warp, enlarged, the curves of lips and lids, and a mask of the backdrop, of which every speaker has another colour.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import skimage.data

LEFT, TOP, SIDE = 113, 0, 220  # the crop, px of the picture
SCALE = 2  # canvas px per picture px: a second warp then costs no sharpness
# Outline of hair, ears, neck and suit, px of the picture: what lies outside is backdrop.
OUTLINE = (
    (0, 512), (40, 238), (78, 222), (112, 206), (124, 178), (150, 152), (183, 147), (182, 133), (170, 126), (160, 110),
    (153, 92), (153, 66), (160, 52), (185, 36), (200, 22), (228, 15), (256, 18), (280, 32), (294, 50), (300, 80),
    (301, 100), (294, 120), (280, 132), (270, 138), (262, 150), (258, 173), (278, 183), (300, 210), (306, 234),
    (335, 250), (350, 290), (352, 512),
)  # fmt: skip


@dataclass(frozen=True)
class Opening:
    """A mouth or an eye: corners and the two edges between them, in px of the picture, over u in [-1, 1] across it."""

    centre: float
    half_width: float
    corners: tuple[float, float]  # y at u = -1 and u = 1
    upper: np.ndarray  # (3,) coefficients of the edge's distance from the corner line, see `edge`
    lower: np.ndarray

    def across(self, x: np.ndarray) -> np.ndarray:
        """u of picture columns, held at the corners outside."""
        return np.clip((x - self.centre) / self.half_width, -1, 1)

    def corner_line(self, u: np.ndarray) -> np.ndarray:
        """y of the straight line through both corners."""
        return sum(self.corners) / 2 + (self.corners[1] - self.corners[0]) / 2 * u

    def edge(self, coefficients: np.ndarray, u: np.ndarray) -> np.ndarray:
        """y of an edge: the corner line + (1 - u²)(a + b u + c u²), which meets it at both corners."""
        return self.corner_line(u) + _edge_basis(u) @ coefficients


def _edge_basis(u: np.ndarray) -> np.ndarray:
    return (1 - u**2)[:, None] * np.stack([np.ones_like(u), u, u**2], axis=1)


@cache
def landmarks() -> dict[str, np.ndarray]:
    """Points (n, 2) of each part of the face, px of the picture."""
    parts: dict[str, list[tuple[float, float]]] = {}
    with (Path(__file__).parent / "landmarks.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            parts.setdefault(row["part"], []).append((float(row["x"]), float(row["y"])))
    return {part: np.array(points) for part, points in parts.items()}


@cache
def opening(upper: str, lower: str) -> Opening:
    """The opening between two edges of `landmarks`, each listed from corner to corner."""
    above, below = landmarks()[upper], landmarks()[lower]
    (x0, y0), (x1, y1) = above[0], above[-1]
    bare = Opening((x0 + x1) / 2, (x1 - x0) / 2, (y0, y1), np.zeros(3), np.zeros(3))

    def fitted(points: np.ndarray) -> np.ndarray:
        u = bare.across(points[:, 0])
        return np.linalg.lstsq(_edge_basis(u), points[:, 1] - bare.corner_line(u), rcond=None)[0]

    return Opening(bare.centre, bare.half_width, bare.corners, fitted(above), fitted(below))


@cache
def canvas() -> np.ndarray:
    """The crop, (SIDE·SCALE, SIDE·SCALE, 3) uint8 RGB."""
    crop = skimage.data.astronaut()[TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    return cv2.resize(crop, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)


@cache
def backdrop() -> np.ndarray:
    """How much of each canvas pixel is backdrop, (SIDE·SCALE, SIDE·SCALE, 1) float32 in [0, 1], soft at the hair."""
    points = (np.array(OUTLINE) - (LEFT, TOP)) * SCALE
    mask = np.ones(canvas().shape[:2], np.float32)
    cv2.fillPoly(mask, [points.astype(np.int32)], 0.0)
    loose = cv2.dilate(mask, np.ones((7, 7), np.uint8))  # the outline is drawn a little loose
    return cv2.GaussianBlur(loose, (0, 0), 1.5 * SCALE)[..., None]


def dressed(backdrop_rgb: np.ndarray, light_rgb: np.ndarray) -> np.ndarray:
    """The canvas with its backdrop multiplied by one colour and all of it by another, (3,) gains about 1; uint8."""
    gains = light_rgb * (1 + backdrop() * (backdrop_rgb - 1))
    return np.clip(canvas() * gains, 0, 255).astype(np.uint8)
