"""The names of OpenFace 2.2's columns, in its order. In: group names. Out: column names.

Source: the header that OpenFace 2.2.0 `FeatureExtraction` writes with all its outputs switched on (714 names, of which
the first five, frame, face_id, timestamp, confidence and success, are no features).
"""

from __future__ import annotations

import numpy as np

LANDMARKS, EYE_LANDMARKS, MODES = 68, 56, 34
INTENSITIES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
PRESENCES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)


def _series(prefix: str, count: int) -> list[str]:
    return [f"{prefix}_{i}" for i in range(count)]


_BY_GROUP: dict[str, tuple[str, ...]] = {
    "gaze": (*(f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"), "gaze_angle_x", "gaze_angle_y"),
    "eye_lmk": tuple(name for axis in "xyXYZ" for name in _series(f"eye_lmk_{axis}", EYE_LANDMARKS)),
    "pose": ("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"),
    "landmarks_2d": tuple(name for axis in "xy" for name in _series(axis, LANDMARKS)),
    "landmarks_3d": tuple(name for axis in "XYZ" for name in _series(axis, LANDMARKS)),
    "pdm": ("p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty", *_series("p", MODES)),
    "aus": (*(f"AU{unit:02d}_r" for unit in INTENSITIES), *(f"AU{unit:02d}_c" for unit in PRESENCES)),
}
GROUPS = tuple(_BY_GROUP)


def names(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Column names of the groups, in OpenFace's order whatever the order they are asked for in; 709 for all."""
    return tuple(name for group in GROUPS if group in groups for name in _BY_GROUP[group])


def join(parts: dict[str, np.ndarray], groups: tuple[str, ...]) -> np.ndarray:
    """{group: (T, columns of it)} -> (T, D) float32 in the order of `names(groups)`."""
    return np.concatenate([parts[group] for group in GROUPS if group in groups], axis=1).astype(np.float32)
