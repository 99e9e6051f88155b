"""The face cut out upright and masked. In: frames, landmarks, fitted poses. Out: (T, 112, 112, 3) uint8 pictures.

A similarity brings the landmarks that hardly move onto the mean shape; the model's origin lands in the middle. Outside
the triangles between the landmarks everything is black: the predictors learned with that rim.
"""

from __future__ import annotations

import cv2
import numpy as np

from lacuna.extractors._openface.predictors.shape import Pose

SIDE = 112  # px
SIZE = 0.7  # px per mm of the mean shape
RIGID = (1, 2, 3, 4, 12, 13, 14, 15, 27, 28, 29, 31, 32, 33, 34, 35, 36, 39, 40, 41, 42, 45, 46, 47)
RAISED = (0, 16, *range(17, 27))  # of the mask's corners, to show the forehead
RAISE = 30.0  # px
_DOUBT = 1e-3  # px: nearer to an edge than this, a pixel is tested again as OpenFace does


def warps(landmarks: np.ndarray, pose: Pose, mean: np.ndarray) -> np.ndarray:
    """(T, 2, 3) from px of the frame to px of the cut, for landmarks (T, 68, 2) and the mean shape (68, 3)."""
    source = landmarks[:, RIGID] - landmarks[:, RIGID].mean(axis=1, keepdims=True)
    target = SIZE * mean[list(RIGID), :2]
    target = target - target.mean(axis=0)
    # the turn that brings source onto target, and the ratio of both sets' sizes
    cosine = (source * target).sum(axis=(1, 2))
    sine = (source[..., 0] * target[:, 1] - source[..., 1] * target[:, 0]).sum(axis=1)
    scale = np.sqrt(np.square(target).sum() / np.square(source).sum(axis=(1, 2))) / np.hypot(sine, cosine)
    cosine, sine = scale * cosine, scale * sine
    turn = np.stack([np.stack([cosine, -sine], axis=-1), np.stack([sine, cosine], axis=-1)], axis=-2)
    shift = SIDE / 2 - turn @ pose.shift[..., None]
    return np.concatenate([turn, shift], axis=2)


def cut(image: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """One frame (H, W, 3) uint8 -> (112, 112, 3)."""
    return cv2.warpAffine(image, warp, (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def masks(landmarks: np.ndarray, warp: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(T, 112, 112) bool: pixels in or on any triangle (n, 3) of the landmarks (T, 68, 2), seen through warp."""
    corners = landmarks @ np.swapaxes(warp[..., :2], 1, 2) + warp[:, None, :, 2]
    corners[:, RAISED, 1] -= RAISE
    row, which, low, high = _spans(corners[:, triangles].reshape(-1, 3, 2))
    line = (which // len(triangles) * SIDE + row) * (SIDE + 1)  # where a row's steps into and out of triangles begin
    size = len(landmarks) * SIDE * (SIDE + 1)
    steps = np.bincount(line + low, minlength=size) - np.bincount(line + high + 1, minlength=size)
    return steps.reshape(-1, SIDE, SIDE + 1).cumsum(axis=2)[..., :SIDE] > 0


def _spans(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, triangle, first and last pixel of each row of pixels within triangles (n, 3, 2)."""
    first = np.clip(np.ceil(corners[..., 1].min(axis=1) - _DOUBT), 0, SIDE).astype(int)
    last = np.clip(np.floor(corners[..., 1].max(axis=1) + _DOUBT), -1, SIDE - 1).astype(int)
    rows = np.maximum(last - first + 1, 0)
    which = np.repeat(np.arange(len(corners)), rows)
    row = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(rows) - rows, rows)
    low, high = _between(corners[which], row)
    low = np.clip(np.ceil(low - _DOUBT), 0, SIDE).astype(int)
    high = np.clip(np.floor(high + _DOUBT), -1, SIDE - 1).astype(int)
    exact = corners.astype(np.float32)[which]
    low += ~_holds(exact, low, row)
    high -= ~_holds(exact, high, row)
    kept = low <= high
    return row[kept], which[kept], low[kept], high[kept]


def _between(corners: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a row of pixels (m,) enters and leaves its triangle (m, 3, 2)."""
    start, end = corners, np.roll(corners, -1, axis=1)
    rise = end[..., 1] - start[..., 1]
    share = (row[:, None] - start[..., 1]) / np.where(rise == 0, np.inf, rise)
    x = start[..., 0] + np.clip(share, 0, 1) * (end[..., 0] - start[..., 0])
    near = np.abs(share - 0.5) <= 0.5 + _DOUBT / np.maximum(np.abs(rise), 1e-9)
    near &= rise != 0
    return np.where(near, x, np.inf).min(axis=1), np.where(near, x, -np.inf).max(axis=1)


def _holds(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether pixels lie in or on triangles (m, 3, 2) float32: on no side's other side, in float32."""
    point = np.stack([x, y], axis=-1).astype(np.float32)
    found = np.ones(len(point), bool)
    for i in range(3):
        opposite, start, end = corners[:, i], corners[:, (i + 1) % 3], corners[:, (i + 2) % 3]
        found &= _cross(start, end, point) * _cross(start, end, opposite) >= 0
    return found


def _cross(start: np.ndarray, end: np.ndarray, point: np.ndarray) -> np.ndarray:
    side, away = end - start, point - start
    return side[:, 0] * away[:, 1] - away[:, 0] * side[:, 1]
