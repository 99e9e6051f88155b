"""Clips to try a model on. In: a checkpoint among the files of its project. Out: a few clips of its test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lacuna.data.samples import read_clips
from lacuna.types import Clip

MOST = 5


def offered(checkpoint: Path, raw: Path = Path("raw")) -> list[Clip]:
    """Up to `MOST` clips, from the lowest label to the highest; none for a checkpoint that lies elsewhere.

    checkpoint: `processed/<dataset>/models/<model>/<seed>`; raw: the folder of the data sets' own files. A checkpoint
    may come from anyone, so no clip is offered whose file lies outside of its data set's folder.
    """
    processed = (checkpoint.resolve() / "../../..").resolve()  # `parents` would fail near the root
    if not (processed / "clips.jsonl").is_file():
        return []
    own = (raw / processed.name).resolve()
    clips = [c for c in read_clips(processed / "clips.jsonl") if c.split == "test" and _is_within(c.path, own)]
    clips.sort(key=lambda clip: clip.labels.get("M", 0.0))
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(MOST, len(clips))).round().astype(int))
    return [clips[i] for i in chosen]


def _is_within(path: Path | None, folder: Path) -> bool:
    return path is not None and path.is_file() and path.resolve().is_relative_to(folder)
