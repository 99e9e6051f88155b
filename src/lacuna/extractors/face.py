"""Faces in OpenFace 2.2's 709 columns. In: a clip's video. Out: a FeatureSequence, one row per sampled frame.

Three backends share one layout: `mesh` (Google's face landmarker: its points, and for action units its blendshape
scores too), `blendshapes` (the same, but action units from the scores alone) and `openface` (a user's FeatureExtraction
binary, or a folder of its finished CSV files). What each column is, and how well it agrees with OpenFace's own:
docs/features.md.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lacuna.extractors._openface import distances, mixed, points, scores, speaker, units
from lacuna.extractors._openface.columns import GROUPS, join, names
from lacuna.extractors._openface.geometry import Camera
from lacuna.extractors._openface.landmarker import Landmarker
from lacuna.extractors._openface.measure import measure
from lacuna.extractors._openface.motions import MOTIONS
from lacuna.extractors._openface.pdm import ShapeModel
from lacuna.extractors._openface.predictors.track import ActionUnits
from lacuna.extractors._openface.tables import OpenFace
from lacuna.extractors._openface.tracks import Track, Tracks, continued
from lacuna.extractors._rows import Rows
from lacuna.media import decode
from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence, joined

MODALITY = "vision"
FOLDERS = ("csv",)  # settings that name folders of the user's own data
VERSION = 2
PRELOAD = ()  # beside this module and what it imports
BACKENDS = ("mesh", "openface", "blendshapes")
SPEAKERS = ("largest", "active")
NEUTRALS = ("clip", "people")
BLOCK = 512  # frames measured, and handed on, at once


@dataclass(frozen=True)
class Settings:
    """What is measured, and with what. Impossible settings are refused when made."""

    backend: str = "mesh"
    fps: float | None = 25.0  # frames per second taken by time; None: every frame
    average_over: int = 1  # frames averaged into one row
    groups: tuple[str, ...] = GROUPS
    speaker: str = "largest"  # of several faces: the largest track, or `active`, whose lips move with the sound
    neutral: str = "clip"  # action units count from the clip's own resting face, or also from what people's are like
    max_faces: int = 4  # faces looked for in a frame
    min_confidence: float = 0.5  # below it a frame counts as having no face
    openface: str | None = None  # backend openface: the FeatureExtraction binary
    csv: str | None = None  # backend openface: folder within raw/<dataset> of <clip id>.csv or <video id>/<clip id>.csv
    task: str | None = None  # a face_landmarker.task of your own, instead of the official one
    au_predictors: str | None = None  # backend mesh: OpenFace's folder AU_predictors, for its own action units

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))  # a list in params.yaml
        _among("backend", (self.backend,), BACKENDS)
        _among("groups", self.groups, GROUPS)
        _among("speaker", (self.speaker,), SPEAKERS)
        _among("neutral", (self.neutral,), NEUTRALS)
        if not self.groups or len(set(self.groups)) < len(self.groups):
            raise MalformedInput(f"face: expected groups, each once, among {', '.join(GROUPS)}, got {self.groups}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise MalformedInput(f"face: expected fps in (0, 1000], or null for every frame, got {self.fps}")
        if self.average_over < 1 or self.max_faces < 1:
            raise MalformedInput(
                f"face: expected average_over and max_faces >= 1, got {self.average_over} and {self.max_faces}"
            )
        if not 0 <= self.min_confidence <= 1:
            raise MalformedInput(f"face: expected min_confidence in 0..1, got {self.min_confidence}")
        if self.au_predictors is not None and self.backend != "mesh":
            raise MalformedInput(f"face: au_predictors: expected backend mesh beside it, got {self.backend}")
        if self.backend == "openface" and bool(self.openface) == bool(self.csv):
            raise MalformedInput(
                "face: backend openface: expected either openface, the path of FeatureExtraction, or csv, a folder of "
                f"its finished files; got openface={self.openface!r} and csv={self.csv!r}"
            )


def _among(key: str, given: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    for name in given:
        if name not in allowed:
            raise MalformedInput(f"face: {key}: expected one of {', '.join(allowed)}, got {name!r}")


class Extractor:
    """`extractor(clip)` measures the face of a clip."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.columns = names(settings.groups)
        self._tables: OpenFace | None = None
        self._predictors: ActionUnits | None = None
        if settings.backend == "openface":
            self._tables = OpenFace(settings.openface, settings.csv, settings.min_confidence)
            return
        if settings.au_predictors is not None:
            self._predictors = ActionUnits(Path(settings.au_predictors))
        scored = "aus" in settings.groups and self._predictors is None
        self._landmarker = Landmarker(settings.task, settings.max_faces, settings.min_confidence, scored)
        self._model = ShapeModel()

    def versions(self) -> dict[str, str]:
        """What else the values depend on."""
        if self._tables is not None:
            return {"openface": self._tables.version}
        packages = {name: importlib.metadata.version(name) for name in ("ai-edge-litert", "opencv-contrib-python")}
        made = {"face_landmarker": self._landmarker.version, **packages}
        return made if self._predictors is None else {**made, "au_predictors": self._predictors.version}

    def files(self, clip: Clip) -> tuple[Path, ...]:
        """What is read for a clip beside its media: its finished CSV."""
        return () if self._tables is None else self._tables.files(clip)

    def __call__(self, clip: Clip) -> FeatureSequence:
        """Rows (T, D) in the order of `columns`; without a face: zeros, unseen. No media: no rows."""
        return joined(self.pieces(clip))

    def pieces(self, clip: Clip) -> Iterator[FeatureSequence]:
        """The same a stretch at a time, so that memory does not grow with a clip's length."""
        if clip.path is None:
            yield empty_sequence(self.columns)
        elif self._tables is not None:
            times, seen, values = self._tables.read(clip, clip.path, self.columns, self.settings.fps)
            yield _averaged(times, seen, values, self.settings.average_over, self.columns)
        else:
            yield from self._watch(clip, clip.path)

    def _watch(self, clip: Clip, path: Path) -> Iterator[FeatureSequence]:
        """Rows of a clip's frames, which are looked at one by one and measured when all have been seen."""
        times, track, camera = self._followed(clip, path)
        said = self._said(clip, path, track, camera, len(times)) if track.frames else {}
        shown, frames = _sampled(times, self.settings.fps if self._predictors else None)
        over = self.settings.average_over
        step = max(1, BLOCK // over) * over
        for first in range(0, len(shown), step):
            part = slice(first, first + step)
            seen, values = self._rows(track, frames[part], camera, said)
            yield _averaged(shown[part], seen, values, over, self.columns)

    def _followed(self, clip: Clip, path: Path) -> tuple[np.ndarray, Track, Camera]:
        """The times of the frames looked at, and the face that is measured. OpenFace's predictors want every frame."""
        times: list[float] = []
        tracks, camera = Tracks(), Camera(0, 0, 0)
        self._landmarker.start()
        for frame in decode.frames(path, clip.start, clip.end, None if self._predictors else self.settings.fps):
            if not times:
                camera = Camera.of_picture(frame.image.shape[1], frame.image.shape[0])
            tracks.add(len(times), frame.time, self._landmarker(frame.image, frame.time))
            times.append(frame.time)
        track = continued(self._chosen(clip, path, tracks.all), tracks.all) if tracks.all else Track()
        return np.array(times), track, camera

    def _said(self, clip: Clip, path: Path, track: Track, camera: Camera, count: int) -> dict[str, np.ndarray]:
        """Groups that need the whole clip, by row of the track: action units, and what comes with OpenFace's."""
        if self._predictors is not None:
            aus, parameters = self._predictors(_looked(clip, path, track), photo=count == 1)
            return {"aus": aus[track.frames], "pdm": parameters[track.frames]}
        return {"aus": self._units(track, camera)} if "aus" in self.settings.groups else {}

    def _rows(
        self, track: Track, frames: np.ndarray, camera: Camera, said: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which of some frames show the face (n,), and the columns (n, D)."""
        known = np.array(track.frames, int)
        place = np.searchsorted(known, frames)
        low, high = (int(end) for end in np.searchsorted(known, [frames[0], frames[-1] + 1]))
        values, seen = np.zeros((len(frames), len(self.columns)), np.float32), np.isin(frames, known)
        if high > low:
            parts = measure(track.kept[low:high], camera, self._model)
            whole = {**parts, **{name: group[low:high] for name, group in said.items()}}
            values[seen] = join(whole, self.settings.groups)[place[seen] - low]
        return seen, values

    def _chosen(self, clip: Clip, path: Path, tracks: list[Track]) -> Track:
        if self.settings.speaker == "active" and len(tracks) > 1:
            return speaker.active(tracks, decode.audio(path, speaker.RATE, clip.start, clip.end))
        return max(tracks, key=lambda track: track.area)

    def _units(self, track: Track, camera: Camera) -> np.ndarray:
        """The columns of action units (T, 35)."""
        blocks = range(0, len(track.kept), BLOCK)
        found = np.concatenate([scores.intensities(track.scores[low : low + BLOCK]) for low in blocks])
        found = mixed.filled(found, np.array(track.times))
        if self.settings.backend == "mesh":
            shapes = Rows(MOTIONS.shape[1], 3)
            for low in blocks:
                shapes.extend(units.head_shapes(track.kept[low : low + BLOCK], camera))
            moved = units.intensities(shapes, self.settings.neutral == "people")
            found = mixed.mixed(moved, distances.intensities(shapes), found)
        return mixed.columns_of(mixed.smoothed(found, np.array(track.times)))


def _looked(clip: Clip, path: Path, track: Track) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Every frame of a clip once more, with the landmarks (68, 2) px of the track's face."""
    rows = {frame: row for row, frame in enumerate(track.frames)}
    for i, frame in enumerate(decode.frames(path, clip.start, clip.end)):
        yield frame.image, points.landmarks(track.kept[rows[i]])[:, :2] if i in rows else None


def _sampled(times: np.ndarray, fps: float | None) -> tuple[np.ndarray, np.ndarray]:
    """At each k / fps from the first frame to the last, the number of the frame on screen then; all if None."""
    if fps is None:
        return times, np.arange(len(times))
    grid = np.arange(np.ceil(times[0] * fps - 1e-6), np.floor(times[-1] * fps + 1e-6) + 1) / fps
    return grid, np.searchsorted(times, grid + 1e-6, side="right") - 1


def _averaged(
    times: np.ndarray, seen: np.ndarray, values: np.ndarray, over: int, columns: tuple[str, ...]
) -> FeatureSequence:
    """Means over `over` frames each: times over all of them, values over the seen ones; the last may have fewer."""
    if over == 1:
        return FeatureSequence(values, times, seen, columns)
    starts = np.arange(0, len(times), over)
    count = np.add.reduceat(seen.astype(int), starts)
    total = np.add.reduceat(values, starts, axis=0, dtype=np.float64)  # unseen rows are zero
    means = (total / np.maximum(count, 1)[:, None]).astype(np.float32)
    middle = np.add.reduceat(times, starts) / np.diff(np.append(starts, len(times)))
    return FeatureSequence(means, middle, count > 0, columns)
