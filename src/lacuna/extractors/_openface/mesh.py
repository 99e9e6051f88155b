"""MediaPipe's face mesh. In: RGB pictures of one clip in order. Out: the kept points of every face, in pixels.

The models lie in mediapipe's wheel (0.10.14 is the last that has them). Results depend on the frames of the same clip
alone: `start` before each clip.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lacuna.extractors._openface.points import KEPT


@dataclass(frozen=True)
class Face:
    """One face in one frame: kept points (KEPT, 3) float32 px, and 52 blendshape scores where the backend has them."""

    kept: np.ndarray
    scores: np.ndarray | None = None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what C++ libraries print to stderr; shown after all when the block fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        shown = os.dup(2)
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            os.dup2(shown, 2)
            os.close(shown)
            if failed:
                held.seek(0)
                os.write(2, held.read())


def kept_points(points: Sequence, width: int, height: int) -> np.ndarray:
    """MediaPipe's normalised landmarks -> (KEPT, 3) float32 px; its depth is in units of the picture's width."""
    found = np.array([(point.x, point.y, point.z) for point in map(points.__getitem__, KEPT)])
    return (found * [width, height, width]).astype(np.float32)


class Mesh:
    """The mesh with irises: `mesh(image, time) -> [Face]`."""

    def __init__(self, max_faces: int, min_confidence: float) -> None:
        # protobuf < 5, which mediapipe needs, warns of mediapipe's calls
        warnings.filterwarnings("ignore", "SymbolDatabase.GetPrototype", UserWarning)
        with quiet():
            import mediapipe

            self.version: str = mediapipe.__version__
            self._graph = mediapipe.solutions.face_mesh.FaceMesh(
                max_num_faces=max_faces,
                refine_landmarks=True,
                min_detection_confidence=min_confidence,
                min_tracking_confidence=min_confidence,
            )
            self._graph.process(np.zeros((64, 64, 3), np.uint8))  # its threads talk until the first result is there
        self._fresh = True

    def start(self) -> None:
        """Forget the last clip."""
        self._fresh = True

    def __call__(self, image: np.ndarray, time: float) -> list[Face]:
        """Faces of an RGB picture (H, W, 3) uint8; `time` is not needed here."""
        if self._fresh:
            with quiet():
                self._graph.reset()
                found = self._graph.process(image)
        else:
            found = self._graph.process(image)
        self._fresh = False
        height, width = image.shape[:2]
        return [Face(kept_points(face.landmark, width, height)) for face in found.multi_face_landmarks or ()]
