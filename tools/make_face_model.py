"""Make the point-distribution model that the face extractor ships. In: the canonical face. Out: `_openface/pdm.npz`.

    python tools/make_face_model.py

There is no licence-free set of 68-point 3-D faces to run a PCA on, so the covariance of a face's points is written down
instead of measured: smooth random deformations of the canonical face (a Gaussian process, as in Lüthi et al. 2018,
"Gaussian Process Morphable Models"), alike on both sides and unlike, plus the displacement fields of the action units.
Its 34 strongest directions that neither move, turn nor scale the face are the modes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lacuna.extractors import _openface
from lacuna.extractors._openface import points
from lacuna.extractors._openface.columns import LANDMARKS, MODES
from lacuna.extractors._openface.motions import MIRROR, MOTIONS

# (length over which neighbours move together mm, standard deviation mm, share of it that both sides have alike)
SMOOTH = ((70.0, 4.0, 0.8), (30.0, 3.5, 0.8), (14.0, 1.0, 0.8))
DEPTH = 0.3  # deformations in depth, which pictures hardly tell, in proportion to those across
# landmarks that differ more from face to face than their neighbours: the nose's base and the eyes
LIVELY = {range(31, 36): 2.0, range(36, 48): 1.4}
EXPRESSION = 2.5  # standard deviation of an action unit's intensity


def covariance(face: np.ndarray) -> np.ndarray:
    """Covariance (204, 204) mm^2 of the coordinates x0 y0 z0 x1 ... of a face (68, 3)."""
    mirror = MIRROR[:LANDMARKS]
    axes = np.diag([1.0, 1.0, DEPTH**2])
    reflected = np.diag([-1.0, 1.0, DEPTH**2])
    total = np.zeros((3 * LANDMARKS, 3 * LANDMARKS))
    lively = np.ones(LANDMARKS)
    for landmarks, factor in LIVELY.items():
        lively[list(landmarks)] = factor
    for length, deviation, alike in SMOOTH:
        distance = np.linalg.norm(face[:, None] - face[None], axis=-1)
        near = np.exp(-((distance / length) ** 2) / 2) * np.outer(lively, lively)
        share = (2 * alike - 1) * deviation**2
        total += deviation**2 * np.kron(near, axes) + share * np.kron(near[:, mirror], reflected)
    fields = MOTIONS[:, :LANDMARKS].reshape(len(MOTIONS), -1) * (EXPRESSION / 5)
    return total + fields.T @ fields


def rigid(face: np.ndarray) -> np.ndarray:
    """Orthonormal directions (7, 204) that shift, turn or scale the face."""
    shifts = [np.tile(axis, (LANDMARKS, 1)) for axis in np.eye(3)]
    turns = [np.cross(axis, face) for axis in np.eye(3)]
    directions = np.stack([*shifts, *turns, face]).reshape(7, -1)
    return np.linalg.qr(directions.T)[0].T


def model() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (68, 3) mm, modes (34, 68, 3) orthonormal over all coordinates, variances (34,) mm^2."""
    face = points.landmarks(points.canonical())
    free = np.eye(3 * LANDMARKS) - rigid(face).T @ rigid(face)
    values, vectors = np.linalg.eigh(free @ covariance(face) @ free)
    modes = vectors[:, ::-1][:, :MODES].T
    modes *= np.sign(modes[np.arange(MODES), np.abs(modes).argmax(axis=1)])[:, None]  # eigh leaves the sign open
    return face, modes.reshape(MODES, LANDMARKS, 3), values[::-1][:MODES]


if __name__ == "__main__":
    mean, modes, variances = model()
    target = Path(_openface.__file__).parent / "pdm.npz"
    np.savez(target, mean=mean, modes=modes.astype(np.float32), variances=variances)
    print(f"{target.name}: {MODES} modes, standard deviations {np.sqrt(variances).round(1)} mm")
