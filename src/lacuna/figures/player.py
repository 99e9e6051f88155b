"""A clip to be played on the page. In: a clip with a video. Out: an MP4 small enough to stand inside the page."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from lacuna.media import decode
from lacuna.media.encode import write_video
from lacuna.types import Clip

SIDE = 320  # px, the longer one at most
FASTEST = 25  # frames a second
SOUND = 32000  # Hz
MOST = 1_500_000  # bytes; the page holds the clip as text, a third longer
QUALITIES = (24, 30, 36, 42)  # of x264, the best first; what is still too long is not played


def encoded(clip: Clip, end: float | None) -> bytes | None:
    """The clip up to `end` (s of its file) with its sound, as H.264 and AAC; None without a picture that moves."""
    if clip.path is None:
        return None
    info = decode.probe(clip.path)
    if not info.video:
        return None
    fps = max(1, min(FASTEST, round(info.rate or FASTEST)))
    samples = decode.audio(clip.path, SOUND, clip.start, end)
    with tempfile.TemporaryDirectory() as folder:
        for quality in QUALITIES:
            path = Path(folder, "clip.mp4")
            write_video(path, _pictures(clip.path, clip.start, end, fps), fps, samples, SOUND, quality)
            if path.stat().st_size <= MOST:
                return path.read_bytes()
    return None


def still(image: np.ndarray) -> bytes:
    """A frame (H, W, 3) uint8 as a small JPEG."""
    picture, buffer = Image.fromarray(image), io.BytesIO()
    picture.thumbnail((SIDE, SIDE))
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _pictures(path: Path, start: float, end: float | None, fps: int) -> Iterator[np.ndarray]:
    """Frames made smaller, with even sides as H.264 wants them."""
    for frame in decode.frames(path, start, end, fps):
        height, width = frame.image.shape[:2]
        scale = min(1.0, SIDE / max(height, width))
        size = tuple(max(2, 2 * math.floor(side * scale / 2)) for side in (width, height))
        yield np.asarray(Image.fromarray(frame.image).resize(size, Image.Resampling.BOX))
