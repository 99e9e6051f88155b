"""Which points of MediaPipe's 478-point mesh are kept, and the landmarks made of them. In: mesh points. Out: landmarks.

Every landmark is one mesh point or the mean of two. `select` picks the points that are kept of a frame (about 130 of
478); the other functions take arrays of kept points (..., KEPT, 3) and give landmarks (..., n, 3).
"""

from __future__ import annotations

from importlib import resources

import numpy as np

_Spec = tuple[tuple[int, ...], ...]


def _spec(text: str) -> _Spec:
    return tuple(tuple(int(i) for i in item.split("+")) for item in text.split())


# 478 -> 68: the table in common use, with point 13 made the mirror image of point 3.
JAW = _spec("127 234 93 132+58 58+172 136 150 176 152 400 379 365 397+288 361+288 323 454 356")
BROWS = _spec("70 63 105 66 107 336 296 334 293 300")
NOSE = _spec("168+6 197+195 5 4 75 97 2 326 305")
EYES = _spec("33 160 158 133 153 144 362 385 387 263 373 380")
LIPS = _spec("61 39+40 37 0 267 269+270 291 321 314 17 84 91 78 81+82 13 311+312 308 317+402 14 87+178")
FACE = JAW + BROWS + NOSE + EYES + LIPS

# Lid contours in OpenFace's order: the corner on the image's left, the upper lid to the right, the lower lid back.
LIDS = (
    _spec("33 246+161 161+160 159 158 157+173 133 155+154 154+153 145 144+163 163+7"),
    _spec("362 398+384 385 386 387+388 388+466 263 249+390 390+373 374 380+381 381+382"),
)
# Iris: centre, then the points on the image's right, top, left and bottom.
IRISES = (_spec("468 469 470 471 472"), _spec("473 474 475 476 477"))

# Points that facial muscles hardly move, for the head's pose: forehead, temples, nose bridge, eye corners, nose base.
STEADY = _spec("10 109 338 151 67 297 54 284 127 356 234 454 168 6 197 195 5 4 33 133 362 263 2 98 327")

# Besides the 68, for action units: below the lids, cheek bones, beside the mouth, nose wings, chin boss.
CHEEKS = _spec("101 330 50 280 205 425 64 294 129 358 199")

KEPT = tuple(sorted({i for spec in (FACE, *LIDS, *IRISES, STEADY, CHEEKS) for item in spec for i in item}))
_PLACE = {index: place for place, index in enumerate(KEPT)}


def _gatherer(spec: _Spec) -> tuple[np.ndarray, np.ndarray]:
    first, second = zip(*((item[0], item[-1]) for item in spec))
    return np.array([_PLACE[i] for i in first]), np.array([_PLACE[i] for i in second])


_GATHER = {spec: _gatherer(spec) for spec in (FACE, *LIDS, *IRISES, STEADY, CHEEKS)}


def landmarks(kept: np.ndarray, spec: _Spec = FACE) -> np.ndarray:
    """(..., KEPT, 3) -> (..., len(spec), 3); `spec` is one of this module's tables."""
    first, second = _GATHER[spec]
    return (kept[..., first, :] + kept[..., second, :]) / 2


def canonical() -> np.ndarray:
    """The canonical face's kept points (KEPT, 3), mm, in OpenFace's axes, with the mean of the 68 at the origin.

    The canonical face has no irises: theirs are NaN.
    """
    text = resources.files(__package__).joinpath("canonical_face.csv").read_text(encoding="utf-8")
    vertices = np.loadtxt(text.splitlines(), delimiter=",") * [10.0, -10.0, -10.0]  # cm, y up -> mm, y down
    vertices = np.concatenate([vertices, np.full((10, 3), np.nan)])
    kept = vertices[list(KEPT)]
    return kept - landmarks(kept).mean(axis=0)
