"""Decoding with PyAV. In: a media file and a span in seconds. Out: upright RGB frames with times, mono samples, images.

This is the room's door: `probe` and `sound` stand in modules of their own. Pictures come as players show them, upright,
in square pixels and all in the size of the first; they are held one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.video.reformatter import Interpolation
from PIL import Image, ImageOps

from lacuna.media import PICTURES, PIXELS, shared
from lacuna.media.container import (
    EPS,
    TOLERANCE,
    Beginnings,
    MediaInfo,
    decode_alone,
    decoded,
    end_of,
    frames_from,
    has_index,
    lacks_bytes,
    length_of,
    opened,
    origin_of,
    own_length_of,
    probe,
    stream_of,
    streams_of,
    tick_of,
)
from lacuna.media.sound import Track, audio, heard_in, sound, track_of
from lacuna.types import MalformedInput

if TYPE_CHECKING:
    from av.sidedata.sidedata import SideDataContainer  # what `side_data` is; PyAV's stub of frames says a dict

__all__ = ["Frame", "MediaInfo", "audio", "check", "frame_times", "frames", "image", "is_picture", "probe", "sound"]


@dataclass(frozen=True)
class Frame:
    """One upright RGB picture (H, W, 3) uint8, to be left as it is, and its time in seconds from the clip's start."""

    time: float
    image: np.ndarray


def check(path: Path, start: float = 0.0, end: float | None = None) -> tuple[str, ...]:
    """What is odd about a file and yet no fault; decodes its beginnings, and sound that may hold what is no number.

    MalformedInput unless the span has pictures at its start and the file has packets up to its end.
    """
    with opened(path) as container:
        stream, tracks = _pictures_of(container, path), len(streams_of(container, "audio"))
        heard = stream_of(container, "audio")
        floats = heard is not None and heard.codec_context.name.startswith("pcm_f")
        own = own_length_of(container, stream)  # some demuxers say otherwise once they have read
        length = own or length_of(container)
        track = _beginnings(container, stream, path, (start, end))
        if end is not None and length and end > length + TOLERANCE:
            raise MalformedInput(f"{path}: expected a span within its {length:.2f} s, got an end of {end} s")
        goal = (length if end is None else min(end, length)) - TOLERANCE
        # Without an index, the length is that of what is there.
        reached = _reached(container, stream, goal, bool(own)) if length and has_index(container) else goal
        short = container.format.name in ("asf", "gif") and lacks_bytes(path)
    if short:
        raise MalformedInput(f"{path}: expected as many bytes as its header says (was the file cut short?)")
    if reached < goal - EPS:
        said = f"{length:.2f} s of video as its header says"
        raise MalformedInput(f"{path}: expected {said}, found {reached:.2f} s (was the file cut short?)")
    if floats:  # as they were written: decoding is mere reading, and NaN passes
        _read_through(audio_pieces(path, start, end))
    remarks = ["several audio tracks, of which the default one is heard"] if tracks > 1 else []
    if track.opposed:
        remarks.append("channels that cancel each other, of which the difference is heard")
    return tuple(remarks)


def check_all(path: Path, start: float = 0.0, end: float | None = None) -> None:
    """MalformedInput where any picture or sound of the span is what extractors refuse: all of it is decoded."""
    _read_through(frames(path, start, end))
    _read_through(audio_pieces(path, start, end))


def audio_pieces(path: Path, start: float, end: float | None) -> Iterator[np.ndarray]:
    """The span's sound at the rate that it has; nothing where there is no track."""
    return iter(sound(path, track_of(path).rate, start, end) or ()) if probe(path).audio else iter(())


def _read_through(pieces: Iterator[object]) -> None:
    for _ in pieces:
        pass


def _beginnings(
    container: av.container.InputContainer, stream: av.VideoStream, path: Path, span: tuple[float, float | None]
) -> Track:
    """What is heard at the file's beginning, in one pass where it can be. MalformedInput: the span has no picture."""
    screen, sound, start = _Screen.of(stream), stream_of(container, "audio"), span[0]
    both = Beginnings(container, stream, sound)
    if start == 0 or not has_index(container):
        next(_upright(path, screen, both.frames(stream), span))
    both.dropped(stream)
    track = heard_in(both.frames(sound)) if sound is not None else Track(0)
    if start > 0 and has_index(container):
        shown = frames_from(container, stream, start)
        next(_upright(path, screen, decode_alone(path, "video", start) if shown is None else shown, span))
    return track


def _pictures_of(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    stream = stream_of(container, "video")
    if stream is None:
        raise MalformedInput(f"{path}: expected a video stream, found none")
    return stream


def _reached(container: av.container.InputContainer, stream: av.VideoStream, goal: float, own: bool) -> float:
    """The end in s of the last packet found on the way to `goal`: of the pictures, or of all that is heard and seen."""
    reached, origin = 0.0, origin_of(container)
    others = None if own else stream_of(container, "audio")
    for second in (max(0.0, goal), 0.0):  # some seeks find nothing (FLV): then all of it is read
        try:
            container.seek(int((second + origin) / tick_of(stream)), stream=stream)
            for packet in container.demux([s for s in (stream, others) if s is not None]):
                reached = max(reached, end_of(packet) - origin)
                if reached >= goal:
                    return reached
        except av.error.FFmpegError:
            pass  # what was reached before the damage tells enough
    return reached


def frames(path: Path, start: float = 0.0, end: float | None = None, fps: float | None = None) -> Iterator[Frame]:
    """Frames of [start, end), sampled at `fps` by time (each grid point takes the frame shown then); all if None.

    A frame that cannot be decoded is passed over. MalformedInput: no video stream, or not one frame in the span.
    """
    with opened(path) as container:
        screen = _Screen.of(_pictures_of(container, path))
    yield from _upright(path, screen, decoded(path, "video", start), (start, end), fps)


def _upright(
    path: Path,
    screen: _Screen,
    decoded: Iterator[tuple[av.VideoFrame, float]],
    span: tuple[float, float | None],
    fps: float | None = None,
) -> Iterator[Frame]:
    """What is shown of decoded pictures within a span."""
    start, end = span
    count, length, upright = 0, math.inf if end is None else end - start, None
    shown = ((frame, time - start) for frame, time in decoded)
    for frame, time in _within(shown, length) if fps is None else _sampled(shown, length, fps):
        upright = upright or _orientation(frame)
        count += 1
        yield Frame(time, upright(shared.once(frame, screen.shown)))
    if not count:
        raise MalformedInput(f"{path}: expected video frames from {start} s to {end or 'its end'}, found none")


def frame_times(path: Path) -> np.ndarray:
    """(T,) s: when each frame of the whole video is shown; MalformedInput where it has none."""
    times = np.array([time for _, time in decode_alone(path, "video", 0.0)])
    if not len(times):
        raise MalformedInput(f"{path}: expected a video stream, found none")
    return times


def _within(shown: Iterator[tuple[av.VideoFrame, float]], length: float) -> Iterator[tuple[av.VideoFrame, float]]:
    """Frames that begin in [0, length); where none does, the one that stays on screen throughout."""
    held, count = None, 0
    for picture, time in shown:
        if time >= length - EPS:
            break
        if time >= -EPS:
            count += 1
            yield picture, max(0.0, time)
        held = picture, time
    if not count and held is not None and held[1] + _shown_for(held[0]) > EPS:
        yield held[0], 0.0


def _sampled(
    shown: Iterator[tuple[av.VideoFrame, float]], length: float, fps: float
) -> Iterator[tuple[av.VideoFrame, float]]:
    """For each grid time k / fps in [0, length), the frame on screen then, with the grid time."""
    k, held, until = 0, None, 0.0
    for picture, time in shown:
        if held is None:
            k = max(0, math.ceil((time - EPS) * fps))  # pictures may start later than the sound
        while held is not None and k / fps < min(time, length) - EPS:
            yield held, k / fps
            k += 1
        if time >= length - EPS:
            return
        held, until = picture, time + _shown_for(picture)
    while held is not None and k / fps < min(until, length) - EPS:
        yield held, k / fps
        k += 1


def _shown_for(picture: av.VideoFrame) -> float:
    """Seconds that a frame stays on screen; containers that do not say, or say nonsense, get 1/25 s."""
    seconds = float((picture.duration or 0) * (picture.time_base or 0))
    return seconds if 0 < seconds <= 10 else 0.04


@dataclass(frozen=True)
class _Screen:
    """What a file's pictures are shown on: coded width, height and shape of a pixel (width over height)."""

    width: int
    height: int
    pixel: float

    @staticmethod
    def of(stream: av.VideoStream) -> _Screen:
        pixel = float(stream.sample_aspect_ratio or 1)
        # A header that says more than this is wrong: players show such files as they are coded.
        return _Screen(stream.codec_context.width, stream.codec_context.height, pixel if 0.1 < pixel < 10 else 1.0)

    def shown(self, picture: av.VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8 in square pixels; a picture of another size is fitted in, its shape kept, on black."""
        if (picture.width, picture.height, self.pixel) == (self.width, self.height, 1.0):
            return picture.to_ndarray(format="rgb24")
        width, height = round(self.width * self.pixel), self.height
        scale = min(width / (picture.width * self.pixel), height / picture.height)
        wide, high = round(picture.width * self.pixel * scale), round(picture.height * scale)
        fitted = picture.reformat(max(1, wide), max(1, high), "rgb24", interpolation=Interpolation.BICUBIC).to_ndarray()
        black = np.zeros((height, width, 3), np.uint8)
        top, left = (height - fitted.shape[0]) // 2, (width - fitted.shape[1]) // 2
        black[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
        return black


def _orientation(frame: av.VideoFrame) -> Callable[[np.ndarray], np.ndarray]:
    """How a picture is turned and mirrored to be as players show it, by the display matrix of its file.

    Asked of the first frame only: PyAV ties a frame and its side data into a cycle, which holds the picture's memory.
    """
    matrix = next((m for m in cast("SideDataContainer", frame.side_data) if m.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return lambda image: image
    # x' = a x + c y, y' = b x + d y, as 16.16 numbers; only signs matter for the eight upright positions
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(matrix), np.int32)[:5])
    swaps = abs(b) > abs(a)
    rows, columns = (b, c) if swaps else (d, a)
    flips = slice(None, None, -1 if rows < 0 else 1), slice(None, None, -1 if columns < 0 else 1)
    return lambda image: np.ascontiguousarray((image.transpose(1, 0, 2) if swaps else image)[flips])


def is_picture(path: Path | None) -> bool:
    """Whether a file is, by its suffix, a still picture, which has neither sound nor movement."""
    return path is not None and path.suffix.lower() in PICTURES


def image(path: Path) -> np.ndarray:
    """An upright RGB picture (H, W, 3) uint8, any mode, EXIF rotation applied; MalformedInput where unreadable."""
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > PIXELS:
                size = f"{picture.width} x {picture.height}"
                raise MalformedInput(f"{path}: expected at most {PIXELS} pixels, got {size}")
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except Image.DecompressionBombError as error:
        raise MalformedInput(f"{path}: expected at most {PIXELS} pixels: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise MalformedInput(f"{path}: expected a readable picture: {error}") from error
