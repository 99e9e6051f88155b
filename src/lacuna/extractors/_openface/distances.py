"""Action units that a distance on the face tells. In: head shapes of one clip. Out: intensities.

What the FACS manual (Ekman, Friesen and Hager 2002) says of a unit's main effect, measured in mm against the clip's own
rest: lids come together, the lower lip leaves the chin. As with `motions`, the lengths at intensity 5 are written down
from the manual's descriptions and were not fitted to coded faces, nor to any program's output.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lacuna.extractors._openface.motions import POINTS, UNITS
from lacuna.extractors._rows import Rows

STRONGEST = 5.0
BLOCK = 512  # frames at once
_X, _Y = 0, 1  # right and down
_UPPER_LIDS, _LOWER_LIDS = (37, 38, 43, 44), (40, 41, 46, 47)
_NARROW = (_Y, _UPPER_LIDS, _LOWER_LIDS)

Term = tuple[int, tuple[int, ...], tuple[int, ...]]  # an axis; the landmarks whose mean grows, and those it grows from
# unit: (what grows, mm at intensity 5, the quantile of a clip at which it rests)
_TABLE: dict[int, tuple[tuple[Term, ...], float, float]] = {
    4: ((_NARROW,), 5, 0.5),  # brows lowered: they press the eyes' opening
    5: (((_Y, _LOWER_LIDS, _UPPER_LIDS),), 3, 0.6),  # eyes opened wider
    7: ((_NARROW,), 5, 0.5),  # lids tightened
    9: (((_Y, (39, 42), (31, 35)), _NARROW), 9, 0.5),  # nose wings raised, eyes narrowed
    15: (((_Y, (48, 54), (51, 57, 62, 66)),), 6, 0.5),  # lip corners below the mouth's middle
    17: (((_Y, (8,), (57,)),), 6, 0.5),  # lower lip raised from the chin
    20: (((_X, (54,), (48,)),), 12, 0.5),  # mouth stretched
    23: (((_Y, (8,), (57,)),), 6, 0.5),  # lips tightened: the lower one's edge rises
    25: (((_Y, (65, 66, 67), (61, 62, 63)),), 11, 0.1),  # lips apart
    26: (((_Y, (8,), (33,)),), 14, 0.1),  # chin from the nose
    45: ((_NARROW,), 8, 0.5),  # eyes closed
}
MEASURED = tuple(_TABLE)


def _field(terms: tuple[Term, ...]) -> np.ndarray:
    """The weights (79, 3) with which coordinates add up to a length."""
    field = np.zeros((POINTS, 3))
    for axis, grows, origin in terms:
        field[list(grows), axis] += 1 / len(grows)
        field[list(origin), axis] -= 1 / len(origin)
    return field


_FIELDS = np.stack([_field(terms).ravel() for terms, _, _ in _TABLE.values()], axis=1)
_LENGTHS = np.array([length for _, length, _ in _TABLE.values()])
_RESTS = np.array([rest for _, _, rest in _TABLE.values()])


def intensities(shapes: np.ndarray | Rows) -> np.ndarray:
    """Intensities 0..5 of `motions.UNITS` (T, 18) for head shapes (T, 79, 3) of one clip; 0 for those not MEASURED."""
    lengths = np.concatenate([block.reshape(len(block), -1) @ _FIELDS for block in _blocks(shapes)])
    rest = np.array([np.quantile(column, share) for column, share in zip(lengths.T, _RESTS)])
    found = np.zeros((len(lengths), len(UNITS)))
    place = [UNITS.index(unit) for unit in MEASURED]
    found[:, place] = np.clip(STRONGEST * (lengths - rest) / _LENGTHS, 0, STRONGEST)
    return found


def _blocks(rows: np.ndarray | Rows) -> Iterator[np.ndarray]:
    return (rows[low : low + BLOCK] for low in range(0, len(rows), BLOCK))
