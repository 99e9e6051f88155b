"""How the head is held, and the camera. In: a canvas with an expression. Out: the frame as the camera sees it.

A turn of the head displaces each pixel in proportion to its depth (a dome with a nose), sideways for yaw, up and down
for pitch; roll and translation move the head over a neck that stays. Lengths are px of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from lacuna.demo.portrait import LEFT, SCALE, TOP, landmarks

VIEW = (124.0, 6.0, 200.0)  # left, top and side of what the camera sees
NECK = (223.0, 186.0)  # what the head rolls about
DEPTH = 62.0  # the face before the ears
NOSE = 14.0  # the nose's tip before the face
COARSE = 4  # the map is smooth: it is computed on every fourth pixel


@dataclass(frozen=True)
class Pose:
    """One moment. yaw (to the picture's right), pitch (down), roll (clockwise), rad; x, y in px; zoom about 1."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0


def shown(canvas: np.ndarray, pose: Pose, size: int) -> np.ndarray:
    """The frame (size, size, 3) uint8."""
    x, y = _view(size, pose.zoom)
    depth, held = _depth(x, y)
    turn_x, turn_y = x - NECK[0], y - NECK[1]
    sin, cos = np.sin(pose.roll), np.cos(pose.roll)
    dx = turn_x - (cos * turn_x + sin * turn_y) + pose.x
    dy = turn_y - (cos * turn_y - sin * turn_x) + pose.y
    source_x = x - held * dx - depth * np.sin(pose.yaw)
    source_y = y - held * dy - depth * np.sin(pose.pitch)
    fine = [cv2.resize((m - o).astype(np.float32) * SCALE, (size, size), interpolation=cv2.INTER_LINEAR)
            for m, o in ((source_x, LEFT), (source_y, TOP))]  # fmt: skip
    return cv2.remap(canvas, fine[0], fine[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _view(size: int, zoom: float) -> tuple[np.ndarray, np.ndarray]:
    """x and y (rows, columns) float32 of the camera's pixels, coarse, in px of the picture."""
    left, top, side = VIEW
    count = -(-size // COARSE)
    steps = ((np.arange(count, dtype=np.float32) + 0.5) / count - 0.5) * np.float32(side / zoom)
    x, y = np.meshgrid(steps + np.float32(left + side / 2), steps + np.float32(top + side / 2))
    return x, y


def _depth(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far before the ears each point lies, and how much of the head's movement it takes part in (0 the body)."""
    nose_x, nose_y = _nose()
    dome = np.exp(-(((x - 224) / 52) ** 2) - ((y - 118) / 66) ** 2)
    nose = np.exp(-(((x - nose_x) / 9) ** 2) - ((y - nose_y) / 12) ** 2)
    held = 1 / (1 + np.exp((y - 192) / 7))
    return (DEPTH * dome + NOSE * nose).astype(np.float32), held.astype(np.float32)


@cache
def _nose() -> tuple[float, float]:
    x, y = landmarks()["nose"][0]
    return float(x), float(y)
