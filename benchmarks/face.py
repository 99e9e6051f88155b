"""What the face extractor costs beside the bare face landmarker, and what resting faces are like.

    python benchmarks/face.py speed [--rounds 5] [--frames 75]   # ratio: extractor / landmarker, same clip and settings
    python benchmarks/face.py people                             # resting faces: the table of `_openface/units.py`

In: for `speed` the astronaut's picture made into a clip; for `people` real clips from the folder LACUNA_DATA (default
../shared/data). Out: text. `speed` counts processor time, which a busy machine disturbs less. How the columns agree
with OpenFace's: benchmarks/openface.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from skimage.data import astronaut

from lacuna.extractors import face
from lacuna.extractors._openface import units
from lacuna.extractors._openface.geometry import Camera
from lacuna.extractors._openface.landmarker import Landmarker
from lacuna.extractors._openface.motions import UNITS
from lacuna.media import decode
from lacuna.types import Clip

DATA = Path(os.environ.get("LACUNA_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))


def moving_clip(folder: Path, frames: int) -> Path:
    """The astronaut's head drifting over 480 x 480 pictures, H.264."""
    path, picture = folder / "astronaut.mp4", astronaut()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 480
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            shift = int(16 + 15 * np.sin(i / 6))
            shown = np.ascontiguousarray(picture[0:480, shift : shift + 480])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())
    return path


def bare(path: Path, max_faces: int) -> Callable[[], None]:
    """Decode a clip and find the landmarks of each frame, without scores: what the extractor is held against."""
    landmarker = Landmarker(max_faces=max_faces, scored=False)

    def run() -> None:
        landmarker.start()
        for frame in decode.frames(path, fps=25):
            landmarker(frame.image, frame.time)

    return run


def speed(rounds: int, frames: int) -> None:
    """Print the processor time per frame of both, in turns, and the median ratio."""
    with tempfile.TemporaryDirectory() as folder:
        path = moving_clip(Path(folder), frames)
        clip = Clip("astronaut", "benchmark", "test", path=path)
        for max_faces in (4, 1):
            extractor = face.Extractor(face.Settings(max_faces=max_faces))
            runs = {"bare": bare(path, max_faces), "ours": lambda extractor=extractor: extractor(clip)}
            spent: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(rounds + 1):  # the first round warms up
                for name, run in runs.items():
                    start = time.process_time()
                    run()
                    spent[name].append((time.process_time() - start) / frames * 1e3)
            alone, ours = (np.array(spent[name][1:]) for name in ("bare", "ours"))
            print(
                f"max_faces {max_faces}: landmarker {np.median(alone):.2f} ms/frame, ours {np.median(ours):.2f}: "
                f"× {statistics.median(ours / alone):.3f}"
            )


def people() -> None:
    """Print mean and deviation of each unit over the resting faces of the real clips."""
    landmarker, rests = Landmarker(max_faces=1, scored=False), []
    for path in sorted(DATA.glob("clips/*/*.m[op][4gv]*")):
        landmarker.start()
        found, camera = [], Camera(0, 0, 0)
        for frame in decode.frames(path, fps=10):
            faces = landmarker(frame.image, frame.time)
            camera = Camera.of_picture(frame.image.shape[1], frame.image.shape[0])
            found += [faces[0].kept] if faces else []
        if found:
            rests.append(units.resting(units.head_shapes(np.stack(found), camera)))
    print(f"{len(rests)} clips")
    for unit, values in zip(UNITS, np.array(rests).T):
        print(f"{unit}: ({values.mean():.1f}, {values.std(ddof=1):.1f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "people"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=75)
    given = parser.parse_args()
    if given.what == "speed":
        speed(given.rounds, given.frames)
    else:
        people()
