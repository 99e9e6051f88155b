"""Action units from the blendshape scores of Google's network. In: 52 scores a frame. Out: intensities.

A score (0..1, ARKit's names) is absolute: a smile held through a whole clip is one. Which of them stand for an action
unit follows the correspondence of ARKit's shapes to FACS that is in common use. Two shapes are dead in the network
(cheekSquint and noseSneer never pass .001): AU06 is told by what a raised cheek does to its neighbours, a smile with
narrowed eyes; of AU09 the scores say nothing.
"""

from __future__ import annotations

import numpy as np

from lacuna.extractors._openface.motions import UNITS

STRONGEST = 5.0
# where each shape stands among the network's outputs, both sides where it has two
_PLACES = {
    "browDown": (1, 2), "browInnerUp": (3,), "browOuterUp": (4, 5), "eyeBlink": (9, 10), "eyeSquint": (19, 20),
    "eyeWide": (21, 22), "jawOpen": (25,), "mouthDimple": (28, 29), "mouthFrown": (30, 31), "mouthLowerDown": (34, 35),
    "mouthPress": (36, 37), "mouthRollLower": (40,), "mouthRollUpper": (41,), "mouthShrugLower": (42,),
    "mouthSmile": (44, 45), "mouthStretch": (46, 47), "mouthUpperUp": (48, 49),
}  # fmt: skip
# unit: the shapes whose mean it is, both sides counting alike
_SHAPES: dict[int, tuple[str, ...]] = {
    1: ("browInnerUp",),
    2: ("browOuterUp",),
    4: ("browDown",),
    5: ("eyeWide",),
    7: ("eyeSquint",),
    10: ("mouthUpperUp",),
    12: ("mouthSmile",),
    14: ("mouthSmile", "mouthPress", "mouthDimple"),
    15: ("mouthFrown",),
    17: ("mouthShrugLower",),
    20: ("mouthStretch",),
    23: ("mouthPress",),
    25: ("mouthLowerDown", "mouthUpperUp", "jawOpen"),
    26: ("jawOpen",),
    28: ("mouthRollLower", "mouthRollUpper"),
    45: ("eyeBlink",),
}


def _of(scores: np.ndarray, shape: str) -> np.ndarray:
    """A shape's score (T,), the mean of its sides."""
    return scores[:, _PLACES[shape]].mean(axis=1)


def intensities(scores: np.ndarray) -> np.ndarray:
    """Scores (T, 52) -> intensities 0..5 of `motions.UNITS` (T, 18); 0 for AU09."""
    found = np.zeros((len(scores), len(UNITS)))
    for unit, shapes in _SHAPES.items():
        found[:, UNITS.index(unit)] = np.mean([_of(scores, shape) for shape in shapes], axis=0)
    found[:, UNITS.index(6)] = np.sqrt(_of(scores, "mouthSmile") * _of(scores, "eyeSquint"))
    return STRONGEST * found
