"""The head's pose, for many frames at once. In: steady points of the mesh in pixels. Out: rotation and translation.

Perspective-n-point in two linear steps. The mesh's own depth settles the rotation: its points are brought onto the
canonical face by a similarity, whose turn is then seen along the head's line of sight. (From x and y alone, a nose a
little longer than the canonical one reads as a nod of several degrees.) The translation is the one with which the
turned canonical face projects onto the points. That face is 89 mm wide between the outer eye corners, as the faces in
OpenFace's output are, so distances come out alike.
"""

from __future__ import annotations

import numpy as np

from lacuna.extractors._openface.geometry import Camera, looking_along, similarity


def head_pose(model: np.ndarray, seen: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (T, 3, 3) and translation (T, 3) mm of the head.

    model: (n, 3) mm, points of the canonical face; seen: (T, n, 3) the same points in px, depth in px from anywhere.
    """
    scale, turn, shift = similarity(model, seen)
    sight = camera.place(shift[:, :2], camera.focal / scale)
    sight /= np.linalg.norm(sight, axis=-1, keepdims=True)
    turn = np.swapaxes(looking_along(sight), -1, -2) @ turn
    return turn, _translation(model @ np.swapaxes(turn, -1, -2), seen[..., :2], camera)


def _translation(turned: np.ndarray, seen: np.ndarray, camera: Camera) -> np.ndarray:
    """Least-squares t (T, 3) of f (X + t_x) = (x - c_x) (Z + t_z), and the same for y, over turned points (T, n, 3)."""
    rays = (seen - [camera.cx, camera.cy]) / camera.focal  # (T, n, 2)
    rows = np.zeros((*rays.shape, 3))
    rows[..., 0, 0] = rows[..., 1, 1] = 1.0
    rows[..., 2] = -rays
    target = rays * turned[..., 2:] - turned[..., :2]
    rows, target = rows.reshape(len(rows), -1, 3), target.reshape(len(target), -1, 1)
    across = np.swapaxes(rows, -1, -2)
    return np.linalg.solve(across @ rows, across @ target)[..., 0]
