"""How each action unit moves the face: one displacement field per unit. Out: MOTIONS (18, 79, 3) mm at intensity 5.

Written down by hand from the descriptions in the FACS manual (Ekman, Friesen and Hager 2002), in the manner of
Candide-3's animation units (Ahlberg 2001): they say in which direction a unit moves which landmarks and about how far,
and were not fitted to coded faces. Points 0-67 are the 68 landmarks, 68-78 `points.CHEEKS`.
"""

from __future__ import annotations

import numpy as np

POINTS = 79
# A landmark's mirror image across the face's midline.
_PAIRS = (
    *((i, 16 - i) for i in range(8)),
    *((17 + i, 26 - i) for i in range(5)),
    (31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
    (48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67),
    (68, 69), (70, 71), (72, 73), (74, 75), (76, 77),
)  # fmt: skip
MIRROR = np.arange(POINTS)
for _left, _right in _PAIRS:
    MIRROR[[_left, _right]] = _right, _left

# unit: {landmark on the image's left or the midline: (away from the midline, up, toward the back)} in mm at intensity 5
_TABLE: dict[int, dict[int, tuple[float, float, float]]] = {
    1: {21: (0, 6, 0), 20: (0, 4, 0), 19: (0, 1, 0)},  # inner brow up
    2: {17: (0, 6, 0), 18: (0, 6, 0), 19: (0, 3, 0)},  # outer brow up
    4: {21: (-3, -4, 0), 20: (-2.5, -4, 0), 19: (-1, -3, 0), 18: (0, -1, 0)},  # brows down and together
    5: {37: (0, 3, 0), 38: (0, 3, 0)},  # upper lid up
    6: {68: (0, 4, -1), 70: (0.5, 4, -1), 72: (0, 1.5, 0), 41: (0, 0.4, 0), 40: (0, 0.4, 0)},  # cheek up
    7: {41: (0, 2, 0), 40: (0, 2, 0), 37: (0, -0.5, 0), 38: (0, -0.5, 0)},  # lids tighten: the lower one rises
    9: {31: (0.5, 3, 0), 32: (0, 1.5, 0), 33: (0, 1, 0), 74: (0.5, 4, 0), 76: (0, 4, 0)},  # nose wrinkles
    10: {50: (0, 5, 0), 51: (0, 4, 0), 49: (0, 3, 0), 61: (0, 4.5, 0), 62: (0, 4, 0)},  # upper lip up
    12: {48: (5, 7, 3), 60: (5, 7, 3), 49: (2.5, 3, 1), 59: (2.5, 3, 1), 72: (2, 3, 0)},  # lip corners up and out
    14: {48: (0.5, 0, 8), 60: (0.5, 0, 8), 49: (0, 0, 2), 59: (0, 0, 2)},  # lip corners drawn in, dimple
    15: {48: (1, -6, 0), 60: (1, -6, 0), 49: (0, -1.5, 0), 59: (0.5, -3.5, 0)},  # lip corners down
    17: {78: (0, 5, 0), 57: (0, 4, -1), 58: (0, 3.5, -1), 66: (0, 3, 0), 67: (0, 2.5, 0), 51: (0, 1.5, 0)},  # chin up
    20: {48: (6, -0.5, 1), 60: (6, -0.5, 1), 49: (3, 0, 0), 59: (3, 0, 0), 58: (1, 0, 0)},  # lips stretched sideways
    23: {50: (0, -3.5, 0), 51: (0, -3.5, 0), 58: (0, 3.5, 0), 57: (0, 3.5, 0), 48: (-2, 0, 0), 60: (-2, 0, 0),
         49: (-1.5, -1, 0), 59: (-1.5, 1, 0)},  # lips tighten: their red grows thin
    25: {61: (0, 1, 0), 62: (0, 1, 0), 66: (0, -11, 0), 67: (0, -10, 0), 57: (0, -10, 0), 58: (0, -9, 0),
         59: (0, -4.5, 0), 50: (0, 0.5, 0), 51: (0, 0.5, 0)},  # lips part
    26: {8: (0, -14, 3), 7: (0, -14, 3), 6: (0, -13, 3), 5: (0, -9, 2), 4: (0, -5, 1), 78: (0, -12, 2),
         48: (-0.5, -1.5, 0), 60: (-0.5, -1.5, 0)},  # jaw drops
    28: {50: (0, -4, 2), 51: (0, -4, 2), 49: (0, -2.5, 1), 61: (0, 0, 2), 62: (0, 0, 2), 57: (0, 4, 2), 58: (0, 4, 2),
         59: (0, 2.5, 1), 66: (0, 0, 2), 67: (0, 0, 2), 78: (0, 1.5, 0)},  # lips sucked in
    45: {37: (0, -7, 0), 38: (0, -7, 0), 41: (0, 0.8, 0), 40: (0, 0.8, 0)},  # blink: the upper lid falls
}  # fmt: skip
UNITS = tuple(_TABLE)


def _field(moves: dict[int, tuple[float, float, float]]) -> np.ndarray:
    """Both sides' displacement (79, 3) in the camera's axes: the image's left half moves out to -x."""
    field = np.zeros((POINTS, 3))
    for point, (out, up, back) in moves.items():
        field[MIRROR[point]] = (out, -up, back)
        field[point] = (-out if MIRROR[point] != point else 0.0, -up, back)
    return field


MOTIONS = np.stack([_field(moves) for moves in _TABLE.values()])
