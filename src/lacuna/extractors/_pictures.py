"""Pictures of clips for vision networks. In: clips. Out: pictures with their times, and sequences made of them.

A clip whose path is a picture gives that one. One whose path is a video gives a picture every 1 / fps s: the frame, or
its largest face (none: zeros, unseen).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from lacuna.extractors._encoders import batched, stacked
from lacuna.extractors._openface.networks import Detector
from lacuna.extractors._openface.weights import networks
from lacuna.media import decode
from lacuna.types import Clip, FeatureSequence, MalformedInput

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
CROPS = ("frame", "face")

Modality = Literal["auto", "image", "vision"]  # auto: video is vision, pictures are image

Image = np.ndarray | None  # (H, W, 3) uint8; None where there is no face
Prepare = Callable[[np.ndarray], np.ndarray]  # to the network's size at once, so that a long clip holds small pictures


def check(crop: str, fps: float) -> None:
    """Refuse what is no crop, and rates that give no picture."""
    if crop not in CROPS:
        raise MalformedInput(f"crop: expected {' or '.join(CROPS)}, got {crop!r}")
    if not fps > 0:
        raise MalformedInput(f"fps: expected more than 0, got {fps}")


class Pictures:
    """`pictures(clip)` gives (time in s, picture as `prepare` leaves it)."""

    def __init__(self, crop: str, fps: float, prepare: Prepare) -> None:
        self._fps, self._prepare = fps, prepare
        self._faces = FaceFinder() if crop == "face" else None

    def __call__(self, clip: Clip) -> Iterator[tuple[float, Image]]:
        if clip.path is None:
            return
        if Path(clip.path).suffix.lower() in SUFFIXES:
            yield 0.0, self._prepared(decode.image(clip.path))
        elif decode.probe(clip.path).video:
            for frame in decode.frames(clip.path, clip.start, clip.end, self._fps):
                yield frame.time, self._prepared(frame.image)

    def _prepared(self, image: np.ndarray) -> Image:
        face = image if self._faces is None else self._faces(image)
        return None if face is None else self._prepare(face)


def sequences(
    clips: Sequence[Clip],
    pictures: Pictures,
    features: Callable[[Sequence[Image]], np.ndarray],
    batch_size: int,
    columns: tuple[str, ...],
) -> list[FeatureSequence]:
    """One sequence a clip; pictures of all clips share batches. `features`: n pictures → (n, rows, D).

    Raises for the first clip that cannot be read.
    """
    shared = ((i, picture) for i, clip in enumerate(clips) for picture in pictures(clip))
    rows: list[list[np.ndarray]] = [[] for _ in clips]
    times: list[list[float]] = [[] for _ in clips]
    seen: list[list[bool]] = [[] for _ in clips]
    for batch in batched(shared, batch_size):
        for (i, (time, image)), values in zip(batch, features([image for _, (_, image) in batch])):
            rows[i].append(values)
            times[i] += [time] * len(values)
            seen[i] += [image is not None] * len(values)
    return [
        FeatureSequence(stacked(r, len(columns)), np.array(t, np.float64), np.array(s, bool), columns)
        for r, t, s in zip(rows, times, seen)
    ]


class FaceFinder:
    """The largest face of a picture, by the detector of Google's face landmarker, with a margin; None without one."""

    LEAST = 0.5  # how sure the detector must be

    def __init__(self) -> None:
        self._detect = Detector(networks(), self.LEAST)

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        found = self._detect(image)
        if not found:
            return None
        crop = max(found, key=lambda crop: crop.width)  # already wider than the inner face that detectors box
        left, top = max(0, int(crop.x - crop.width / 2)), max(0, int(crop.y - crop.width / 2))
        face = image[top : int(crop.y + crop.width / 2) + 1, left : int(crop.x + crop.width / 2) + 1]
        return face if face.size else None
