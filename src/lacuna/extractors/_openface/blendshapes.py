"""MediaPipe's Face Landmarker with a user's .task file. In: RGB pictures. Out: faces with 52 blendshape scores.

The scores (0..1, ARKit's names) are trained estimates of facial movement; the table below says which of them make up an
action unit, after the correspondence of ARKit's shapes to FACS that is in common use. Points and everything that
follows from them are as in `mesh`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lacuna.extractors._openface.columns import INTENSITIES, PRESENCES
from lacuna.extractors._openface.mesh import Face, kept_points, quiet
from lacuna.types import MalformedInput

if TYPE_CHECKING:
    from mediapipe.tasks.python.vision import FaceLandmarker

STRONGEST = 5.0
PRESENT = 1.0
# unit: the blendshapes whose mean it is
_TABLE: dict[int, tuple[str, ...]] = {
    1: ("browInnerUp",),
    2: ("browOuterUpLeft", "browOuterUpRight"),
    4: ("browDownLeft", "browDownRight"),
    5: ("eyeWideLeft", "eyeWideRight"),
    6: ("cheekSquintLeft", "cheekSquintRight"),
    7: ("eyeSquintLeft", "eyeSquintRight"),
    9: ("noseSneerLeft", "noseSneerRight"),
    10: ("mouthUpperUpLeft", "mouthUpperUpRight"),
    12: ("mouthSmileLeft", "mouthSmileRight"),
    14: ("mouthDimpleLeft", "mouthDimpleRight"),
    15: ("mouthFrownLeft", "mouthFrownRight"),
    17: ("mouthShrugLower",),
    20: ("mouthStretchLeft", "mouthStretchRight"),
    23: ("mouthPressLeft", "mouthPressRight"),
    25: ("mouthLowerDownLeft", "mouthLowerDownRight", "jawOpen"),
    26: ("jawOpen",),
    28: ("mouthRollLower", "mouthRollUpper"),
    45: ("eyeBlinkLeft", "eyeBlinkRight"),
}
NAMES = tuple(dict.fromkeys(name for shapes in _TABLE.values() for name in shapes))
_PLACE = {name: i for i, name in enumerate(NAMES)}


def units_of(scores: np.ndarray) -> np.ndarray:
    """Scores (T, len(NAMES)) -> the columns of group `aus` (T, 35), less the clip's own neutral (its median)."""
    scores = np.maximum(scores - np.median(scores, axis=0), 0)
    found = {
        unit: STRONGEST * scores[:, [_PLACE[name] for name in names]].mean(axis=1) for unit, names in _TABLE.items()
    }
    strength = np.stack([found[unit] for unit in INTENSITIES], axis=1)
    present = np.stack([found[unit] >= PRESENT for unit in PRESENCES], axis=1)
    return np.concatenate([strength, present], axis=1)


class Landmarker:
    """Face Landmarker in video mode: `landmarker(image, time) -> [Face]`."""

    def __init__(self, task: Path, max_faces: int, min_confidence: float) -> None:
        if not task.is_file():
            raise MalformedInput(
                f"face: backend blendshapes: task: expected a face_landmarker.task file, found none at {task}. It is "
                "MediaPipe's model bundle, which is not part of its package; or choose backend mesh, which needs none."
            )
        with quiet():
            import mediapipe

        self._mediapipe = mediapipe
        vision = mediapipe.tasks.vision
        self._options = vision.FaceLandmarkerOptions(
            base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(task)),
            running_mode=vision.RunningMode.VIDEO,
            num_faces=max_faces,
            min_face_detection_confidence=min_confidence,
            min_face_presence_confidence=min_confidence,
            min_tracking_confidence=min_confidence,
            output_face_blendshapes=True,
        )
        self.version = f"{mediapipe.__version__} with {hashlib.sha256(task.read_bytes()).hexdigest()[:16]}"
        self._graph = self._made(task)
        self._last = -1  # ms

    def _made(self, task: Path) -> FaceLandmarker:
        try:
            with quiet():
                return self._mediapipe.tasks.vision.FaceLandmarker.create_from_options(self._options)
        except (RuntimeError, ValueError) as error:
            raise MalformedInput(f"{task}: expected MediaPipe's face_landmarker.task: {error}") from error

    def start(self) -> None:
        """Forget the last clip: time must not run backwards within one graph."""
        self._graph.close()
        self._graph = self._made(Path(self._options.base_options.model_asset_path))
        self._last = -1

    def __call__(self, image: np.ndarray, time: float) -> list[Face]:
        """Faces of an RGB picture (H, W, 3) uint8 shown at `time` s."""
        picture = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=image)
        self._last = max(self._last + 1, round(time * 1000))  # it takes whole milliseconds, each once
        found = self._graph.detect_for_video(picture, self._last)
        height, width = image.shape[:2]
        return [
            Face(kept_points(landmarks, width, height), _scores(shapes))
            for landmarks, shapes in zip(found.face_landmarks, found.face_blendshapes)
        ]


def _scores(shapes: list) -> np.ndarray:
    """The scores of NAMES in order (len(NAMES),) float32."""
    by_name = {shape.category_name: shape.score for shape in shapes}
    return np.array([by_name[name] for name in NAMES], np.float32)
