"""The head's pose by perspective-n-point, for many frames at once. In: steady points in pixels. Out: R and T.

A similarity to the canonical face (which uses the mesh's own depth) gives the start, Gauss-Newton steps on the
reprojection error of the perspective camera the end. The canonical face is 89 mm wide between the outer eye corners,
as OpenFace's mean shape is, so distances come out alike.
"""

from __future__ import annotations

import numpy as np

from lacuna.extractors._openface.geometry import Camera, cross_matrix, similarity, turn_by

STEPS = 5


def head_pose(model: np.ndarray, seen: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (T, 3, 3) and translation (T, 3) mm of the head.

    model: (n, 3) mm, the same points of the canonical face; seen: (T, n, 3) px, depth in px too.
    """
    scale, turn, shift = similarity(model, seen)
    move = camera.place(shift[:, :2], camera.focal / scale)
    for _ in range(STEPS):
        turn, move = _step(model, seen[..., :2], camera, turn, move)
    return turn, move


def _step(
    model: np.ndarray, seen: np.ndarray, camera: Camera, turn: np.ndarray, move: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One Gauss-Newton step: rotation by a small vector on the left, and a shift."""
    turned = model @ np.swapaxes(turn, -1, -2)  # (T, n, 3)
    placed = turned + move[:, None]
    depth = np.maximum(placed[..., 2], 1.0)  # a face never stands behind the camera
    error = seen - camera.project(np.concatenate([placed[..., :2], depth[..., None]], axis=-1))
    by_place = np.zeros((*depth.shape, 2, 3))  # d pixel / d place
    by_place[..., 0, 0] = by_place[..., 1, 1] = camera.focal / depth
    by_place[..., :, 2] = -camera.focal * placed[..., :2] / depth[..., None] ** 2
    slope = np.concatenate([by_place @ -cross_matrix(turned), by_place], axis=-1)  # (T, n, 2, 6)
    slope = slope.reshape(len(slope), -1, 6)
    across = np.swapaxes(slope, -1, -2)
    change = np.linalg.solve(across @ slope, across @ error.reshape(len(error), -1, 1))[..., 0]
    return turn_by(change[:, :3]) @ turn, move + change[:, 3:]
