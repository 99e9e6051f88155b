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
NAMES = (
    "_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft "
    "cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight "
    "eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight "
    "jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight "
    "mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker "
    "mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight "
    "mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight"
).split()
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
    """A shape's score (T,), the mean of its sides where it has two."""
    sides = [i for i, name in enumerate(NAMES) if name in (shape, f"{shape}Left", f"{shape}Right")]
    return scores[:, sides].mean(axis=1)


def intensities(scores: np.ndarray) -> np.ndarray:
    """Scores (T, 52) -> intensities 0..5 of `motions.UNITS` (T, 18); 0 for AU09."""
    found = np.zeros((len(scores), len(UNITS)))
    for unit, shapes in _SHAPES.items():
        found[:, UNITS.index(unit)] = np.mean([_of(scores, shape) for shape in shapes], axis=0)
    found[:, UNITS.index(6)] = np.sqrt(_of(scores, "mouthSmile") * _of(scores, "eyeSquint"))
    return STRONGEST * found
