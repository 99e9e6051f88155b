"""Opening media files with PyAV. In: a file. Out: what it says of itself, and its frames with their times.

Second 0 is the container's start, for pictures and sound alike, so that they stay together where one begins later.
Times are taken from time stamps, never from frame counts: variable frame rates and damaged frames keep their place.
"""

from __future__ import annotations

import errno
import math
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal, overload

import av

from lacuna.media import PIXELS, shared
from lacuna.types import MalformedInput

av.logging.set_level(av.logging.PANIC)  # FFmpeg's remarks on damaged frames: we count and tell them ourselves

Kind = Literal["video", "audio"]
EPS = 1e-6  # s: time stamps are fractions, spans are floats
SET_BACK = 0.5  # s by which times go back where recordings were joined; frames that come late go back by less
TOLERANCE = 0.5  # s by which packets may end before the header, or the span, says that they do

# Containers that hold what they play. Playlists and scripts (hls, dash, concat, sdp, image2 …) open other files.
FORMATS = (
    "mov,mp4,matroska,webm,avi,asf,flv,live_flv,kux,mpeg,mpegts,mpegvideo,h264,hevc,m4v,mjpeg,ivf,gif,apng,ogg,rm,mxf,dv,"
    "nut,wtv,wav,w64,aiff,caf,au,voc,mp3,aac,ac3,eac3,dts,flac,amr,wv,ape,tta,opus"
)
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "max_pixels": str(PIXELS)}

# Containers without an index, where a seek lands between pictures or with wrong time stamps: read from the start.
_UNSEEKABLE = {"mpeg", "mpegts", "mpegvideo", "h264", "hevc", "m4v", "mp3", "aac", "ac3"}
_FROM_ZERO = ("matroska", "flv")  # whose length counts from their clock's 0, wherever they start
_OF_ALL = ("asf",)  # which say the whole file's length of each stream
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


@dataclass(frozen=True)
class MediaInfo:
    """What a container says of itself. duration in s, rate in frames/s, size before rotation (width, height) px.

    Where the header has no duration, it is that of the packets.
    """

    duration: float
    video: bool
    audio: bool
    rate: float = 0.0
    size: tuple[int, int] = (0, 0)
    audio_rate: int = 0
    channels: int = 0


@contextmanager
def opened(path: Path) -> Iterator[av.container.InputContainer]:
    """An open file; MalformedInput where it is no media file, or damaged beyond going on."""
    if not Path(path).is_file():
        raise MalformedInput(f"{path}: expected a media file, found none")
    if not Path(path).stat().st_size:
        raise MalformedInput(f"{path}: expected a media file, found 0 bytes")
    try:
        # "file:" and the whitelists: a name with a colon is no protocol, and a playlist in disguise opens nothing else.
        with av.open(f"file:{path}", options=OPTIONS, metadata_errors="replace") as container:
            yield container
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            _read_through(path)
        told = error.strerror
        if error.errno in (errno.EINVAL, errno.EPERM):
            told = "it is in none of the formats that hold what they play (a playlist of other files?)"
        raise MalformedInput(f"{path}: expected a readable media file: {told}") from error


def _read_through(path: Path) -> None:
    """OSError where the machine cannot read the file: FFmpeg says the same of a damaged one."""
    with Path(path).open("rb") as file:
        while file.read(1 << 20):
            pass


@overload
def stream_of(container: av.container.InputContainer, kind: Literal["video"]) -> av.VideoStream | None: ...
@overload
def stream_of(container: av.container.InputContainer, kind: Literal["audio"]) -> av.AudioStream | None: ...
def stream_of(container: av.container.InputContainer, kind: Kind) -> av.VideoStream | av.AudioStream | None:
    """The stream of "video" or "audio" that a player takes: the first one marked as default, else the first.

    Cover pictures are no video. MalformedInput for pictures of more than `PIXELS`.
    """
    streams = streams_of(container, kind)
    default = av.stream.Disposition.default
    stream = min(streams, key=lambda s: not s.disposition & default) if streams else None
    if isinstance(stream, av.VideoStream):
        _check_size(container.name.removeprefix("file:"), stream)
    return stream


def streams_of(container: av.container.InputContainer, kind: Kind) -> list[av.VideoStream | av.AudioStream]:
    """Those that can be decoded."""
    cover = av.stream.Disposition.attached_pic
    return [s for s in getattr(container.streams, kind) if s.codec_context is not None and not s.disposition & cover]


def _check_size(name: str, stream: av.VideoStream) -> None:
    context = stream.codec_context
    # FFmpeg forgets a size that it was told not to decode.
    if not 0 < context.width * context.height <= PIXELS:
        size = f"{context.width} x {context.height}" if context.width else "more, or none"
        raise MalformedInput(f"{name}: expected pictures of at most {PIXELS} pixels, got {size}")
    context.options = {"max_pixels": str(PIXELS)}


def probe(path: Path) -> MediaInfo:
    """Open the file and read its headers; MalformedInput where it is no media file."""
    with opened(path) as container:
        video, audio = stream_of(container, "video"), stream_of(container, "audio")
        if video is None and audio is None:
            raise MalformedInput(f"{path}: expected a video or audio stream, found none")
        return MediaInfo(
            duration=length_of(container) or _measured(container),
            video=video is not None,
            audio=audio is not None,
            rate=float(video.average_rate or 0) if video else 0.0,
            size=(video.codec_context.width, video.codec_context.height) if video else (0, 0),
            audio_rate=audio.codec_context.sample_rate if audio else 0,
            channels=audio.codec_context.channels if audio else 0,
        )


def length_of(container: av.container.InputContainer) -> float:
    """Seconds from second 0 to the end that the header says; 0 where it says none."""
    length, origin = (container.duration or 0) / av.time_base, origin_of(container)
    if container.format.name in _OF_ALL:
        return max((float(s.duration * tick_of(s)) for s in _heard_and_seen(container) if s.duration), default=0.0)
    if container.format.name.startswith(_FROM_ZERO) and length > origin:
        length -= origin
    return length


def own_length_of(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    """Seconds from second 0 to the end of the pictures as the header says; 0 where it does not say it of them."""
    if container.format.name in _OF_ALL or not stream.duration:
        return 0.0
    length = float(stream.duration * tick_of(stream))
    if container.format.name == "avi" and stream.average_rate:
        length = max(length, float(stream.frames / stream.average_rate))  # FFmpeg guesses the rest from the bytes left
    late = float((stream.start_time or 0) * tick_of(stream)) - origin_of(container)
    return length + max(0.0, late)


def lacks_bytes(path: Path) -> bool:
    """Whether an ASF file is shorter than its header says, which FFmpeg then forgets, or a GIF has no end.

    ASF's File Properties Object has the size of the file 40 bytes after its name, and 88 after it bit 0 for a
    broadcast, which cannot know (Advanced Systems Format 3.2). A GIF ends with 0x3B (GIF89a 27).
    """
    with Path(path).open("rb") as file:
        head = file.read(1 << 16)
        if head.startswith(b"GIF8"):
            file.seek(-min(1 << 12, Path(path).stat().st_size), 2)
            return not file.read().rstrip(b"\0\r\n").endswith(b";")
    at = head.find(_ASF_PROPERTIES)
    if at < 0 or len(head) < at + 92 or head[at + 88] & 1:
        return False
    return int.from_bytes(head[at + 40 : at + 48], "little") > Path(path).stat().st_size


def has_index(container: av.container.InputContainer) -> bool:
    """Whether a seek lands where it was asked to."""
    return container.format.name not in _UNSEEKABLE


def _measured(container: av.container.InputContainer) -> float:
    """Seconds from second 0 to the end of the last packet, of a file whose header does not say."""
    ends = (end_of(packet) for packet in container.demux(*_heard_and_seen(container)))
    return max(0.0, max(ends, default=0.0) - origin_of(container))


def end_of(packet: av.packet.Packet) -> float:
    """When a packet ends, s of the container's clock; -inf where it does not say."""
    if packet.pts is None or not packet.size:
        return -math.inf
    return float((packet.pts + (packet.duration or 0)) * tick_of(packet))


def tick_of(timed: av.stream.Stream | av.packet.Packet) -> Fraction:
    """Seconds that one step of its time stamps takes."""
    if timed.time_base is None:
        raise MalformedInput("expected time stamps with a unit, found none")
    return timed.time_base


@overload
def decoded(path: Path, kind: Literal["video"], start: float) -> Iterator[tuple[av.VideoFrame, float]]: ...
@overload
def decoded(path: Path, kind: Literal["audio"], start: float) -> Iterator[tuple[av.AudioFrame, float]]: ...
def decoded(path: Path, kind: Kind, start: float) -> Iterator[tuple[av.VideoFrame | av.AudioFrame, float]]:
    """Frames of the video or audio stream with their times, the first at or before `start` where there is one."""
    return shared.stream(kind, (path, start), lambda: decode_alone(path, kind, start))


@overload
def decode_alone(path: Path, kind: Literal["video"], start: float) -> Generator[tuple[av.VideoFrame, float]]: ...
@overload
def decode_alone(path: Path, kind: Literal["audio"], start: float) -> Generator[tuple[av.AudioFrame, float]]: ...
def decode_alone(path: Path, kind: Kind, start: float) -> Generator[tuple[av.VideoFrame | av.AudioFrame, float]]:
    for seeks in (True, False) if start > 0 else (False,):
        with opened(path) as container:
            stream = stream_of(container, kind)
            if stream is None:
                return
            timed = frames_from(container, stream, start if seeks else 0.0)
            if timed is not None:
                yield from timed
                return


class Beginnings:
    """The beginnings of an open file's streams, decoded while it is read once: what one reader passes waits for others.

    A stream whose reader is done is to be `dropped`, so that none of it is held any longer.
    """

    def __init__(
        self, container: av.container.InputContainer, *streams: av.VideoStream | av.AudioStream | None
    ) -> None:
        self._container = container
        self._waiting: dict[int, deque[av.packet.Packet]] = {s.index: deque() for s in streams if s is not None}
        self._source = container.demux([s for s in streams if s is not None])

    @overload
    def frames(self, stream: av.VideoStream) -> Iterator[tuple[av.VideoFrame, float]]: ...
    @overload
    def frames(self, stream: av.AudioStream) -> Iterator[tuple[av.AudioFrame, float]]: ...
    def frames(self, stream: av.VideoStream | av.AudioStream) -> Iterator[tuple[av.VideoFrame | av.AudioFrame, float]]:
        """The decodable frames of one of the streams, with their times."""
        return _timed(self._container, stream, self._packets(stream.index))

    def dropped(self, stream: av.VideoStream | av.AudioStream) -> None:
        self._waiting.pop(stream.index, None)

    def _packets(self, index: int) -> Iterator[av.packet.Packet]:
        while index in self._waiting:
            if self._waiting[index]:
                yield self._waiting[index].popleft()
            elif (packet := next(self._source, None)) is None:
                return
            elif packet.stream.index in self._waiting:
                self._waiting[packet.stream.index].append(packet)


@overload
def frames_from(
    container: av.container.InputContainer, stream: av.VideoStream, start: float
) -> Iterator[tuple[av.VideoFrame, float]] | None: ...
@overload
def frames_from(
    container: av.container.InputContainer, stream: av.AudioStream, start: float
) -> Iterator[tuple[av.AudioFrame, float]] | None: ...
def frames_from(
    container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream, start: float
) -> Iterator[tuple[av.VideoFrame | av.AudioFrame, float]] | None:
    """Frames of an open file from where it stands or, for a `start` above 0, from the one at or before `start`.

    None where the file cannot be sought, or the seek overshoots: only reading all of it, opened anew, gives them.
    """
    if start > 0 and not _sought(container, stream, start):
        return None
    timed = _timed(container, stream, container.demux(stream))
    first = next(timed, None)
    if start > 0 and (first is None or first[1] > start + EPS):
        return None
    return timed if first is None else chain((first,), timed)


def _sought(container: av.container.InputContainer, stream: av.stream.Stream, start: float) -> bool:
    if not has_index(container):
        return False
    try:
        container.seek(int((start + origin_of(container)) / tick_of(stream)), stream=stream)
    except av.error.FFmpegError:
        return False
    return True


def origin_of(container: av.container.InputContainer) -> float:
    """Second 0: where the first of the decodable streams starts, in the container's own time."""
    starts = (s.start_time * tick_of(s) for s in _heard_and_seen(container) if s.start_time is not None)
    return float(min(starts, default=0))


def _heard_and_seen(container: av.container.InputContainer) -> list[av.VideoStream | av.AudioStream]:
    return [s for s in (stream_of(container, "video"), stream_of(container, "audio")) if s is not None]


def _timed(
    container: av.container.InputContainer,
    stream: av.VideoStream | av.AudioStream,
    packets: Iterator[av.packet.Packet],
) -> Iterator[tuple[av.VideoFrame | av.AudioFrame, float]]:
    """Decodable frames, each with a time after the one before."""
    if not stream.codec_context.is_open:
        stream.codec_context.thread_type = "NONE"  # work is spread over clips; threads inside one would contend
    origin, previous, step, skipped = origin_of(container), -math.inf, 0.04, 0.0
    if isinstance(stream, av.VideoStream) and stream.average_rate:
        step = float(1 / stream.average_rate)
    for packet in packets:
        try:
            decoded = stream.decode(packet)
        except av.error.FFmpegError:
            continue  # a damaged packet; those after it have time stamps of their own
        for frame in decoded:
            time = max(previous, -step) + step if frame.time is None else float(frame.time) - origin + skipped
            if time < previous - SET_BACK:  # clocks set back in the middle (recordings joined): go on from here
                skipped += previous + step - time
                time = previous + step
            if not math.isfinite(time) or (time <= previous and isinstance(frame, av.VideoFrame)):
                continue
            previous = time
            yield frame, time
