"""The shape model fitted to landmarks. In: 68 points in px. Out: scale, rotation, place and shape, for many frames.

    x, y = s R(r)[:2] (mean + sum_k p_k mode_k) + (tx, ty)

Regularised Gauss-Newton as in OpenFace (`PDM::CalcParams`), each frame from nothing: the same steps of .75, the same
rule to stop, so that the same landmarks give the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lacuna.extractors._openface.geometry import angles
from lacuna.extractors._openface.predictors.files import Shape

STEP = 0.75
PASSES = 1000
SLOW = 0.999  # a pass that leaves more than this of the error counts as one without progress
STOP = 3  # passes without progress
_RIGID = 6


@dataclass(frozen=True)
class Pose:
    """scale (T,), turn (T, 3, 3), shift (T, 2) px and shape (T, M) of T frames."""

    scale: np.ndarray
    turn: np.ndarray
    shift: np.ndarray
    shape: np.ndarray

    def columns(self) -> np.ndarray:
        """p_scale, p_rx.., p_tx.., p_0.. (T, 6 + M)."""
        return np.concatenate([self.scale[:, None], angles(self.turn), self.shift, self.shape], axis=1)


class ShapeFit:
    """`fit(landmarks)` with one model."""

    def __init__(self, model: Shape) -> None:
        self._model, self._count = model, len(model.modes)
        flat = model.modes.transpose(2, 0, 1)  # (3, M, 68)
        self._products = np.einsum("aip,bjp->abij", flat, flat).reshape(9, -1)
        self._prior = np.concatenate([np.zeros(_RIGID), 1 / model.variances])
        self._modes = model.modes.reshape(self._count, -1)

    def displaced(self, shape: np.ndarray) -> np.ndarray:
        """What the modes add to the mean (T, 68, 3) for shapes (T, M)."""
        return (shape @ self._modes).reshape(len(shape), -1, 3)

    def __call__(self, landmarks: np.ndarray) -> Pose:
        """landmarks: (T, 68, 2) px."""
        pose = self._start(landmarks)
        error = self._error(landmarks, pose, self._points(pose))
        strikes, active = np.zeros(len(landmarks), int), np.arange(len(landmarks))
        for _ in range(PASSES):
            if not len(active):
                break
            now = _at(pose, active)
            points = self._points(now)
            moved = self._moved(landmarks[active], now, points)
            after = self._error(landmarks[active], moved, points)  # the shape is that of before
            strikes[active] += SLOW * error[active] < after
            error[active] = after
            for kept, new in zip(vars(pose).values(), vars(moved).values()):
                kept[active] = new
            active = active[strikes[active] < STOP]
        return pose

    def _start(self, landmarks: np.ndarray) -> Pose:
        low, high = landmarks.min(axis=1), landmarks.max(axis=1)
        size = np.ptp(self._model.mean[:, :2], axis=0)
        count = len(landmarks)
        turn = np.tile(np.eye(3), (count, 1, 1))
        return Pose(((high - low) / size).mean(axis=1), turn, (low + high) / 2, np.zeros((count, self._count)))

    def _points(self, pose: Pose) -> np.ndarray:
        return self._model.mean + self.displaced(pose.shape)

    @staticmethod
    def _error(landmarks: np.ndarray, pose: Pose, points: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(_residual(landmarks, pose, points)).sum(axis=(1, 2)))

    def _moved(self, landmarks: np.ndarray, pose: Pose, points: np.ndarray) -> Pose:
        """One step of `STEP` toward the minimum."""
        view = pose.turn[:, :2]  # (T, 2, 3)
        rigid = _rigid_rows(pose, points)  # (T, 136, 6), rows by point, then x and y
        residual = _residual(landmarks, pose, points)
        scale, count = pose.scale[:, None, None], len(landmarks)
        across = np.swapaxes(view, 1, 2)
        shape = ((across @ view).reshape(-1, 9) @ self._products).reshape(count, self._count, self._count)
        # J^T of the modes with any (T, 68, 2) field f is scale * modes . (R^T f)
        fields = rigid.reshape(count, -1, 2, _RIGID).transpose(0, 3, 1, 2)
        mixed = (fields @ view[:, None]).reshape(count, _RIGID, -1) @ self._modes.T  # (T, 6, M)
        pull = (residual @ view).reshape(count, -1) @ self._modes.T
        normal = np.zeros((count, _RIGID + self._count, _RIGID + self._count))
        normal[:, :_RIGID, :_RIGID] = np.swapaxes(rigid, 1, 2) @ rigid
        normal[:, :_RIGID, _RIGID:] = scale * mixed
        normal[:, _RIGID:, :_RIGID] = np.swapaxes(scale * mixed, 1, 2)
        normal[:, _RIGID:, _RIGID:] = scale**2 * shape
        normal += np.diag(self._prior)
        target = (residual.reshape(count, 1, -1) @ rigid)[:, 0]
        held = pose.scale[:, None] * pull - self._prior[_RIGID:] * pose.shape
        step = STEP * np.linalg.solve(normal, np.concatenate([target, held], axis=1)[..., None])[..., 0]
        return Pose(
            pose.scale + step[:, 0],
            pose.turn @ _nearest_turn(step[:, 1:4]),
            pose.shift + step[:, 4:6],
            pose.shape + step[:, _RIGID:],
        )


def _at(pose: Pose, frames: np.ndarray) -> Pose:
    return Pose(*(values[frames] for values in vars(pose).values()))


def _residual(landmarks: np.ndarray, pose: Pose, points: np.ndarray) -> np.ndarray:
    """landmarks - model (T, 68, 2)."""
    turned = points @ np.swapaxes(pose.turn[:, :2], 1, 2)
    return landmarks - pose.scale[:, None, None] * turned - pose.shift[:, None]


def _rigid_rows(pose: Pose, points: np.ndarray) -> np.ndarray:
    """Derivatives (T, 136, 6) by scale, a small turn about x, y, z, and the shift."""
    x, y, z = np.moveaxis(points, -1, 0)[..., None]  # (T, 68, 1)
    one, two, three = np.moveaxis(pose.turn[:, :2], -1, 0)[:, :, None]  # (T, 1, 2)
    scale = pose.scale[:, None, None]
    rows = np.zeros((*points.shape[:2], 2, _RIGID))
    rows[..., 0] = one * x + two * y + three * z
    rows[..., 1] = scale * (y * three - z * two)
    rows[..., 2] = scale * (z * one - x * three)
    rows[..., 3] = scale * (x * two - y * one)
    rows[..., 0, 4] = rows[..., 1, 5] = 1.0
    return rows.reshape(len(points), -1, _RIGID)


def _nearest_turn(small: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) nearest to 1 + [small]x for small turns (T, 3)."""
    a, b, c = small.T
    one = np.ones_like(a)
    rows = ((one, -c, b), (c, one, -a), (-b, a, one))
    u, _, vt = np.linalg.svd(np.stack([np.stack(row, axis=-1) for row in rows], axis=-2))
    u[..., :, 2] *= np.linalg.det(u @ vt)[:, None]
    return u @ vt
