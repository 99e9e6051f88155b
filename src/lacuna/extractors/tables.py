"""Columns of finished CSV files, one a clip: py-feat's, OpenFace's, or any other tool's. In: a clip. Out: its rows.

A clip's file is <folder>/<video_id>/<clip_id>.csv or <folder>/<clip id>.csv. Rows have a time in seconds (`timestamp`),
or a frame's number that `fps` turns into one. A row whose confidence is low, or that holds no number, is unseen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from lacuna.storage.files import reading
from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence, require_words

MODALITY = "vision"
VERSION = 1
TIMES, FRAMES = "timestamp", "frame"
CONFIDENCE = ("success", "confidence", "FaceScore")  # OpenFace's, OpenFace's, py-feat's
USUAL = ("AU*", "Pitch", "Roll", "Yaw", "pose_R*", "gaze_angle_*", "anger", "disgust", "fear", "happiness", "sadness",
         "surprise", "neutral")  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """folder: of the CSV files; columns: their names or patterns of them (AU*); fps: frames a second, where rows are
    numbered and have no timestamp; min_confidence: below it a row counts as having no face; modality: what models are
    to take the columns for.
    """

    folder: str = ""
    columns: tuple[str, ...] = USUAL
    fps: float = 25.0
    min_confidence: float = 0.5
    modality: Literal["vision", "audio"] = "vision"

    def __post_init__(self) -> None:
        require_words(self)
        object.__setattr__(self, "columns", tuple(self.columns))
        if not self.folder:
            raise MalformedInput("folder: expected a folder of CSV files, got ''")
        if not self.columns or not self.fps > 0:
            raise MalformedInput(f"columns and fps: expected at least one column and fps > 0, got fps {self.fps}")


class Extractor:
    """The chosen columns of each clip's file (T, D) float32; all files have the columns of the first."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._files = sorted(Path(settings.folder).rglob("*.csv"))
        if not self._files:
            raise MalformedInput(f"folder: expected CSV files in {settings.folder}, found none")
        known = [name.strip() for name in pd.read_csv(self._files[0], nrows=0).columns]
        self.columns = tuple(name for name in known if any(fnmatchcase(name, c) for c in settings.columns))
        if not self.columns:
            raise MalformedInput(f"columns: expected some of {', '.join(known[:8])} …, got {settings.columns}")

    def versions(self) -> dict[str, str]:
        """What decides the values beside the settings: the files' bytes."""
        digest = hashlib.sha256()
        for path in self._files:
            digest.update(path.relative_to(self.settings.folder).as_posix().encode() + b"\0" + path.read_bytes())
        return {"files": digest.hexdigest()}

    def __call__(self, clip: Clip) -> FeatureSequence:
        path = self._file_of(clip)
        with reading(path, "a table with a row a frame", "make it again with its tool"):
            table = pd.read_csv(path, skipinitialspace=True).rename(columns=str.strip)
        lacking = [name for name in self.columns if name not in table]
        if lacking:
            raise MalformedInput(f"{path}: expected the columns {', '.join(lacking[:5])}, found them not")
        times = self._times(table, path)
        inside = (times >= clip.start) & (times < (np.inf if clip.end is None else clip.end))
        table, times = table[inside], times[inside]
        if not len(table):
            return empty_sequence(self.columns)
        values = np.stack([_numbers(table[name]) for name in self.columns], 1).astype(np.float32)
        seen = np.isfinite(values).all(1) & self._sure(table)
        return FeatureSequence(np.where(seen[:, None], values, 0), times - times[0], seen, self.columns)

    def _file_of(self, clip: Clip) -> Path:
        folder, (video, _, name) = Path(self.settings.folder), clip.id.rpartition("$_$")
        for path in (folder / video / f"{name}.csv", folder / f"{clip.id}.csv"):
            if path.is_file():
                return path
        raise MalformedInput(f"clip {clip.id}: expected its table at {folder / video / name}.csv, found none")

    def _times(self, table: pd.DataFrame, path: Path) -> np.ndarray:
        """(T,) s; MalformedInput unless they rise: rows out of order, or of several faces, are not one sequence."""
        name = next((name for name in (TIMES, FRAMES) if name in table), None)
        if name is None:
            raise MalformedInput(f"{path}: expected a column {TIMES} (s) or {FRAMES}, found neither")
        times = _numbers(table[name]) / (1.0 if name == TIMES else self.settings.fps)
        odd = np.flatnonzero(~np.isfinite(times) | (np.diff(times, prepend=-np.inf) <= 0))
        if len(odd):
            got = table[name].iloc[odd[0]]
            raise MalformedInput(
                f"{path}: expected {name} to rise from row to row (one face, in order), got {got} in row {odd[0] + 1}"
            )
        return times

    def _sure(self, table: pd.DataFrame) -> np.ndarray:
        """(T,) bool: rows in which the tool found what it looked for."""
        told = [_numbers(table[name]) for name in CONFIDENCE if name in table]
        sure = [np.nan_to_num(values) >= self.settings.min_confidence for values in told]
        return np.logical_and.reduce(sure) if sure else np.ones(len(table), bool)


def _numbers(column: pd.Series) -> np.ndarray:
    """(T,) float64; NaN where a cell holds no number, also as C prints one: -nan(ind)."""
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
