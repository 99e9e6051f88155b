"""Action units from the movement of landmarks. In: kept mesh points of one face through a clip. Out: AU*_r and AU*_c.

Every frame's face is brought onto the canonical face by its steady points (turn, size and place of the head drop out),
the clip's own neutral face is subtracted, and what is left is explained by the displacement fields of `motions` with
weights >= 0 (ridge-regularised non-negative least squares): a movement goes to the unit whose field it is, and not to
its neighbours. These are geometric estimates on OpenFace's scale of 0..5; they were not calibrated on coded faces and
see no wrinkles, bulges or furrows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lacuna.extractors._openface import points
from lacuna.extractors._openface.geometry import Camera, similarity
from lacuna.extractors._openface.motions import MOTIONS, UNITS
from lacuna.extractors._rows import Rows

STRONGEST = 5.0
SWEEPS = 40
BLOCK = 512  # frames at once: a long clip is not copied whole
POINTS = 8  # whose medians are taken at once
RIDGE = 2.0  # mm^2: two units that share a movement split it rather than cancel each other
DEPTH = 0.5  # trust in a displacement toward the camera, in proportion to one across
_WEIGHTS = np.array([1.0, 1.0, DEPTH])
_FIELDS = (MOTIONS * _WEIGHTS).reshape(len(MOTIONS), -1) / STRONGEST  # mm per unit of intensity
_GRAM = _FIELDS @ _FIELDS.T + RIDGE * np.eye(len(_FIELDS)) / STRONGEST**2
# Movement that no unit is charged with, in intensity: the mesh's own trembling, and what a stronger unit explains too.
SLACK = 0.4
# Which quantile of a clip is a unit's rest; opposed units (smile and frown) share one resting point. Lips and jaw rest
# closed. A smile, a raised brow and a blink may fill more of a clip than a frown or wide eyes and still be movements.
_QUANTILES = {1: 0.4, 2: 0.4, 5: 0.6, 45: 0.4, 6: 0.4, 12: 0.4, 15: 0.6, 25: 0.1, 26: 0.1}
_REST = np.array([_QUANTILES.get(unit, 0.5) for unit in UNITS])
# What a resting face is like, as intensities of the canonical face's movements: mean and deviation over 14 speakers
# (`benchmarks/face.py people`). They are this wide because people's noses and lips are.
_PEOPLE = {
    1: (-1.6, 1.7), 2: (1.5, 1.8), 4: (-1.0, 1.7), 5: (0.9, 0.8), 6: (0.4, 2.5), 7: (2.0, 2.7), 9: (1.4, 4.5),
    10: (2.1, 5.3), 12: (0.7, 2.7), 14: (0.5, 3.2), 15: (0.8, 1.2), 17: (0.9, 1.1), 20: (-0.3, 4.8), 23: (-1.4, 6.7),
    25: (-1.7, 1.9), 26: (-2.0, 1.7), 28: (0.0, 6.7), 45: (-1.3, 0.9),
}  # fmt: skip
_MEAN, _DEVIATION = np.array([_PEOPLE[unit] for unit in UNITS]).T


def head_shapes(kept: np.ndarray, camera: Camera) -> np.ndarray:
    """(T, KEPT, 3) px -> the 68 landmarks and `points.CHEEKS` (T, 79, 3) float32 mm in the canonical face's frame."""
    kept = kept.astype(np.float64)
    steady = points.landmarks(points.canonical(), points.STEADY)
    seen = points.landmarks(kept, points.STEADY)
    scale, _, shift = similarity(steady, seen)
    placed = camera.place(kept[..., :2], (camera.focal + kept[..., 2] - shift[:, 2:]) / scale[:, None])
    scale, turn, shift = similarity(steady, points.landmarks(placed, points.STEADY))
    used = np.concatenate([points.landmarks(placed), points.landmarks(placed, points.CHEEKS)], axis=1)
    return ((used - shift[:, None]) @ turn / scale[:, None, None]).astype(np.float32)


def intensities(shapes: np.ndarray | Rows, people: bool = False) -> np.ndarray:
    """Intensity 0..5 of every unit of `motions.UNITS` (T, 18) for head shapes (T, 79, 3) of one clip.

    With `people` what the clip's resting face itself shows counts too, as far as it is beyond what faces differ by.
    """
    signed, rest, face = _moved(shapes)
    if people:
        odd = face - _MEAN
        rest = rest - np.sign(odd) * np.maximum(np.abs(odd) - _DEVIATION, 0)
    pulls = ((block - rest) @ _GRAM - SLACK * np.diag(_GRAM) for block in _blocks(signed))
    return np.concatenate([np.minimum(_non_negative(block), STRONGEST) for block in pulls])


def resting(shapes: np.ndarray | Rows) -> np.ndarray:
    """A clip's resting face as signed intensities (18,) of the canonical face's movements."""
    return _moved(shapes)[2]


def _moved(shapes: np.ndarray | Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signed intensities (T, 18) about the clip's median face, those at rest (18,), and at rest about the canonical."""
    middle = _median(shapes)
    signed = np.concatenate([_signed(block - middle) for block in _blocks(shapes)])
    rest = np.array([np.quantile(column, share) for column, share in zip(signed.T, _REST)])
    face = points.canonical()
    used = np.concatenate([points.landmarks(face), points.landmarks(face, points.CHEEKS)])
    return signed, rest, rest + _signed((middle - used)[None])[0]


def _blocks(rows: np.ndarray | Rows) -> Iterator[np.ndarray]:
    return (rows[low : low + BLOCK] for low in range(0, len(rows), BLOCK))


def _median(shapes: np.ndarray | Rows) -> np.ndarray:
    """The clip's median face (79, 3), a few points at a time."""
    count = shapes[:1].shape[1]
    some = (slice(low, low + POINTS) for low in range(0, count, POINTS))
    return np.concatenate([np.median(np.concatenate([b[:, part] for b in _blocks(shapes)]), axis=0) for part in some])


def _signed(moved: np.ndarray) -> np.ndarray:
    """Displacements (T, 79, 3) mm as intensities of either sign (T, 18)."""
    pulls = (moved * _WEIGHTS).reshape(-1, _FIELDS.shape[1]) @ _FIELDS.T
    return np.linalg.solve(_GRAM, pulls.T).T


def _non_negative(pulls: np.ndarray) -> np.ndarray:
    """argmin over x >= 0 of x G x / 2 - pulls x, for each row of pulls (T, 18), by coordinate descent."""
    found = np.zeros((pulls.shape[1], len(pulls)))
    pulls = np.ascontiguousarray(pulls.T)
    for _ in range(SWEEPS):
        for j, row in enumerate(_GRAM):
            found[j] = np.maximum(0.0, found[j] + (pulls[j] - row @ found) / row[j])
    return found.T
