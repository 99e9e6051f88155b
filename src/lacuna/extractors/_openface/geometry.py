"""Camera and rotations in OpenFace's conventions, for many frames at once. In, out: arrays with frames first.

Source: OpenFace 2.2, `RotationHelpers.h` and `ImageCapture.cpp` (the focal length where the camera is unknown).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """Focal length and centre in pixels."""

    focal: float
    cx: float
    cy: float

    @classmethod
    def of_picture(cls, width: int, height: int) -> Camera:
        """OpenFace's guess for an unknown camera: 500 px at 640 x 480, in proportion to the picture's size."""
        return cls(250.0 * (width / 640 + height / 480), width / 2, height / 2)

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) mm in the camera's frame -> (..., 2) px."""
        return points[..., :2] / points[..., 2:] * self.focal + [self.cx, self.cy]

    def place(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """(..., 2) px and their depth (...,) mm -> (..., 3) mm in the camera's frame."""
        flat = (pixels - [self.cx, self.cy]) / self.focal * depth[..., None]
        return np.concatenate([flat, depth[..., None]], axis=-1)


def rotation(angles: np.ndarray) -> np.ndarray:
    """Euler angles (..., 3) rad -> R = Rx Ry Rz (..., 3, 3)."""
    (s1, s2, s3), (c1, c2, c3) = np.moveaxis(np.sin(angles), -1, 0), np.moveaxis(np.cos(angles), -1, 0)
    rows = (
        (c2 * c3, -c2 * s3, s2),
        (c1 * s3 + c3 * s1 * s2, c1 * c3 - s1 * s2 * s3, -c2 * s1),
        (s1 * s3 - c1 * c3 * s2, c3 * s1 + c1 * s2 * s3, c1 * c2),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def angles(turns: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) -> Euler angles (..., 3) rad, the inverse of `rotation`."""
    yaw = np.arcsin(np.clip(turns[..., 0, 2], -1, 1))
    pitch = np.arctan2(-turns[..., 1, 2], turns[..., 2, 2])
    roll = np.arctan2(-turns[..., 0, 1], turns[..., 0, 0])
    return np.stack([pitch, yaw, roll], axis=-1)


def cross_matrix(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) -> (..., 3, 3) with `cross_matrix(a) @ b == cross(a, b)`."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def turn_by(vectors: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3) rad -> rotations (..., 3, 3) (Rodrigues)."""
    size = np.linalg.norm(vectors, axis=-1)[..., None, None]
    k = cross_matrix(vectors)
    safe = np.maximum(size, 1e-12)
    return np.eye(3) + np.sin(safe) / safe * k + (1 - np.cos(safe)) / safe**2 * (k @ k)


def looking_along(directions: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) that bring the unit directions (..., 3) onto the camera's axis by the shortest way."""
    axis = np.cross(directions, [0.0, 0.0, 1.0])
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, directions[..., 2:])
    return turn_by(axis / np.maximum(sine, 1e-12) * angle)


def similarity(model: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best scale (T,), rotation (T, 3, 3), shift (T, 3) with seen ~ scale * R @ model + shift (Umeyama 1991).

    model (n, 3) or (T, n, 3); seen (T, n, 3).
    """
    middle, target = model.mean(axis=-2, keepdims=True), seen.mean(axis=-2, keepdims=True)
    a, b = model - middle, seen - target
    u, values, vt = np.linalg.svd(np.swapaxes(b, -1, -2) @ a)
    values = values.copy()
    flip = np.sign(np.linalg.det(u @ vt))  # a mirror image is no rotation
    u[..., :, 2] *= flip[..., None]
    values[..., 2] *= flip
    turn = u @ vt
    scale = values.sum(axis=-1) / np.square(a).sum(axis=(-1, -2))
    shift = target[..., 0, :] - scale[..., None] * (turn @ np.swapaxes(middle, -1, -2))[..., 0]
    return scale, turn, shift
