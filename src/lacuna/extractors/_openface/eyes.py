"""Eye landmarks and gaze. In: kept mesh points and the head's pose. Out: 56 landmarks in px and mm, gaze per eye.

Gaze as in OpenFace 2.2 (`GazeEstimation.cpp`): the eyeball is a sphere of 12 mm whose centre lies at a fixed offset, in
the head's frame, from the middle of the eye's corners; gaze points from that centre to where the ray through the pupil
meets the sphere. Eye 0 is the one on the image's left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lacuna.extractors._openface import points
from lacuna.extractors._openface.geometry import Camera

RADIUS = 12.0  # mm
# From the middle of an eye's corners to its eyeball's centre, mm: away from the nose, up, back. OpenFace has (0, 3.5,
# 7) for its own landmarks. Back: the centre of a ball of 13 mm (the lids are 1 mm thick) through the canonical face's
# lids. Outward and up: so that people who face the camera look, in the median, into it, and their eyes meet there.
OUTWARD, UPWARD, BACK = 1.6, 2.6, 8.0
_OFFSETS = np.array([[-OUTWARD, -UPWARD, BACK], [OUTWARD, -UPWARD, BACK]])
# OpenFace fits each eye by a model of its own, whose millimetres are shorter than the face model's: eyes lie nearer.
NEARER = 0.87
PUPIL = 0.4  # a pupil's radius in proportion to its iris: the mesh has no pupils (OpenFace's mean on real faces)
_IRIS_ANGLES = np.pi + np.arange(8) * np.pi / 4  # clockwise in the picture from its left
_PUPIL_ANGLES = np.radians(130) - np.arange(8) * np.pi / 4


@dataclass(frozen=True)
class Eyes:
    """pixels (T, 56, 2), places (T, 56, 3) mm, gaze (T, 2, 3) unit vectors, all in the camera's axes."""

    pixels: np.ndarray
    places: np.ndarray
    gaze: np.ndarray

    def angles(self) -> np.ndarray:
        """gaze_angle_x, gaze_angle_y (T, 2) rad: both eyes' mean direction, 0 toward the camera."""
        mean = self.gaze.mean(axis=1)
        return np.stack([np.arctan2(mean[:, 0], -mean[:, 2]), np.arctan2(mean[:, 1], -mean[:, 2])], axis=-1)


def _rings(iris: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Iris and pupil rings (T, 8, 2) px of centre, right, top, left and bottom points (T, 5, 2)."""
    centre = iris[:, :1]
    across, down = (iris[:, 1:2] - iris[:, 3:4]) / 2, (iris[:, 4:5] - iris[:, 2:3]) / 2

    def ring(angles: np.ndarray, share: float) -> np.ndarray:
        return centre + share * (np.cos(angles)[:, None] * across + np.sin(angles)[:, None] * down)

    return ring(_IRIS_ANGLES, 1.0), ring(_PUPIL_ANGLES, PUPIL)


def _onto_sphere(pixels: np.ndarray, centre: np.ndarray, camera: Camera) -> np.ndarray:
    """Where the rays through pixels (T, n, 2) first meet the eyeballs at centre (T, 3), or pass them."""
    rays = camera.place(pixels, np.ones(pixels.shape[:-1]))
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    along = (rays * centre[:, None]).sum(axis=-1)
    inside = along**2 - np.square(centre).sum(axis=-1)[:, None] + RADIUS**2
    return rays * (along - np.sqrt(np.maximum(inside, 0)))[..., None]


def measure_eyes(kept: np.ndarray, depth: np.ndarray, turn: np.ndarray, camera: Camera) -> Eyes:
    """kept (T, KEPT, 3) px; depth (T, KEPT) mm from the camera, of the face; turn (T, 3, 3) the head's rotation."""
    pixels, places, gaze = [], [], []
    for lids, irises, offset in zip(points.LIDS, points.IRISES, _OFFSETS):
        lid = points.landmarks(kept, lids)[..., :2]
        iris, pupil = _rings(points.landmarks(kept, irises)[..., :2])
        lid_place = camera.place(lid, NEARER * points.landmarks(depth[..., None], lids)[..., 0])
        centre = (lid_place[:, 0] + lid_place[:, 6]) / 2 + turn @ offset
        iris_place, pupil_place = _onto_sphere(iris, centre, camera), _onto_sphere(pupil, centre, camera)
        line = _onto_sphere(pupil.mean(axis=1, keepdims=True), centre, camera)[:, 0] - centre
        gaze.append(line / np.linalg.norm(line, axis=-1, keepdims=True))
        pixels += [iris, lid, pupil]
        places += [iris_place, lid_place, pupil_place]
    return Eyes(np.concatenate(pixels, axis=1), np.concatenate(places, axis=1), np.stack(gaze, axis=1))
