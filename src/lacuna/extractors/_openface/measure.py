"""A face's columns. In: kept mesh points of one face, frame by frame. Out: {group: (T, columns of the group)}."""

from __future__ import annotations

import numpy as np

from lacuna.extractors._openface import points
from lacuna.extractors._openface.eyes import measure_eyes
from lacuna.extractors._openface.geometry import Camera, angles
from lacuna.extractors._openface.pdm import ShapeModel
from lacuna.extractors._openface.pose import head_pose

RELIEF = 0.8  # the depth of OpenFace's shape model within a face, in proportion to the mesh's


def measure(kept: np.ndarray, camera: Camera, model: ShapeModel) -> dict[str, np.ndarray]:
    """Every group but `aus`, which needs the whole clip (`units`). kept: (T, KEPT, 3) px, depth in px too."""
    kept = kept.astype(np.float64)
    steady = points.landmarks(points.canonical(), points.STEADY)
    turn, move = head_pose(steady, points.landmarks(kept, points.STEADY), camera)
    landmarks = points.landmarks(kept)
    parameters = model.fit(landmarks[..., :2], turn, move)
    # As in OpenFace the scale tells how far the face is; the mesh's own depth then tells each point from the others.
    scale = parameters[:, :1]
    middle = landmarks[..., 2].mean(axis=1, keepdims=True)
    depth = (camera.focal + RELIEF * (kept[..., 2] - middle)) / scale
    places = camera.place(landmarks[..., :2], points.landmarks(depth[..., None])[..., 0])
    eyes = measure_eyes(kept, depth, turn, camera)
    return {
        "gaze": np.concatenate([eyes.gaze.reshape(-1, 6), eyes.angles()], axis=1),
        "eye_lmk": np.concatenate([_by_axis(eyes.pixels), _by_axis(eyes.places)], axis=1),
        "pose": np.concatenate([move, angles(turn)], axis=1),
        "landmarks_2d": _by_axis(landmarks[..., :2]),
        "landmarks_3d": _by_axis(places),
        "pdm": parameters,
    }


def _by_axis(coordinates: np.ndarray) -> np.ndarray:
    """(T, n, axes) -> (T, axes * n): all x, then all y, ..."""
    return np.swapaxes(coordinates, -1, -2).reshape(len(coordinates), -1)
