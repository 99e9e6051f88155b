"""Faces in OpenFace 2.2's 709 columns. In: a clip's video. Out: a FeatureSequence, one row per sampled frame.

Three backends share one layout: `mesh` (MediaPipe's face mesh, embedded), `blendshapes` (MediaPipe's Face Landmarker
with a user's .task file: its scores give the action units) and `openface` (a user's FeatureExtraction binary, or a
folder of its finished CSV files). What each column is, and how far it can be trusted: docs/features.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lacuna.extractors._openface import speaker, units
from lacuna.extractors._openface.blendshapes import Landmarker, units_of
from lacuna.extractors._openface.columns import GROUPS, join, names
from lacuna.extractors._openface.geometry import Camera
from lacuna.extractors._openface.measure import measure
from lacuna.extractors._openface.mesh import Face, Mesh
from lacuna.extractors._openface.motions import MOTIONS
from lacuna.extractors._openface.pdm import ShapeModel
from lacuna.extractors._openface.tables import OpenFace
from lacuna.extractors._openface.tracks import Track, Tracks, continued
from lacuna.extractors._rows import Rows
from lacuna.media import decode
from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence, joined

MODALITY = "vision"
FOLDERS = ("csv",)  # settings that name folders of the user's own data
VERSION = 2
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
    task: str | None = None  # backend blendshapes: a face_landmarker.task file

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
        if self.backend == "blendshapes" and not self.task:
            raise MalformedInput(
                "face: backend blendshapes: expected task, the path of a face_landmarker.task, got none"
            )
        if self.backend == "openface" and bool(self.openface) == bool(self.csv):
            raise MalformedInput(
                "face: backend openface: expected either openface, the path of FeatureExtraction, or csv, a folder of "
                f"its finished files; got openface={self.openface!r} and csv={self.csv!r}"
            )


def _among(key: str, given: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    for name in given:
        if name not in allowed:
            raise MalformedInput(f"face: {key}: expected one of {', '.join(allowed)}, got {name!r}")


class _Detector(Protocol):
    version: str

    def start(self) -> None: ...

    def __call__(self, image: np.ndarray, time: float) -> list[Face]: ...


class Extractor:
    """`extractor(clip)` measures the face of a clip."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.columns = names(settings.groups)
        self._tables: OpenFace | None = None
        if settings.backend == "openface":
            self._tables = OpenFace(settings.openface, settings.csv, settings.min_confidence)
            return
        self._detector = _detector(settings)
        self._model = ShapeModel()

    def versions(self) -> dict[str, str]:
        """What else the values depend on."""
        if self._tables is not None:
            return {"openface": self._tables.version}
        return {"mediapipe": self._detector.version}

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
        times: list[float] = []
        tracks, camera = Tracks(), Camera(0, 0, 0)
        self._detector.start()
        for frame in decode.frames(path, clip.start, clip.end, self.settings.fps):
            if not times:
                camera = Camera.of_picture(frame.image.shape[1], frame.image.shape[0])
            tracks.add(len(times), frame.time, self._detector(frame.image, frame.time))
            times.append(frame.time)
        track = continued(self._chosen(clip, path, tracks.all), tracks.all) if tracks.all else Track()
        found = self._units(track, camera) if "aus" in self.settings.groups and track.frames else None
        frames, over = np.array(track.frames, int), self.settings.average_over
        for first in range(0, len(times), max(1, BLOCK // over) * over):
            shown = np.array(times[first : first + max(1, BLOCK // over) * over])
            part = slice(*np.searchsorted(frames, [first, first + len(shown)]))
            values, seen = np.zeros((len(shown), len(self.columns)), np.float32), np.zeros(len(shown), bool)
            if part.stop > part.start:
                rows = frames[part] - first
                seen[rows] = True
                values[rows] = self._measured(track.kept[part], None if found is None else found[part], camera)
            yield _averaged(shown, seen, values, over, self.columns)

    def _chosen(self, clip: Clip, path: Path, tracks: list[Track]) -> Track:
        if self.settings.speaker == "active" and len(tracks) > 1:
            return speaker.active(tracks, decode.audio(path, speaker.RATE, clip.start, clip.end))
        return max(tracks, key=lambda track: track.area)

    def _measured(self, kept: np.ndarray, found: np.ndarray | None, camera: Camera) -> np.ndarray:
        """The columns (T, D) of faces (T, KEPT, 3), of which the action units are `found`."""
        parts = measure(kept, camera, self._model)
        return join(parts if found is None else {**parts, "aus": found}, self.settings.groups)

    def _units(self, track: Track, camera: Camera) -> np.ndarray:
        """The columns of action units (T, 35)."""
        if track.scores is not None:
            return units_of(track.scores[:])
        shapes = Rows(MOTIONS.shape[1], 3)
        for low in range(0, len(track.kept), BLOCK):
            shapes.extend(units.head_shapes(track.kept[low : low + BLOCK], camera))
        return units.columns_of(units.intensities(shapes, self.settings.neutral == "people"))


def _detector(settings: Settings) -> _Detector:
    if settings.backend == "blendshapes":
        return Landmarker(Path(settings.task or ""), settings.max_faces, settings.min_confidence)
    return Mesh(settings.max_faces, settings.min_confidence)


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
