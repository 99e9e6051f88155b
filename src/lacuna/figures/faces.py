"""A face with what was measured drawn over it. In: a frame and its row of OpenFace columns. Out: `Picture`s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from scipy.spatial.transform import Rotation

from lacuna.figures.drawing import Picture, drawing

POINTS = 68
# The lines of the 68-point scheme: jaw, brows, nose bridge and base, eyes and lips (the last four closed).
LINES = (range(17), range(17, 22), range(22, 27), range(27, 31), range(31, 36))
LOOPS = (range(36, 42), range(42, 48), range(48, 60), range(60, 68))
EYES = {0: range(36, 42), 1: range(42, 48)}  # OpenFace's gaze_0 is the eye on the picture's left
NOSE_TIP = 30
MARGIN = 1.8  # side of what is shown, in sizes of the face
AXES = (("#e6194b", (1, 0, 0)), ("#3cb44b", (0, 1, 0)), ("#4363d8", (0, 0, -1)))  # right, down, out of the face
GAZE, MARKS = "#ffd000", "#7fffd4"


@dataclass(frozen=True)
class Shot:
    """One frame: its time in s (None for a still picture), its picture (H, W, 3) uint8, {column: value} of its face,
    None without one, and whether one was looked for."""

    time: float | None
    image: np.ndarray
    face: Mapping[str, float] | None
    sought: bool = True


def pictures(shots: Sequence[Shot]) -> list[Picture]:
    """Each frame with its landmarks, gaze and pose."""
    return [_picture(i, shot) for i, shot in enumerate(shots)]


def _picture(index: int, shot: Shot) -> Picture:
    points = _points(shot.face)
    left, top, right, bottom = _view(shot.image.shape, points)
    size = (3.2, 3.2 * (bottom - top) / (right - left))
    title = "Its picture" if shot.time is None else f"{shot.time:.2f} s"
    told = _told(shot.face) if shot.sought else ""
    with drawing(f"frame-{index}", title, told, size, raster=True, layout=None) as drawn:
        axes = drawn.figure.add_axes((0, 0, 1, 1))
        axes.imshow(shot.image, interpolation="bilinear")
        axes.set_axis_off()
        axes.set(xlim=(left, right), ylim=(bottom, top))
        if points is not None and shot.face is not None:
            _landmarks(axes, points)
            _gaze(axes, points, shot.face)
            _pose(axes, points, shot.face)
    return drawn.picture


def _points(face: Mapping[str, float] | None) -> np.ndarray | None:
    """(68, 2) px, None without landmarks."""
    if face is None or "x_0" not in face:
        return None
    return np.array([[face[f"x_{i}"], face[f"y_{i}"]] for i in range(POINTS)])


def _view(shape: tuple[int, ...], points: np.ndarray | None) -> tuple[float, float, float, float]:
    """Left, top, right, bottom in px: a square around the face where there is one, else the whole picture."""
    height, width = shape[:2]
    if points is None:
        return 0, 0, width, height
    side = min(MARGIN * float(np.ptp(points, axis=0).max()), width, height)
    middle = (points.min(0) + points.max(0)) / 2
    left = float(np.clip(middle[0] - side / 2, 0, width - side))
    top = float(np.clip(middle[1] - side / 2, 0, height - side))
    return left, top, left + side, top + side


def _told(face: Mapping[str, float] | None) -> str:
    if face is None:
        return "No face was found here."
    parts = []
    if "pose_Ry" in face:
        pitch, yaw, roll = (round(float(np.degrees(face[f"pose_R{axis}"]))) for axis in "xyz")  # whole: no -0
        parts.append(f"head {yaw:+d}° yaw, {pitch:+d}° pitch, {roll:+d}° roll")
    if "AU12_r" in face:
        parts.append(f"smile {face['AU12_r']:.1f}, frown {face['AU04_r']:.1f} of 5")
    return "; ".join(parts).capitalize() + ("." if parts else "")


def _landmarks(axes: Axes, points: np.ndarray) -> None:
    for line in (*LINES, *((*loop, loop[0]) for loop in LOOPS)):
        axes.plot(*points[list(line)].T, color=MARKS, linewidth=0.7, alpha=0.9)
    axes.scatter(points[:, 0], points[:, 1], s=3, color="white", linewidths=0, zorder=3)


def _gaze(axes: Axes, points: np.ndarray, face: Mapping[str, float]) -> None:
    """Arrows from the eyes: what the direction's x and y leave of it in the picture."""
    length = 1.6 * np.ptp(points[:, 0])
    for eye, places in EYES.items():
        if f"gaze_{eye}_x" not in face:
            continue
        start = points[list(places)].mean(0)
        along = length * np.array([face[f"gaze_{eye}_x"], face[f"gaze_{eye}_y"]])
        _arrow(axes, start, along, GAZE)


def _pose(axes: Axes, points: np.ndarray, face: Mapping[str, float]) -> None:
    """The head's three axes at the tip of the nose."""
    if "pose_Rx" not in face:
        return
    turn = Rotation.from_euler("XYZ", [face["pose_Rx"], face["pose_Ry"], face["pose_Rz"]])
    length = 0.45 * np.ptp(points[:, 0])
    for colour, axis in AXES:
        _arrow(axes, points[NOSE_TIP], length * turn.apply(axis)[:2], colour)


def _arrow(axes: Axes, start: np.ndarray, along: np.ndarray, colour: str) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "mutation_scale": 7, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", start + along, (start[0], start[1]), arrowprops=style, zorder=4)
