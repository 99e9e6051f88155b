"""The demo: synthetic videos that can be learnt from. In: `Settings`. Out: a folder in the raw layout of MMSA-FET.

    <root>/label.csv   <root>/README.txt   <root>/Raw/<video_id>/<clip_id>.mp4

One face (scikit-image's astronaut, public domain) is moved by warps and speaks by formant synthesis. Everything follows
from the seed: two runs give identical files, whoever ran them and with however many workers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from lacuna.demo import voice
from lacuna.demo.expression import express
from lacuna.demo.head import shown
from lacuna.demo.performance import perform
from lacuna.demo.portrait import dressed
from lacuna.demo.script import Line, write_script
from lacuna.media.encode import write_video
from lacuna.storage.files import replacing
from lacuna.types import MalformedInput

COLUMNS = ("video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V", "annotation", "mode")
Mapping = Callable[[Callable[[Line], Path], list[Line]], Iterable[object]]
README = """These videos are synthetic. No one said these sentences, and no one's feelings are shown.

The face is NASA's portrait of the astronaut Eileen Collins (public domain, from scikit-image), moved by image warps.
The voice is synthesised from formants; the sentences come from a small grammar; the labels were drawn first and the
clips made to fit them. Scores on these data show that the pipeline works. They say nothing about people.

Made by `python pipeline/demo.py` from the section `demo` of params.yaml; changes made here are lost when it runs again.
"""


@dataclass(frozen=True)
class Settings:
    """clips: how many; seed: decides all; seconds: a usual clip's length; fps: frames/s; size: side of a frame, px."""

    clips: int = 160
    seed: int = 7
    seconds: float = 2.0
    fps: int = 25
    size: int = 256

    def __post_init__(self) -> None:
        if self.clips < 3 or self.seconds <= 0 or self.fps < 1 or self.seed < 0:
            raise MalformedInput(f"demo: expected clips >= 3, seconds > 0, fps >= 1 and seed >= 0, got {self}")
        if self.size < 64 or self.size % 2:
            raise MalformedInput(f"demo.size: expected an even number of px >= 64, got {self.size}")


def make(root: Path, settings: Settings, mapping: Mapping = map) -> None:
    """Write the data set. `mapping(function, lines)` calls the function on each line: in order, or in processes.

    label.csv comes last: where it is, every video is.
    """
    lines = write_script(settings.clips, settings.seed)
    for line, written in zip(lines, mapping(partial(make_clip, root, settings), lines)):
        if not isinstance(written, Path):  # what a dead worker leaves instead
            raise MalformedInput(f"demo: expected {line.speaker.video}/{line.clip}.mp4 to be written, got {written}")
    _write(root / "README.txt", README)
    _write(root / "label.csv", _table(lines))


def make_clip(root: Path, settings: Settings, line: Line) -> Path:
    """Write one line's video; returns where."""
    cv2.setNumThreads(1)  # work is spread over clips
    performance = perform(line, settings.seconds, settings.fps)
    portrait = dressed(np.array(line.speaker.backdrop), np.array(line.speaker.light))
    frames = (shown(express(portrait, face), pose, settings.size) for face, pose in performance.moments)
    path = root / "Raw" / line.speaker.video / f"{line.clip}.mp4"
    with replacing(path) as temporary:
        write_video(temporary, frames, settings.fps, performance.samples, voice.RATE)
    return path


def _table(lines: list[Line]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for line in lines:
        labels = [line.labels[name] for name in ("M", "T", "A", "V")]
        annotation = "Positive" if labels[0] > 0 else "Negative" if labels[0] < 0 else "Neutral"
        table.writerow([line.speaker.video, line.clip, line.text, *labels, annotation, line.split])
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
