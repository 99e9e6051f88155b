"""OpenFace's own output. In: a clip, and a folder of finished CSV files or the FeatureExtraction binary. Out: its rows.

OpenFace prints its errors and returns 0 all the same, so what is believed is the CSV alone: it must be there, have the
columns that were asked for, and rows.
"""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lacuna.media import decode
from lacuna.types import Clip, MalformedInput

ARGUMENTS = ("-2Dfp", "-3Dfp", "-pdmparams", "-pose", "-aus", "-gaze")
_STATE = ("timestamp", "confidence", "success")
_NO_NUMBER = re.compile(r"\s*|\s*[-+]?(nan|1\.#)\S*\s*", re.IGNORECASE)  # empty, or as C prints what is none: -nan(ind)


@dataclass(frozen=True)
class Table:
    """Rows of one face: frames (T,) from 0, times (T,) s, good (T,) bool, values (T, D) of the columns asked for."""

    frames: np.ndarray
    times: np.ndarray
    good: np.ndarray
    values: np.ndarray


def read_csv(path: Path, columns: tuple[str, ...], min_confidence: float) -> Table:
    """An OpenFace CSV; of several faces the largest one's rows. `good`: success is 1 and the confidence suffices."""
    header, numbers = _numbers(path)
    missing = [name for name in (*_STATE, *columns) if name not in header]
    if missing:
        some = ", ".join(missing[:5])
        raise MalformedInput(f"{path}: expected OpenFace's columns; {len(missing)} are missing: {some} …")
    if not len(numbers):
        raise MalformedInput(f"{path}: expected at least one row, found the header alone")
    place = {name: i for i, name in enumerate(header)}
    if "face_id" in place:
        numbers = numbers[numbers[:, place["face_id"]] == _main_face(numbers, place)]
    times, confidence, success = (numbers[:, place[name]] for name in _STATE)
    values = numbers[:, [place[name] for name in columns]]
    good = (success > 0.5) & (confidence >= min_confidence) & np.isfinite(values).all(axis=1)  # it writes -nan at times
    frames = _frames(path, times, numbers[:, place["frame"]] if "frame" in place else None)
    return Table(frames, times, good, np.where(good[:, None], values, 0).astype(np.float32))


def _frames(path: Path, times: np.ndarray, told: np.ndarray | None) -> np.ndarray:
    """Each row's frame, from 0: as told (from 1), or by its time; MalformedInput unless both rise."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    if not np.isfinite(times).all() or (np.diff(times) < 0).any() or (told is None and step <= 0):
        raise MalformedInput(f"{path}: expected times that rise from row to row, got others")
    frames = np.round((times - times[0]) / step) if told is None else told - 1
    if not np.isfinite(frames).all() or (np.diff(frames) < 1).any() or frames[0] < 0:
        raise MalformedInput(f"{path}: expected each frame of a face once and in order, got others")
    return frames.astype(int)


def _numbers(path: Path) -> tuple[list[str], np.ndarray]:
    """The header's names and the rows (T, names) of a CSV file; NaN where a cell has no number."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = csv.reader(file, skipinitialspace=True)
        header = [name.strip() for name in next(lines, [])]
        rows = [row for row in lines if row]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise MalformedInput(
                f"{path}: line {number}: expected {len(header)} values as in its header, got {len(row)}"
            )
    plain = [["nan" if _NO_NUMBER.fullmatch(cell) else cell for cell in row] for row in rows]
    try:
        return header, np.array(plain, float).reshape(len(rows), len(header))
    except ValueError as error:
        raise MalformedInput(f"{path}: expected numbers: {error}") from error


def _main_face(numbers: np.ndarray, place: dict[str, int]) -> float:
    """The face id with most successful rows, weighted by the face's size where the file tells it."""
    size = numbers[:, place["success"]].astype(float)
    if "p_scale" in place:
        size = size * np.nan_to_num(numbers[:, place["p_scale"]])
    ids = np.unique(numbers[:, place["face_id"]])
    totals = [size[numbers[:, place["face_id"]] == face].sum() for face in ids]
    return float(ids[int(np.argmax(totals))])


def finished(folder: Path, clip: Clip, media: Path) -> tuple[Path, bool]:
    """The clip's file in a folder of finished ones, and whether its times are those of the whole media file."""
    found = _places(folder, clip, media)
    if not found:
        tried = ", ".join(str(path) for path in (*_own(folder, clip), folder / f"{clip.id.partition('$_$')[0]}.csv"))
        raise MalformedInput(f"clip {clip.id}: expected a finished OpenFace file, found none of {tried}")
    return found[0], found[0] not in _own(folder, clip)


def _places(folder: Path, clip: Clip, media: Path) -> list[Path]:
    """Files of a clip, the best first: its own, then that of its whole video."""
    video_id = clip.id.partition("$_$")[0]
    whole = [folder / f"{video_id}.csv"] if media.stem == video_id else []
    return [path for path in (*_own(folder, clip), *whole) if path.is_file()]


def _own(folder: Path, clip: Clip) -> list[Path]:
    video_id, _, clip_id = clip.id.partition("$_$")
    return [folder / f"{clip.id}.csv"] + ([folder / video_id / f"{clip_id}.csv"] if clip_id else [])


def run_binary(binary: Path, media: Path, folder: Path) -> Path:
    """Run FeatureExtraction on a media file; its CSV in `folder`. MalformedInput, with its words, if there is none."""
    command = [str(binary), "-f", str(media), "-out_dir", str(folder), "-of", "out", *ARGUMENTS]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    made = folder / "out.csv"
    if done.returncode or not made.is_file() or not made.stat().st_size:
        said = " | ".join((done.stdout + done.stderr).strip().splitlines()[-4:]) or "nothing"
        raise MalformedInput(
            f"{media}: expected a CSV from {binary.name} (it returned {done.returncode}); it said: {said}"
        )
    return made


def _found(binary: str) -> Path:
    found = shutil.which(binary)
    if found is None:
        raise MalformedInput(f"face: openface: expected the FeatureExtraction binary, found none at {binary}")
    return Path(found).resolve()


class OpenFace:
    """`read(clip, media, columns, fps)` from one of the two sources."""

    def __init__(self, binary: str | None, folder: str | None, min_confidence: float) -> None:
        self._min_confidence = min_confidence
        self._folder, self._binary = Path(folder or "."), None if binary is None else _found(binary)
        if self._binary is not None:
            self.version = hashlib.sha256(self._binary.read_bytes()).hexdigest()[:16]
        elif not self._folder.is_dir():
            raise MalformedInput(f"face: csv: expected a folder of OpenFace files, found none at {folder}")
        else:
            self.version = "finished files"  # each known by its content: see `files`

    def files(self, clip: Clip) -> tuple[Path, ...]:
        """What is read for a clip beside its media."""
        if self._binary is not None or clip.path is None:
            return ()
        return tuple(path for path in _places(self._folder, clip, clip.path)[:1])

    def read(
        self, clip: Clip, media: Path, columns: tuple[str, ...], fps: float | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times (T,) s from the clip's start, seen (T,), values (T, D), sampled at `fps` by time."""
        if self._binary is None:
            path, whole = finished(self._folder, clip, media)
            table = read_csv(path, columns, self._min_confidence)
        else:
            with tempfile.TemporaryDirectory(prefix="lacuna-openface-") as folder:
                path, whole = run_binary(self._binary, media.resolve(), Path(folder)), True
                table = read_csv(path, columns, self._min_confidence)
        ours = whole or (clip.start == 0 and clip.end is None)
        times, rows = _clock(path, table, media if ours else None)
        start = clip.start if whole else 0.0
        end = np.inf if clip.end is None or not whole else clip.end
        inside = np.flatnonzero((times >= start - 1e-6) & (times < end - 1e-6))
        if not len(inside):
            raise MalformedInput(f"clip {clip.id}: expected rows from {start} s to {end} s in {path.name}, found none")
        times, rows = _sampled(times[inside] - start, rows[inside], fps)
        seen = (rows >= 0) & table.good[rows]
        return times, seen, np.where(seen[:, None], table.values[rows], 0)


def _clock(path: Path, table: Table, media: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """When each frame is shown, s, and its row, -1 where the table leaves it out.

    OpenFace writes a frame's number over the rate that the header says: where the rate varies, the media knows better.
    """
    if media is not None and media.is_file():
        times = decode.frame_times(media)
        if table.frames[-1] >= len(times):
            last = table.frames[-1] + 1
            raise MalformedInput(f"{path}: expected rows of the {len(times)} frames of {media.name}, got frame {last}")
        first = 0
    else:
        first = int(table.frames[0])
        times = np.interp(np.arange(first, table.frames[-1] + 1), table.frames, table.times)
    rows = np.full(len(times), -1)
    rows[table.frames - first] = np.arange(len(table.frames))
    return times, rows


def _sampled(times: np.ndarray, rows: np.ndarray, fps: float | None) -> tuple[np.ndarray, np.ndarray]:
    """At each k / fps from the first frame to the last, the row of the one on screen then; all if None."""
    times = np.maximum(times, 0.0)
    if fps is None:
        return times, rows
    grid = np.arange(np.ceil(times[0] * fps - 1e-6), np.floor(times[-1] * fps + 1e-6) + 1) / fps
    return grid, rows[np.searchsorted(times, grid + 1e-6, side="right") - 1]
