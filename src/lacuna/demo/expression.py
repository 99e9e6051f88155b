"""What the face does. In: a canvas of `portrait` and the strength of each action. Out: the canvas with that expression.

Each output pixel is looked up in the portrait where it came from (cv2.remap). Lips and lids are edges that slide over
what is behind them (teeth, eyeball); brows and cheeks are bumps of displaced skin. Lengths are px of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from lacuna.demo.portrait import LEFT, SCALE, TOP, Opening, landmarks, opening

# The parts of the picture that move: x from, x to, y from, y to.
FACE, MOUTH = (176, 274, 76, 206), (184, 264, 106, 206)
PORTRAIT_SMILE = 0.8  # the smile that the portrait itself wears, on the scale of `Expression.smile`
REST_LINE = 145.6  # y of the closed, unmoved lips: midway between the portrait's corners and its lower lip
MOUTH_SHUT = (0.25, 0.75)  # how the mouth's opening is shared between upper and lower lip


@dataclass(frozen=True)
class Expression:
    """One moment. smile in [-1 (lip corners down), 1]; the others in [0, 1]; gaze in [-1, 1], sideways."""

    smile: float = 0.0
    brow_down: float = 0.0
    brow_up: float = 0.0
    jaw: float = 0.0
    blink: float = 0.0
    gaze: float = 0.0


def express(portrait: np.ndarray, expression: Expression) -> np.ndarray:
    """The canvas with the expression, same shape; the portrait itself is left as it is."""
    x, y = _grid(FACE)
    dx, dy = _skin(expression)
    _add(dy, MOUTH, _lips(expression))
    _add(dx, MOUTH, _mouth_width(expression))
    for eye, box in _eyes():
        sideways, down = _eye(eye, box, expression)
        _add(dx, box, sideways)
        _add(dy, box, down)
    rows, columns = _slices(FACE, (LEFT, TOP))
    source_x = ((x - dx - LEFT) * SCALE).astype(np.float32)
    source_y = ((y - dy - TOP) * SCALE).astype(np.float32)
    face = cv2.remap(portrait, source_x, source_y, cv2.INTER_LINEAR)
    _darken_throat(face, expression)
    result = portrait.copy()
    result[rows, columns] = face
    return result


def _skin(expression: Expression) -> tuple[np.ndarray, np.ndarray]:
    """Displacement (dx, dy) of brows and cheeks over FACE."""
    unsmile = PORTRAIT_SMILE - expression.smile
    amounts = np.array([expression.brow_down, expression.brow_up, unsmile])
    dx, dy = np.tensordot(amounts, _bumps(), axes=1)
    return dx, dy


@cache
def _bumps() -> np.ndarray:
    """Displacement at full strength, (3 actions, 2, rows, columns): brow lowerer, brow raiser, cheeks falling."""
    right, left = landmarks()["right_brow"], landmarks()["left_brow"]
    # (point, (dx, dy), radius): x grows to the picture's right, y downwards.
    lower = [(right[4], (3.0, 4.5), 8.0), (left[0], (-3.0, 4.5), 8.0), (right[2], (1.0, 3.0), 8.0),
             (left[2], (-1.0, 3.0), 8.0)]  # fmt: skip
    raiser = [(p, (0.0, -2.6), 8.0) for p in (*right[[0, 2, 4]], *left[[0, 2, 4]])]
    cheeks = [(landmarks()[f"{side}_cheek"][0], (0.0, 1.8), 11.0) for side in ("right", "left")]
    x, y = _grid(FACE)
    fields = np.zeros((3, 2, *x.shape))
    for field, bumps in zip(fields, (lower, raiser, cheeks)):
        for (px, py), (dx, dy), radius in bumps:
            height = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * radius**2))
            field += height * np.array([dx, dy])[:, None, None]
    return fields


def _mouth() -> Opening:
    return opening("mouth_upper", "mouth_lower")


def _width(expression: Expression) -> float:
    """Width of the mouth against the portrait's."""
    return 0.85 + 0.19 * max(expression.smile, 0) - 0.04 * expression.jaw


def _lip_edges(expression: Expression, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y of the upper and the lower lip's edge, at u across the mouth: a bent line, opened around it."""
    smile = expression.smile
    lift = 7.0 * smile if smile > 0 else 4.2 * smile
    slope = (_mouth().corners[1] - _mouth().corners[0]) / 2
    corner, middle = REST_LINE - lift, REST_LINE + 0.8 * smile
    line = middle + (corner - middle) * u**2 + slope * u
    gap = 8.0 * max(smile - 0.25, 0) + 9.0 * expression.jaw
    return line - MOUTH_SHUT[0] * gap * (1 - u**2), line + MOUTH_SHUT[1] * gap * (1 - u**2)


def _lips(expression: Expression) -> np.ndarray:
    """dy over MOUTH: lips, what they pull along, and the chin that goes with the jaw."""
    x, y = _grid(MOUTH)
    mouth = _mouth()
    u = np.clip((x[0] - mouth.centre) / (mouth.half_width * _width(expression)), -1, 1)
    beyond = np.maximum(np.abs(x[0] - mouth.centre) / (mouth.half_width * _width(expression)) - 1, 0)
    upper, lower = _lip_edges(expression, u)
    dy = _between(y, mouth, u, (upper, lower), (15 + 12 * u**2, 24 - 3 * u**2), np.exp(-((beyond / 0.35) ** 2)))
    plump = 1.6 * (1.04 - _width(expression)) / 0.19 * (1 - u**2)  # a narrower mouth has fuller lips
    above, below = np.maximum(upper - y, 0), np.maximum(y - lower, 0)
    dy += plump * (0.8 * _bulge(below) - 0.6 * _bulge(above))
    chin = np.clip((y - lower) / 12, 0, 1) * _fall((y - 176) / 24)
    return dy + 5.0 * expression.jaw * chin * np.exp(-((beyond / 0.8) ** 2))


def _bulge(distance: np.ndarray) -> np.ndarray:
    """Thickness added at a distance from a lip's edge: grows over the lip, gone a lip's width further."""
    return (1 - np.exp(-distance / 2)) * np.exp(-((distance / 9) ** 2))


def _mouth_width(expression: Expression) -> np.ndarray:
    """dx over MOUTH."""
    x, y = _grid(MOUTH)
    width, mouth = _width(expression), _mouth()
    beyond = np.maximum(np.abs(x - mouth.centre) / (mouth.half_width * width) - 1, 0)
    window = np.exp(-((beyond / 0.4) ** 2) - ((y - REST_LINE) / 14) ** 2)
    return (x - mouth.centre) * (1 - 1 / width) * window


def _darken_throat(face: np.ndarray, expression: Expression) -> None:
    """Below the upper teeth an open mouth is dark; the portrait has no picture of that."""
    rows, columns = _slices(MOUTH, (FACE[0], FACE[2]))
    x, y = _grid(MOUTH)
    mouth = _mouth()
    u = np.clip((x[0] - mouth.centre) / (mouth.half_width * _width(expression)), -1, 1)
    upper, lower = _lip_edges(expression, u)
    teeth = upper + np.minimum(5.5, 1.5 + 5.5 * max(expression.smile, 0)) * (1 - u**2)
    dark = np.clip((y - teeth) / 1.5, 0, 1) * np.clip((lower - y) / 0.7, 0, 1)
    part = face[rows, columns]
    part[:] = (part * (1 - 0.85 * dark[..., None])).astype(np.uint8)


def _eyes() -> list[tuple[Opening, tuple[int, int, int, int]]]:
    return [
        (opening("right_lid_upper", "right_lid_lower"), (182, 226, 84, 124)),
        (opening("left_lid_upper", "left_lid_lower"), (226, 270, 84, 124)),
    ]


def _eye(eye: Opening, box: tuple[int, int, int, int], expression: Expression) -> tuple[np.ndarray, np.ndarray]:
    """(dx, dy) over an eye's box: the lids, and the eyeball's turn between them."""
    x, y = _grid(box)
    u = eye.across(x[0])
    above, below = eye.edge(eye.upper, u), eye.edge(eye.lower, u)
    squint = 0.12 * max(expression.smile, 0) + 0.15 * expression.brow_down - 0.12 * expression.brow_up
    shut = np.clip(squint + (1 - squint) * expression.blink, -0.15, 0.97)
    upper = above + shut * (below - above)
    lower = below - 0.6 * max(expression.smile - PORTRAIT_SMILE, -0.8) * (1 - u**2)
    beyond = np.maximum(np.abs(x[0] - eye.centre) / eye.half_width - 1, 0)
    fade = np.exp(-((beyond / 0.3) ** 2))
    dy = _between(y, eye, u, (upper, np.maximum(upper, lower)), (9.0, 10.0), fade)
    inside = (y > upper) & (y < lower)
    dx = np.where(inside, 1.8 * expression.gaze * np.maximum(1 - (1.3 * u) ** 2, 0), 0)
    return dx, dy


def _between(
    y: np.ndarray,
    part: Opening,
    u: np.ndarray,
    edges: tuple[np.ndarray, np.ndarray],
    reach: tuple[np.ndarray | float, np.ndarray | float],
    fade: np.ndarray,
) -> np.ndarray:
    """dy (rows, columns) putting an opening's edges at `edges`; skin follows over `reach` px, what is behind stays."""
    above, below = part.edge(part.upper, u), part.edge(part.lower, u)
    upper, lower = edges
    rise, drop = upper - above, lower - below
    # Adding the shift to the reach keeps the map one-to-one however far an edge goes.
    skin_above = rise * _fall((upper - y) / (reach[0] + np.abs(rise)))
    skin_below = drop * _fall((y - lower) / (reach[1] + np.abs(drop)))
    behind = y - np.clip(y, np.minimum(above, below), np.maximum(above, below))
    return fade * np.where(y < upper, skin_above, np.where(y > lower, skin_below, behind))


def _fall(z: np.ndarray) -> np.ndarray:
    """1 at z <= 0, smoothly to 0 at z >= 1."""
    z = np.clip(z, 0, 1)
    return 1 - z * z * (3 - 2 * z)


@cache
def _grid(box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """x and y (rows, columns) of the canvas pixels of a box, in px of the picture."""
    x = np.arange(box[0] * SCALE, box[1] * SCALE, dtype=np.float32) / SCALE
    y = np.arange(box[2] * SCALE, box[3] * SCALE, dtype=np.float32) / SCALE
    columns, rows = np.meshgrid(x, y)
    return columns, rows


def _slices(box: tuple[int, int, int, int], origin: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a box in an array that begins at `origin` (x, y)."""
    rows = slice((box[2] - origin[1]) * SCALE, (box[3] - origin[1]) * SCALE)
    return rows, slice((box[0] - origin[0]) * SCALE, (box[1] - origin[0]) * SCALE)


def _add(field: np.ndarray, box: tuple[int, int, int, int], values: np.ndarray) -> None:
    """Add values over a box to a field over FACE."""
    field[_slices(box, (FACE[0], FACE[2]))] += values
