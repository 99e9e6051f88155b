"""What the face extractor costs beside the bare face mesh, and how its columns compare with OpenFace's.

    python benchmarks/face.py speed [--rounds 5] [--frames 75]   # ratio: extractor / bare mesh, same clip and settings
    python benchmarks/face.py compare                            # the table of docs/features.md
    python benchmarks/face.py people                             # resting faces: the table of `_openface/units.py`

In: for `speed` the astronaut's picture made into a clip; for `compare` real clips and a real OpenFace file from the
folder LACUNA_DATA (default ../shared/data). Out: text. `speed` counts processor time,
which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import statistics
import sys
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
from lacuna.extractors._openface.mesh import Mesh, quiet
from lacuna.extractors._openface.motions import UNITS as MOVED
from lacuna.media import decode
from lacuna.types import Clip

DATA = Path(os.environ.get("LACUNA_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))
SHOWN = ("gaze_0_x", "gaze_0_y", "gaze_0_z", "gaze_1_x", "gaze_1_y", "gaze_1_z", "gaze_angle_x", "gaze_angle_y")
SHOWN += ("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz")
UNITS = tuple(f"AU{u:02d}_r" for u in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45))
PAIRS = (
    ("gaze_0_x", "gaze_1_x"), ("gaze_0_y", "gaze_1_y"), ("AU01_r", "AU02_r"), ("AU06_r", "AU12_r"),
    ("AU25_r", "AU26_r"), ("AU12_r", "AU15_r"), ("AU01_r", "AU04_r"), ("AU05_r", "AU45_r"), ("AU07_r", "AU45_r"),
    ("AU17_r", "AU25_r"), ("pose_Rx", "gaze_angle_y"), ("pose_Ry", "gaze_angle_x"), ("Y_8", "AU26_r"),
)  # fmt: skip


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


def bare_mesh(path: Path, max_faces: int) -> Callable[[], None]:
    """Decode a clip and run MediaPipe's face mesh on each frame: what the extractor is held against."""
    with quiet():
        import mediapipe

        mesh = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=max_faces, refine_landmarks=True)
        mesh.process(astronaut())

    def run() -> None:
        with quiet():
            mesh.reset()
            for frame in decode.frames(path, fps=25):
                mesh.process(frame.image)

    return run


def speed(rounds: int, frames: int) -> None:
    """Print the processor time per frame of both, in turns, and the median ratio."""
    with tempfile.TemporaryDirectory() as folder:
        path = moving_clip(Path(folder), frames)
        clip = Clip("astronaut", "benchmark", "test", path=path)
        for max_faces in (4, 1):
            extractor = face.Extractor(face.Settings(max_faces=max_faces))
            runs = {"bare": bare_mesh(path, max_faces), "ours": lambda extractor=extractor: extractor(clip)}
            spent: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(rounds + 1):  # the first round warms up
                for name, run in runs.items():
                    start = time.process_time()
                    run()
                    spent[name].append((time.process_time() - start) / frames * 1e3)
            bare, ours = (np.array(spent[name][1:]) for name in ("bare", "ours"))
            ratio = statistics.median(ours / bare)
            print(
                f"max_faces {max_faces}: bare {np.median(bare):.2f} ms/frame, ours {np.median(ours):.2f}: × {ratio:.3f}"
            )


def openface_rows() -> tuple[tuple[str, ...], np.ndarray]:
    """Columns and frames of the real OpenFace file."""
    with gzip.open(DATA / "openface" / "lara_538_columns.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.reader(file, skipinitialspace=True))
    return tuple(rows[0]), np.array(rows[1:], float)


def our_rows() -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Columns and seen frames of each real clip of one speaker."""
    extractor = face.Extractor(face.Settings())
    found = []
    for path in sorted(
        [*DATA.glob("clips/grid/*.mpg"), *DATA.glob("clips/portraits/*.mp4"), *DATA.glob("clips/speeches/*")]
    ):
        sequence = extractor(Clip(path.stem, "real", "test", path=path))
        found.append(sequence.values[sequence.seen].astype(float))
    return extractor.columns, found


def compare() -> None:
    """Print ranges and correlations as tables. Correlations of ours are the median over clips of those within each."""
    if not DATA.is_dir():
        sys.exit(f"LACUNA_DATA: expected a folder of real clips, found none at {DATA}")
    theirs, rows = openface_rows()
    ours, clips = our_rows()
    every = np.concatenate(clips)
    print("| column | OpenFace: 5 %, median, 95 % | ours: 5 %, median, 95 % |\n|---|---|---|")
    for name in (*SHOWN, *UNITS):
        cells = []
        for columns, values in ((theirs, rows), (ours, every)):
            low, middle, high = np.quantile(values[:, columns.index(name)], [0.05, 0.5, 0.95])
            cells.append(f"{low:.2f}, {middle:.2f}, {high:.2f}")
        print(f"| {name} | {cells[0]} | {cells[1]} |")
    print("\n| columns | OpenFace: r | ours: r |\n|---|---|---|")
    for first, second in PAIRS:
        r = np.corrcoef(rows[:, theirs.index(first)], rows[:, theirs.index(second)])[0, 1]
        inside = [
            np.corrcoef(v[:, ours.index(first)], v[:, ours.index(second)])[0, 1]
            for v in clips
            if moves(v, ours, first, second)
        ]
        print(f"| {first}, {second} | {r:+.2f} | {np.median(inside):+.2f} |")


def people() -> None:
    """Print mean and deviation of each unit over the resting faces of the real clips."""
    mesh, rests = Mesh(1, 0.5), []
    for path in sorted(DATA.glob("clips/*/*.m[op][4gv]*")):
        mesh.start()
        found, camera = [], Camera(0, 0, 0)
        for frame in decode.frames(path, fps=10):
            faces = mesh(frame.image, frame.time)
            camera = Camera.of_picture(frame.image.shape[1], frame.image.shape[0])
            found += [faces[0].kept] if faces else []
        if found:
            rests.append(units.resting(units.head_shapes(np.stack(found), camera)))
    print(f"{len(rests)} clips")
    for unit, values in zip(MOVED, np.array(rests).T):
        print(f"{unit}: ({values.mean():.1f}, {values.std(ddof=1):.1f})")


def moves(values: np.ndarray, columns: tuple[str, ...], *names: str) -> bool:
    """Whether the named columns change in these rows: else they correlate with nothing."""
    return all(values[:, columns.index(name)].std() > 1e-6 for name in names)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "compare", "people"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int)
    given = parser.parse_args()
    if given.what == "speed":
        speed(given.rounds, given.frames or 75)
    elif given.what == "compare":
        compare()
    else:
        people()
