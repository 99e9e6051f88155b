"""Which faces of a clip are one person's. In: the faces of each frame. Out: tracks, and the one that is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from lacuna.extractors._openface.landmarker import Face
from lacuna.extractors._openface.networks import SCORES
from lacuna.extractors._openface.points import KEPT
from lacuna.extractors._rows import Rows

REACH = 0.6  # a face is looked for within this many of its sizes from where it was
_UNSCORED = np.full((1, SCORES), np.nan, np.float32)
PATIENCE = 1.0  # s: a face that is gone for longer starts a new track


@dataclass
class Track:
    """One face through a clip: frame numbers, their times in s, and the face in each."""

    frames: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    kept: Rows = field(default_factory=lambda: Rows(len(KEPT), 3))
    scores: Rows = field(default_factory=lambda: Rows(SCORES))  # NaN in frames that were not scored
    last: Face | None = None
    area: float = 0.0  # px^2, summed over frames: what makes a track the largest

    def add(self, frame: int, time: float, face: Face) -> None:
        self.frames.append(frame)
        self.times.append(time)
        self.kept.extend(face.kept[None])
        self.scores.extend(_UNSCORED if face.scores is None else face.scores[None])
        self.last = face
        self.area += face.size**2

    def face(self, row: int) -> Face:
        return Face(self.kept[row], self.scores[row])

    def distance(self, face: Face) -> float:
        """How far `face` is from where this track last was, in face sizes."""
        assert self.last is not None
        return math.dist(face.middle, self.last.middle) / max(self.last.size, 1e-6)


class Tracks:
    """Tracks of a clip as its frames come in."""

    def __init__(self) -> None:
        self.all: list[Track] = []

    def add(self, frame: int, time: float, faces: list[Face]) -> None:
        """Give each face to the nearest track within reach, nearest pairs first; the others start tracks."""
        open_tracks = [track for track in self.all if time - track.times[-1] <= PATIENCE]
        pairs = sorted(
            (track.distance(face), t, f) for t, track in enumerate(open_tracks) for f, face in enumerate(faces)
        )
        taken: dict[int, Track] = {}
        for distance, t, f in pairs:
            if distance <= REACH and f not in taken and not any(open_tracks[t] is track for track in taken.values()):
                taken[f] = open_tracks[t]
        for f, face in enumerate(faces):
            track = taken.get(f)
            if track is None:
                track = Track()
                self.all.append(track)
            track.add(frame, time, face)


def continued(chosen: Track, tracks: list[Track]) -> Track:
    """The chosen track with the frames in which another face is alone on screen: speakers' videos have jump cuts."""
    if len(tracks) == 1:
        return chosen
    count: dict[int, int] = {}
    for track in tracks:
        for frame in track.frames:
            count[frame] = count.get(frame, 0) + 1
    own = set(chosen.frames)
    rows = [
        (frame, time, track, row)
        for track in tracks
        for row, (frame, time) in enumerate(zip(track.frames, track.times))
        if track is chosen or (count[frame] == 1 and frame not in own)
    ]
    whole = Track()
    for frame, time, track, row in sorted(rows, key=lambda row: row[0]):
        whole.add(frame, time, track.face(row))
    return whole
