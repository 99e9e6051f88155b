"""Decoding with PyAV. In: a media file and a span in seconds. Out: upright RGB frames with times, mono samples, images.

Second 0 is the container's start, for pictures and sound alike, so that they stay together where one begins later.
Times are taken from time stamps, never from frame counts: variable frame rates and damaged frames keep their place.
Pictures are held one at a time and sound is cut before it is resampled: memory does not grow with a file's length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler
from PIL import Image, ImageOps

from lacuna.media import shared
from lacuna.types import MalformedInput

av.logging.set_level(av.logging.PANIC)  # FFmpeg's remarks on damaged frames: we count and tell them ourselves

EPS = 1e-6  # s: time stamps are fractions, spans are floats
TOLERANCE = 0.5  # s by which pictures may end before the header, or the span, says that they do
PREROLL = 0.5  # s of sound decoded before a span, because the first frames after a seek lack their predecessors
MARGIN = 0.05  # s of sound given to the resampler on both sides of a span: far more than its filter's reach
CHANNELS = 8  # planes of sound: where a frame has more, PyAV reads beyond its memory
GAP = 0.1  # s by which sound may be off its time stamps (rounding, encoder delay) before silence is put in

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

# Containers without an index, where a seek lands between pictures or with wrong time stamps: read from the start.
_UNSEEKABLE = {"mpeg", "mpegts", "mpegvideo", "h264", "hevc", "m4v", "mp3", "aac", "ac3"}


@dataclass(frozen=True)
class Frame:
    """One upright RGB picture (H, W, 3) uint8, to be left as it is, and its time in seconds from the clip's start."""

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
        # "file:" and the whitelist: a name with a colon is no protocol, and a playlist in disguise opens nothing else.
        options = {"protocol_whitelist": "file"}
        with av.open(f"file:{path}", options=options, metadata_errors="replace") as container:
            yield container
    except av.error.FFmpegError as error:
        raise MalformedInput(f"{path}: expected a readable media file: {error.strerror}") from error


def _stream(container: av.container.InputContainer, kind: str) -> av.stream.Stream | None:
    """The first stream of "video" or "audio" that can be decoded; cover pictures are no video."""
    for stream in getattr(container.streams, kind):
        if stream.codec_context is not None and not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    return None


def probe(path: Path) -> MediaInfo:
    """Open the file and read its headers; MalformedInput where it is no media file."""
    with _opened(path) as container:
        video, audio = _stream(container, "video"), _stream(container, "audio")
        if video is None and audio is None:
            raise MalformedInput(f"{path}: expected a video or audio stream, found none")
        return MediaInfo(
            duration=(container.duration or 0) / av.time_base,
            video=video is not None,
            audio=audio is not None,
            rate=float(video.average_rate or 0) if video else 0.0,
            size=(video.codec_context.width, video.codec_context.height) if video else (0, 0),
            audio_rate=audio.codec_context.sample_rate if audio else 0,
            channels=audio.codec_context.channels if audio else 0,
        )


def check(path: Path, start: float = 0.0, end: float | None = None) -> None:
    """MalformedInput unless the span has pictures at its start and packets up to its end. Decodes a few frames only."""
    next(frames(path, start, end))
    with _opened(path) as container:
        stream = _stream(container, "video")
        length = _said_length(container, stream)
        if end is not None and length and end > length + TOLERANCE:
            raise MalformedInput(f"{path}: expected a span within its {length:.2f} s, got an end of {end} s")
        if not length or container.format.name in _UNSEEKABLE:
            return  # without an index, the length is that of what is there
        goal = (length if end is None else min(end, length)) - TOLERANCE
        reached = _reached(container, stream, goal)
    if reached < goal - EPS:
        said = f"{length:.2f} s of video as its header says"
        raise MalformedInput(f"{path}: expected {said}, found {reached:.2f} s (was the file cut short?)")


def _said_length(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    """Seconds of video that the headers promise; 0 where they do not say."""
    length = (container.duration or 0) / av.time_base
    if stream.duration:
        length = float(stream.duration * stream.time_base)
    if container.format.name == "avi" and stream.average_rate:
        length = max(length, float(stream.frames / stream.average_rate))  # FFmpeg guesses the rest from the bytes left
    return length


def _reached(container: av.container.InputContainer, stream: av.VideoStream, goal: float) -> float:
    """The end in seconds of the last packet found on the way to `goal`."""
    reached, origin = 0.0, stream.start_time or 0
    container.seek(max(0, int(max(0.0, goal) / stream.time_base) + origin), stream=stream)
    try:
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size:
                reached = max(reached, float((packet.pts - origin + (packet.duration or 0)) * stream.time_base))
            if reached >= goal:
                break
    except av.error.FFmpegError:
        pass  # what was reached before the damage tells enough
    return reached


def _decoded(path: Path, kind: str, start: float) -> Iterator[tuple[av.frame.Frame, float]]:
    """Frames of the video or audio stream with their times, the first at or before `start` where there is one."""
    return shared.stream(kind, (path, start), lambda: _decode(path, kind, start))


def _decode(path: Path, kind: str, start: float) -> Iterator[tuple[av.frame.Frame, float]]:
    for seeks in (True, False) if start > 0 else (False,):
        with _opened(path) as container:
            stream = _stream(container, kind)
            if stream is None or (seeks and not _sought(container, stream, start)):
                continue
            decoded = _timed(container, stream)
            first = next(decoded, None)
            if seeks and (first is None or first[1] > start + EPS):
                continue  # the seek overshot: read it all
            if first is not None:
                yield first
                yield from decoded
            return


def _sought(container: av.container.InputContainer, stream: av.stream.Stream, start: float) -> bool:
    if container.format.name in _UNSEEKABLE:
        return False
    try:
        container.seek(int((start + _origin(container)) / stream.time_base), stream=stream)
    except av.error.FFmpegError:
        return False
    return True


def _origin(container: av.container.InputContainer) -> float:
    """Second 0: where the first of the decodable streams starts, in the container's own time."""
    streams = [s for s in (_stream(container, "video"), _stream(container, "audio")) if s is not None]
    return float(min((s.start_time * s.time_base for s in streams if s.start_time is not None), default=0))


def _timed(container: av.container.InputContainer, stream: av.stream.Stream) -> Iterator[tuple[av.frame.Frame, float]]:
    """Decodable frames, each with a time after the one before."""
    stream.codec_context.thread_type = "NONE"  # work is spread over clips; threads inside one would contend
    origin, previous, step, skipped = _origin(container), -math.inf, 0.04, 0.0
    if isinstance(stream, av.VideoStream) and stream.average_rate:
        step = float(1 / stream.average_rate)
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except av.error.FFmpegError:
            continue  # a damaged packet; those after it have time stamps of their own
        for frame in decoded:
            time = previous + step if frame.time is None else float(frame.time) - origin + skipped
            if time < previous - 1:  # clocks set back in the middle (recordings joined): go on from here
                skipped += previous + step - time
                time = previous + step
            if not math.isfinite(time) or (time <= previous and isinstance(frame, av.VideoFrame)):
                continue
            previous = time
            yield frame, time


def frames(path: Path, start: float = 0.0, end: float | None = None, fps: float | None = None) -> Iterator[Frame]:
    """Frames of [start, end), sampled at `fps` by time (each grid point takes the frame shown then); all if None.

    A frame that cannot be decoded is passed over. MalformedInput: no video stream, or not one frame in the span.
    """
    with _opened(path) as container:
        if _stream(container, "video") is None:
            raise MalformedInput(f"{path}: expected a video stream, found none")
    count, length, upright = 0, math.inf if end is None else end - start, None
    shown = ((frame, time - start) for frame, time in _decoded(path, "video", start))
    for frame, time in _within(shown, length) if fps is None else _sampled(shown, length, fps):
        upright = upright or _orientation(frame)
        count += 1
        yield Frame(time, upright(shared.once(frame, lambda shown: shown.to_ndarray(format="rgb24"))))
    if not count:
        raise MalformedInput(f"{path}: expected video frames from {start} s to {end or 'its end'}, found none")


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


def _orientation(frame: av.VideoFrame) -> Callable[[np.ndarray], np.ndarray]:
    """How a picture is turned and mirrored to be as players show it, by the display matrix of its file.

    Asked of the first frame only: PyAV ties a frame and its side data into a cycle, which holds the picture's memory.
    """
    matrix = next((m for m in frame.side_data if m.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return lambda image: image
    # x' = a x + c y, y' = b x + d y, as 16.16 numbers; only signs matter for the eight upright positions
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(matrix), np.int32)[:5])
    swaps = abs(b) > abs(a)
    rows, columns = (b, c) if swaps else (d, a)
    flips = slice(None, None, -1 if rows < 0 else 1), slice(None, None, -1 if columns < 0 else 1)
    return lambda image: np.ascontiguousarray((image.transpose(1, 0, 2) if swaps else image)[flips])


def audio(path: Path, rate: int, start: float = 0.0, end: float | None = None) -> np.ndarray | None:
    """Mono samples (n,) float32 of [start, end), resampled once to `rate` Hz; None without an audio track.

    Sample i is heard at start + i / rate: a track that begins late, or has holes, is silent there.
    """
    pieces = sound(path, rate, start, end)
    return None if pieces is None else np.concatenate([np.zeros(0, np.float32), *pieces])


def sound(path: Path, rate: int, start: float = 0.0, end: float | None = None) -> Iterator[np.ndarray] | None:
    """The same samples in pieces of about a second, so that hours of sound need no memory."""
    with _opened(path) as container:
        if _stream(container, "audio") is None:
            return None
    return _sound(path, rate, start, end)


def _sound(path: Path, rate: int, start: float, end: float | None) -> Iterator[np.ndarray]:
    # Asked of the decoder, because headers understate the rate of some AAC.
    source = next((frame.sample_rate for frame, _ in _decode(path, "audio", 0.0)), rate)
    # The resampler starts on a source sample that is an output sample too, so that a span has the phase of the whole.
    step = Fraction(rate, source).denominator
    first = max(0, math.floor((start - MARGIN) * source / step)) * step
    last = None if end is None else math.ceil((end + MARGIN) * source)
    skipped = round(start * rate) - first * rate // source
    left = math.inf if end is None else round(end * rate) - round(start * rate)
    # From where, does not depend on the rate: extractors that want other rates can share the decoder.
    decoded = _decoded(path, "audio", max(0.0, start - MARGIN - PREROLL))
    for samples in _resampled(_cut(path, decoded, source, first, last), source, rate):
        wanted = samples[skipped : skipped + min(left, len(samples))]
        skipped = max(0, skipped - len(samples))
        left -= len(wanted)
        if len(wanted):
            yield wanted


def _cut(
    path: Path, decoded: Iterator[tuple[av.AudioFrame, float]], source: int, first: int, last: int | None
) -> Iterator[np.ndarray]:
    """The mono samples first <= i < last of the track at its own rate, silence where it has none."""
    position, following = first, None  # the next sample wanted; the one that follows what was decoded
    for frame, time in decoded:
        if frame.sample_rate != source:
            raise MalformedInput(f"{path}: expected {source} Hz throughout, got {frame.sample_rate} at {time:.2f} s")
        if frame.format.is_planar and frame.layout.nb_channels > CHANNELS:
            raise MalformedInput(f"{path}: expected at most {CHANNELS} channels, got {frame.layout.nb_channels}")
        samples, stamp = _mono(frame), round(time * source)
        if following is None or abs(stamp - following) > GAP * source:
            following = stamp
        begin, following = following, following + len(samples)
        quiet = (begin if last is None else min(begin, last)) - position
        if quiet > 0:
            yield from _silence(quiet, source)
            position += quiet
        wanted = samples[position - begin : None if last is None else max(0, last - begin)] if position >= begin else []
        if len(wanted):
            yield wanted
            position += len(wanted)
        if last is not None and position >= last:
            return


def _silence(samples: int, source: int) -> Iterator[np.ndarray]:
    return (np.zeros(min(source, samples - done), np.float32) for done in range(0, samples, source))


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """(n,) float32: the mean of two channels; of more, the centre before the sides before the back, no bass channel."""
    samples = frame.to_ndarray()
    names = [channel.name for channel in frame.layout.channels]
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(names)).T
    if samples.dtype.kind != "f":
        low, bits = (128, 8) if samples.dtype == np.uint8 else (0, 8 * samples.dtype.itemsize)
        samples = (samples.astype(np.float64) - low) / 2 ** (bits - 1)
    return (_weights(tuple(names)) @ samples).astype(np.float32)


@cache
def _weights(names: tuple[str, ...]) -> np.ndarray:
    weights = np.ones(len(names))
    if len(names) > 2 and "FC" in names:
        front = {"FC": 1.0, "FL": math.sqrt(0.5), "FR": math.sqrt(0.5), "LFE": 0.0}
        weights = np.array([front.get(name, 0.5) for name in names])
    return (weights / weights.sum()).astype(np.float32)


def _resampled(pieces: Iterator[np.ndarray], source: int, rate: int) -> Iterator[np.ndarray]:
    if source == rate:
        yield from pieces
        return
    resampler = AudioResampler(format="flt", layout="mono", rate=rate)
    for samples in _gathered(pieces, source):
        given = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        given.sample_rate = source
        yield from (out.to_ndarray()[0].copy() for out in resampler.resample(given))
    yield from (out.to_ndarray()[0].copy() for out in resampler.resample(None))


def _gathered(pieces: Iterator[np.ndarray], least: int) -> Iterator[np.ndarray]:
    """Pieces of at least so many samples: called for every packet, the resampler takes twice the time."""
    waiting: list[np.ndarray] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) >= least:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def is_picture(path: Path | None) -> bool:
    """Whether a file is, by its suffix, a still picture, which has neither sound nor movement."""
    return path is not None and path.suffix.lower() in PICTURES


def image(path: Path) -> np.ndarray:
    """An upright RGB picture (H, W, 3) uint8, any mode, EXIF rotation applied; MalformedInput where unreadable."""
    try:
        with Image.open(path) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise MalformedInput(f"{path}: expected a readable picture: {error}") from error
