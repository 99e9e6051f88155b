"""Encoding. In: frames and samples. Out: an MP4 file (H.264, AAC): the same bytes for the same input, whole or none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import av
import numpy as np

# x264's macroblock tree, which looks ahead, gave one input different bits from run to run (measured at 96 px).
X264 = {"preset": "veryfast", "x264-params": "mbtree=0:rc-lookahead=0"}
AUDIO_BITRATE = 64_000


def write_video(
    path: Path, frames: Iterable[np.ndarray], fps: int, samples: np.ndarray | None, rate: int, crf: int = 20
) -> None:
    """Write frames (rows, columns, 3) uint8 at `fps` and mono float32 samples (n,) at `rate` Hz; even numbers of px.

    `crf` is x264's quality, lower is better; no samples, no sound. OSError: the disk is full, or may not be written.
    """
    try:
        _encode(path, frames, fps, (samples, rate), crf)
    except av.error.FFmpegError as error:  # the input is our own: what fails is the disk
        raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error


def _encode(path: Path, frames: Iterable[np.ndarray], fps: int, sound: tuple[np.ndarray | None, int], crf: int) -> None:
    frames, (samples, rate) = iter(frames), sound
    first = next(frames)
    # bitexact: no version strings or dates inside; one thread: x264 cuts frames differently with several.
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=fps, options=X264 | {"crf": str(crf)})
        video.thread_count, video.pix_fmt = 1, "yuv420p"
        video.height, video.width = first.shape[:2]
        video.codec_context.flags |= av.codec.context.Flags.bitexact
        audio = None if samples is None or not len(samples) else container.add_stream("aac", rate=rate, layout="mono")
        if audio:
            audio.bit_rate = AUDIO_BITRATE
            audio.codec_context.flags |= av.codec.context.Flags.bitexact
        for image in chain([first], frames):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        if audio is not None and samples is not None:
            heard = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            heard.sample_rate, heard.pts = rate, 0
            container.mux(audio.encode(heard))
            container.mux(audio.encode())
