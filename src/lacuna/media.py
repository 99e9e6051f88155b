"""Decoding with PyAV. In: a media file and a span in seconds. Out: upright RGB frames with times, mono samples, images.

Times are taken from the container's time stamps, never from frame counts: variable frame rates and damaged frames keep
their place. Nothing here holds more than a second of video, so memory does not grow with a clip's length.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler
from PIL import Image, ImageOps, UnidentifiedImageError

from lacuna.types import MalformedInput

av.logging.set_level(av.logging.PANIC)  # FFmpeg's remarks on damaged frames: we count and tell them ourselves


@dataclass(frozen=True)
class Frame:
    """One upright RGB picture (H, W, 3) uint8 and its time in seconds from the start of the clip."""

    time: float
    image: np.ndarray


@dataclass(frozen=True)
class MediaInfo:
    """What a container says of itself. duration in s, rate in frames/s, size before rotation (width, height) px."""

    duration: float
    video: bool
    audio: bool
    rate: float = 0.0
    size: tuple[int, int] = (0, 0)
    audio_rate: int = 0
    channels: int = 0


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    if not Path(path).is_file():
        raise MalformedInput(f"{path}: expected a media file, found none")
    if not Path(path).stat().st_size:
        raise MalformedInput(f"{path}: expected a media file, found 0 bytes")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            yield container
    except av.error.FFmpegError as error:
        raise MalformedInput(f"{path}: expected a readable media file: {error.strerror}") from error


def probe(path: Path) -> MediaInfo:
    """Open the file and read its headers; MalformedInput where it is no media file."""
    with _opened(path) as container:
        video = next(iter(container.streams.video), None)
        audio = next(iter(container.streams.audio), None)
        if video is None and audio is None:
            raise MalformedInput(f"{path}: expected a video or audio stream, found none")
        duration = (container.duration or 0) / av.time_base
        return MediaInfo(
            duration=duration,
            video=video is not None,
            audio=audio is not None,
            rate=float(video.average_rate or 0) if video else 0.0,
            size=(video.codec_context.width, video.codec_context.height) if video else (0, 0),
            audio_rate=audio.codec_context.sample_rate if audio else 0,
            channels=audio.codec_context.channels if audio else 0,
        )


def frames(path: Path, start: float = 0.0, end: float | None = None, fps: float | None = None) -> Iterator[Frame]:
    """Frames of [start, end), sampled at `fps` by time (each grid point takes the frame shown then); all if None.

    A frame that cannot be decoded is passed over. MalformedInput: no video stream, or not one frame in the span.
    """
    count = 0
    with _opened(path) as container:
        if not container.streams.video:
            raise MalformedInput(f"{path}: expected a video stream, found none")
        shown = _decoded(container, start, end)
        for frame, time in shown if fps is None else _sampled(shown, fps):
            count += 1
            yield Frame(time, _upright(frame))
    if not count:
        raise MalformedInput(f"{path}: expected video frames from {start} s to {end or 'its end'}, found none")


def _decoded(
    container: av.container.InputContainer, start: float, end: float | None
) -> Iterator[tuple[av.VideoFrame, float]]:
    """Decodable frames of the span with their time from its start."""
    stream = container.streams.video[0]
    stream.thread_type = "NONE"  # work is spread over clips; threads inside one would contend
    origin = float((stream.start_time or 0) * stream.time_base)
    if start > 0:
        container.seek(int((start + origin) / stream.time_base), stream=stream)
    for packet in container.demux(stream):
        try:
            pictures = packet.decode()
        except av.error.InvalidDataError:
            continue
        for picture in pictures:
            if picture.time is None:
                continue
            time = float(picture.time) - origin
            if end is not None and time >= end - 1e-6:
                return
            if time >= start - 1e-6:
                yield picture, max(0.0, time - start)


def _sampled(shown: Iterator[tuple[av.VideoFrame, float]], fps: float) -> Iterator[tuple[av.VideoFrame, float]]:
    """For each grid time k / fps within the span, the frame on screen then, with the grid time."""
    k, previous, step = 0, None, 1 / fps
    for picture, time in shown:
        while previous is not None and k * step < time - 1e-6:
            yield previous, k * step
            k += 1
        if previous is None and k == 0:
            k = int(np.ceil(time * fps - 1e-6))  # the picture may start later than the sound
        previous, last = picture, time
    if previous is not None and k * step <= last + 1e-6:
        yield previous, k * step


def _upright(frame: av.VideoFrame) -> np.ndarray:
    image = frame.to_ndarray(format="rgb24")
    turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def audio(path: Path, rate: int, start: float = 0.0, end: float | None = None) -> np.ndarray | None:
    """Mono samples (n,) float32 in [-1, 1] of [start, end), resampled once to `rate` Hz; None without an audio track."""
    with _opened(path) as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            return None
        pieces = list(_resampled(container, stream, rate, start, end))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _resampled(
    container: av.container.InputContainer, stream: av.AudioStream, rate: int, start: float, end: float | None
) -> Iterator[np.ndarray]:
    """Pieces cut to the span by their time stamps. The cut is made after resampling, to the nearest sample."""
    resampler = AudioResampler(format="flt", layout="mono", rate=rate)
    origin = float((stream.start_time or 0) * stream.time_base)
    if start > 0:
        container.seek(max(0, int((start + origin - 0.5) / stream.time_base)), stream=stream)
    position: int | None = None
    first, last = round(start * rate), None if end is None else round(end * rate)
    for frame in _audio_frames(container, stream):
        if position is None:
            position = round((float(frame.time or 0) - origin) * rate) if frame is not None else 0
        for piece in resampler.resample(frame):
            samples = piece.to_ndarray()[0]
            low, high = max(0, first - position), len(samples) if last is None else last - position
            position += len(samples)
            if high > low:
                yield samples[low:high].astype(np.float32)
            if last is not None and position >= last:
                return


def _audio_frames(
    container: av.container.InputContainer, stream: av.AudioStream
) -> Iterator[av.AudioFrame | None]:
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except av.error.InvalidDataError:
            continue
        for frame in decoded:
            frame.pts = None if frame.pts is None else frame.pts
            yield frame
    yield None  # flush the resampler


def image(path: Path) -> np.ndarray:
    """An upright RGB picture (H, W, 3) uint8, any mode, EXIF rotation applied; MalformedInput where unreadable."""
    try:
        with Image.open(path) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise MalformedInput(f"{path}: expected a readable picture: {error}") from error
