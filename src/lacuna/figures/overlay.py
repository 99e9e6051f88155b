"""A video with what was measured of its face drawn over it. In: an MP4, a still, a face's columns. Out: HTML and data.

`player` is the whole thing for a page of its own, with its script beside it. A page that makes its elements otherwise
(NiceGUI) takes `script` once, `frame` for the element, and calls `lacunaFaces(element, data)` with `measured`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from lacuna.figures.faces import EYES, LINES, LOOPS, POINTS
from lacuna.figures.html import data_uri
from lacuna.figures.player import encoded, still
from lacuna.media import decode
from lacuna.types import Clip, FeatureSequence

UNITS = {  # what is drawn as bars
    "AU01_r": "inner brows up",
    "AU02_r": "outer brows up",
    "AU04_r": "brows lowered",
    "AU06_r": "cheeks raised",
    "AU12_r": "smile",
    "AU15_r": "lip corners down",
    "AU25_r": "lips apart",
    "AU45_r": "blink",
}
MOST = 600  # frames; of longer sequences every second, third, … is drawn
_FILLS = "display:block;width:100%;height:auto"
_OVER = "position:absolute;left:0;top:0;width:100%;height:100%;pointer-events:none"


@dataclass(frozen=True)
class Preview:
    """A small MP4, its first picture (JPEG), and what `lacunaFaces` draws over them, None without a face."""

    mp4: bytes
    still: bytes
    faces: dict[str, Any] | None


def preview(clip: Clip, end: float | None, vision: FeatureSequence | None) -> Preview | None:
    """The clip up to `end` (s of its file), to be shown elsewhere; None where no picture moves."""
    mp4 = encoded(clip, end)
    if clip.path is None or mp4 is None:
        return None
    first = next(decode.frames(clip.path, clip.start, end))
    height, width = first.image.shape[:2]
    return Preview(mp4, still(first.image), measured(vision, (width, height), first.time))


def player(mp4: bytes, poster: bytes, told: str, faces: Mapping[str, Any] | None) -> str:
    """Something to play, the picture (JPEG) shown before, and the face of `measured` over both."""
    if faces is None:
        return f'<figure class="video">{_video(mp4, poster)}<figcaption>{escape(told)}</figcaption></figure>\n'
    drawn = json.dumps(faces, separators=(",", ":"))
    return (
        f'<figure class="video">{frame(mp4, poster)}<figcaption>{escape(told)}</figcaption></figure>\n'
        f"<script>\n{script()}lacunaFaces(document.currentScript.previousElementSibling, {drawn});\n</script>\n"
    )


def frame(mp4: bytes, poster: bytes) -> str:
    """The video, the canvas over it, and the box that switches the drawing off and on."""
    canvas = f'<canvas style="{_OVER}" aria-hidden="true"></canvas>'
    return (
        f'<div style="position:relative">{_video(mp4, poster)}{canvas}</div>'
        '<label style="font-size:.85em"><input type="checkbox" checked> draw what was measured of the face</label>'
    )


def script() -> str:
    """The text of `lacunaFaces(element, data)`."""
    return files("lacuna.figures").joinpath("overlay.js").read_text(encoding="utf-8")


def measured(vision: FeatureSequence | None, size: tuple[int, int], shown: float) -> dict[str, Any] | None:
    """What `lacunaFaces` draws; None without landmarks.

    vision: the face's columns, in px of pictures of `size` (width, height); shown: the time (s) of the picture seen
    before the video is played.
    """
    if vision is None or not len(vision) or "x_0" not in vision.columns:
        return None
    step = -(-len(vision) // MOST)
    points = np.stack([_columns(vision, [f"{axis}_{i}" for i in range(POINTS)]) for axis in "xy"], axis=-1)
    points = np.rint(points / size * 1000).astype(int).reshape(len(vision), -1)
    gaze = _columns(vision, [f"gaze_{eye}_{axis}" for eye in EYES for axis in "xy"])
    units = {name: told for name, told in UNITS.items() if name in vision.columns}
    bars = _columns(vision, list(units))
    frames = []
    for i in range(0, len(vision), step):
        face: dict[str, Any] = {"t": round(float(vision.times[i]), 3)}
        if vision.seen[i]:
            face["p"] = points[i].tolist()
            face |= {"g": np.rint(gaze[i] * 1000).astype(int).tolist()} if gaze.shape[1] else {}
            face |= {"u": bars[i].round(2).tolist()} if units else {}
        frames.append(face)
    return {
        "frames": frames,
        "lines": [list(line) for line in LINES] + [[*loop, loop[0]] for loop in LOOPS],
        "eyes": [list(places) for places in EYES.values()],
        "units": list(units.values()),
        "still": shown,
    }


def _columns(vision: FeatureSequence, names: list[str]) -> np.ndarray:
    """(T, len(names)), or (T, 0) where one is missing."""
    if any(name not in vision.columns for name in names):
        return np.zeros((len(vision), 0))
    return vision.values[:, [vision.columns.index(name) for name in names]].astype(float)


def _video(mp4: bytes, poster: bytes) -> str:
    source = f'src="{data_uri("video/mp4", mp4)}" poster="{data_uri("image/jpeg", poster)}"'
    return f'<video style="{_FILLS}" controls playsinline preload="metadata" {source}></video>'
