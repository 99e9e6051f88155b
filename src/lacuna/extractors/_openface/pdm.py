"""The point-distribution model: 68 landmarks as p_scale, p_rx..., p_tx..., p_0..33 and back.

    x, y = p_scale * (R(p_rx, p_ry, p_rz) (mean + sum_k p_k mode_k))[:2] + (p_tx, p_ty)

the weak-perspective form of OpenFace (Baltrušaitis et al. 2013). The rotation is the head's pose as seen along its own
line of sight; scale and shape then follow by linear least squares with the model's variances as prior. The modes are
ours (`tools/make_face_model.py`): the numbers p_0..33 mean something else than those of OpenFace's own model.
"""

from __future__ import annotations

from importlib import resources

import numpy as np

from lacuna.extractors._openface.geometry import angles, looking_along, rotation

NOISE = 0.25  # mm: how exactly the landmarks are taken; less trust gives smaller p_k


class ShapeModel:
    """The shipped model: mean (68, 3) mm, modes (34, 68, 3), variances (34,) mm^2."""

    def __init__(self) -> None:
        with resources.files(__package__).joinpath("pdm.npz").open("rb") as file, np.load(file) as arrays:
            self.mean = arrays["mean"].astype(np.float64)
            self.modes = arrays["modes"].astype(np.float64)
            self.variances = arrays["variances"]
        basis = np.concatenate([self.mean[None], self.modes])  # (35, 68, 3): the mean's weight is the scale
        self._basis = basis
        # products of the basis's coordinate axes: J^T J of any view is a mixture of these 9 tables
        self._products = np.einsum("ina,jnb->abij", basis, basis).reshape(9, -1)
        self._ridge = np.diag(np.concatenate([[0.0], NOISE**2 / self.variances]))

    def fit(self, landmarks: np.ndarray, turn: np.ndarray, move: np.ndarray) -> np.ndarray:
        """Parameters (T, 40) of landmarks (T, 68, 2) px of heads with pose turn (T, 3, 3), move (T, 3)."""
        direction = move / np.linalg.norm(move, axis=-1, keepdims=True)
        turn = looking_along(direction) @ turn
        shift = landmarks.mean(axis=1)  # the modes leave the middle where it is
        view = turn[:, :2]  # (T, 2, 3)
        views = (np.swapaxes(view, -1, -2) @ view).reshape(-1, 9)
        normal = (views @ self._products).reshape(len(view), *self._ridge.shape) + self._ridge
        lifted = (landmarks - shift[:, None]) @ view  # (T, 68, 3): J^T r = basis . R^T r
        pull = lifted.reshape(len(view), -1) @ self._basis.reshape(len(self._basis), -1).T
        weights = np.linalg.solve(normal, pull[..., None])[..., 0]
        scale = weights[:, :1]
        return np.concatenate([scale, angles(turn), shift, weights[:, 1:] / scale], axis=1)

    def rebuild(self, parameters: np.ndarray) -> np.ndarray:
        """Landmarks (T, 68, 2) px of parameters (T, 40)."""
        scale, turn, shift = parameters[:, :1, None], rotation(parameters[:, 1:4]), parameters[:, None, 4:6]
        shape = self.mean + np.tensordot(parameters[:, 6:], self.modes, axes=1)
        return scale * (shape @ np.swapaxes(turn, -1, -2))[..., :2] + shift
