"""Builders of small media files for tests. In: what a file shall be like. Out: the file, and what stands in it.

Each picture carries its number in eight blocks, black or white, that any codec preserves: `number_of` reads it back.
The sound is a known function of time: `sound`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BLOCKS = 8  # bits of a picture's number, in two rows of four


@dataclass(frozen=True)
class Video:
    """What a file shall be like. The container follows the file's suffix, as does the codec unless it is named."""

    frames: int = 25
    rate: int = 25  # frames/s
    size: tuple[int, int] = (64, 48)  # width, height in px
    codec: str = ""
    pix_fmt: str = "yuv420p"
    rotation: int = 0  # degrees counter-clockwise that a player is told to turn
    mirrored: bool = False
    times: Sequence[float] | None = None  # s of each frame, for variable rates
    audio: str = "tone"  # tone, silence, or "" for no track
    audio_rate: int = 16000
    layout: str = "mono"
    audio_codec: str = ""
    audio_start: float = 0.0  # s by which the sound begins late
    audio_seconds: float | None = None  # as long as the pictures unless said
    gop: int = 12


CODECS = {".mpg": "mpeg1video", ".avi": "mpeg4", ".webm": "libvpx", ".ts": "mpeg2video"}
AUDIO_CODECS = {".mpg": "mp2", ".webm": "libopus", ".avi": "mp2", ".ts": "mp2"}


def picture(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """(H, W, 3) uint8 with the number in black and white blocks."""
    bits = np.array([(number >> i) & 1 for i in range(BLOCKS)], np.uint8).reshape(2, 4)
    rows, columns = np.arange(size[1]) * 2 // size[1], np.arange(size[0]) * 4 // size[0]
    return np.repeat(255 * bits[rows][:, columns][..., None], 3, 2)


def number_of(image: np.ndarray) -> int:
    """The number that `picture` painted."""
    height, width = image.shape[:2]
    centres = image[height // 4 :: height // 2, width // 8 :: width // 4].mean(2)[:2, :4]
    return sum(1 << i for i, value in enumerate(centres.flatten()) if value > 127)


def sound(times: np.ndarray) -> np.ndarray:
    """A sweep upwards from 200 Hz, half of full scale."""
    return 0.5 * np.sin(2 * np.pi * (200 * times + 50 * times**2))


def write_video(path: Path, video: Video = Video()) -> Path:
    """Write the file, its folders too, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(f"file:{path}", "w") as container:
        pictures = _video_stream(container, path.suffix.lower(), video)
        voice = _audio_stream(container, path.suffix.lower(), video) if video.audio else None
        for index in range(video.frames):
            frame = av.VideoFrame.from_ndarray(picture(index, video.size), format="rgb24")
            if video.times is not None:
                frame.pts, frame.time_base = round(video.times[index] * 1000), Fraction(1, 1000)
            container.mux(pictures.encode(frame.reformat(format=video.pix_fmt)))
        container.mux(pictures.encode())
        if voice is not None:
            _write_sound(container, voice, video)
    return path


def _video_stream(container: av.container.OutputContainer, suffix: str, video: Video) -> av.VideoStream:
    stream = container.add_stream(video.codec or CODECS.get(suffix, "libx264"), rate=video.rate)
    stream.width, stream.height, stream.pix_fmt = *video.size, video.pix_fmt
    stream.gop_size = video.gop
    stream.codec_context.thread_type = "NONE"
    if video.times is not None:
        stream.codec_context.time_base = Fraction(1, 1000)
    if video.rotation or video.mirrored:
        stream.set_display_rotation(video.rotation, hflip=video.mirrored)
    return stream


def _audio_stream(container: av.container.OutputContainer, suffix: str, video: Video) -> av.AudioStream:
    codec = video.audio_codec or AUDIO_CODECS.get(suffix, "aac")
    stream = container.add_stream(codec, rate=video.audio_rate, layout=video.layout)
    if codec == "wmav2":
        stream.bit_rate = 64000  # it has no usual one
    return stream


def _write_sound(container: av.container.OutputContainer, stream: av.AudioStream, video: Video) -> None:
    seconds = video.frames / video.rate if video.audio_seconds is None else video.audio_seconds
    times = np.arange(round(seconds * video.audio_rate)) / video.audio_rate
    samples = sound(times + video.audio_start) if video.audio == "tone" else np.zeros(len(times))
    channels = len(av.AudioLayout(video.layout).channels)
    planes = np.repeat(samples.astype(np.float32)[None], channels, 0)
    resampler = av.AudioResampler(format=stream.format, layout=video.layout, rate=video.audio_rate)
    for begin in range(0, planes.shape[1], 1024):
        piece = planes[:, begin : begin + 1024].T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="flt", layout=video.layout)
        frame.sample_rate, frame.time_base = video.audio_rate, Fraction(1, video.audio_rate)
        frame.pts = begin + round(video.audio_start * video.audio_rate)
        for converted in resampler.resample(frame):
            container.mux(stream.encode(converted))
    container.mux(stream.encode())


def write_label_csv(root: Path, rows: Sequence[dict[str, object]], encoding: str = "utf-8") -> Path:
    """label.csv in MMSA-FET's layout from rows that name what differs from an ordinary one."""
    usual = {"video_id": "v", "clip_id": "1", "text": "good", "label": 1.0, "label_T": "", "label_A": "", "label_V": ""}
    usual |= {"annotation": "Positive", "mode": "train"}
    columns = [*usual, *dict.fromkeys(key for row in rows for key in row if key not in usual)]
    lines = [",".join(columns)]
    for row in rows:
        values = (str((usual | row).get(column, "")) for column in columns)
        lines.append(",".join(f'"{v}"' if set(v) & set(',"\n') else v for v in values))
    root.mkdir(parents=True, exist_ok=True)
    (root / "label.csv").write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return root / "label.csv"


def truncate(path: Path, share: float) -> Path:
    """Keep the first share of the file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def damage(path: Path, begin: float, end: float) -> Path:
    """Overwrite the bytes between two shares of the file with noise from a fixed seed."""
    data = bytearray(path.read_bytes())
    low, high = int(len(data) * begin), int(len(data) * end)
    data[low:high] = np.random.default_rng(0).integers(0, 256, high - low, np.uint8).tobytes()
    path.write_bytes(data)
    return path
