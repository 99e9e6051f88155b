"""The face extractor's contract: settings, columns, clips with one face, several or none, the same bytes every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import moving_faces as faces
import numpy as np
import pytest

from lacuna.extractors import face
from lacuna.extractors._openface import speaker, units
from lacuna.extractors._openface.columns import names
from lacuna.extractors._openface.landmarker import Face
from lacuna.extractors._openface.pdm import ShapeModel
from lacuna.extractors._openface.points import KEPT
from lacuna.extractors._openface.tracks import Tracks, continued
from lacuna.types import Clip, MalformedInput

DATA = Path(os.environ.get("LACUNA_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))
EMPTY = np.full((256, 320, 3), 90, np.uint8)


def clip(path, **span):
    return Clip("v$_$1", "test", "train", path=path, **span)


def small(picture):
    """The astronaut's head and shoulders, (256, 320, 3)."""
    return np.ascontiguousarray(picture[0:256, 64:384])


@pytest.fixture(scope="module")
def extractor():
    return face.Extractor(face.Settings())


@pytest.fixture(scope="module")
def smiling(tmp_path_factory):
    """12 frames of the smiling astronaut as she is, 6 with her inner brows up, 4 without a face."""
    brows = dict.fromkeys((107, 336, 66, 296, 55, 285), (0, -7))
    rest, raised = small(faces.portrait()), small(faces.warped(brows, 9))
    path = tmp_path_factory.mktemp("face") / "smiling 笑.mp4"
    return faces.written(path, [rest] * 12 + [raised] * 6 + [EMPTY] * 4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"backend": "dlib"}, "backend"),
        ({"groups": ("pose", "gase")}, "gase"),
        ({"groups": ()}, "groups"),
        ({"groups": ("pose", "pose")}, "groups"),
        ({"fps": 0}, "fps"),
        ({"fps": float("nan")}, "fps"),
        ({"average_over": 0}, "average_over"),
        ({"max_faces": 0}, "max_faces"),
        ({"speaker": "loudest"}, "speaker"),
        ({"min_confidence": 1.5}, "min_confidence"),
        ({"backend": "openface"}, "FeatureExtraction"),
        ({"backend": "openface", "openface": "a", "csv": "b"}, "either"),
    ],
)
def test_impossible_settings_are_refused(settings, told):
    with pytest.raises(MalformedInput, match=told):
        face.Settings(**settings)


def test_709_columns_in_openfaces_order(extractor):
    expected = [f"gaze_{e}_{a}" for e in "01" for a in "xyz"] + ["gaze_angle_x", "gaze_angle_y"]
    expected += [f"eye_lmk_{a}_{i}" for a in "xyXYZ" for i in range(56)]
    expected += ["pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"]
    expected += [f"{a}_{i}" for a in "xyXYZ" for i in range(68)]
    expected += ["p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty"] + [f"p_{i}" for i in range(34)]
    units = ["01", "02", "04", "05", "06", "07", "09", "10", "12", "14", "15", "17", "20", "23", "25", "26"]
    expected += [f"AU{u}_r" for u in [*units, "45"]] + [f"AU{u}_c" for u in [*units, "28", "45"]]
    assert list(extractor.columns) == expected
    assert len(extractor.columns) == 709


@pytest.mark.skipif(not DATA.is_dir(), reason=f"LACUNA_DATA: no {DATA}, OpenFace's real header is not read")
def test_columns_are_those_of_a_real_file(extractor):
    with (DATA / "openface" / "full_714_columns_one_row.csv").open() as file:
        header = [name.strip() for name in file.readline().split(",")]
    assert header[:5] == ["frame", "face_id", "timestamp", "confidence", "success"]
    assert tuple(header[5:]) == extractor.columns


@pytest.mark.skipif(not DATA.is_dir(), reason=f"LACUNA_DATA: no {DATA}, real clips are not measured")
def test_real_clips_with_and_without_a_face(extractor):
    assert not extractor(clip(DATA / "clips/edge/no_face.mp4", end=1.0)).seen.any()
    half = extractor(clip(DATA / "clips/edge/face_noface.mov")).seen
    assert 0.2 < half.mean() < 0.6
    assert np.abs(np.diff(half.astype(int))).sum() < 6  # the face comes or goes a few times, it does not flicker
    talker = extractor(clip(DATA / "clips/grid/bbaf2n.mpg"))
    assert talker.seen.all()
    pdm = talker.values[:, [talker.columns.index(name) for name in names(("pdm",))]].astype(float)
    landmarks = talker.values[:, [talker.columns.index(name) for name in names(("landmarks_2d",))]]
    error = ShapeModel().rebuild(pdm) - np.swapaxes(landmarks.reshape(-1, 2, 68), 1, 2)
    assert np.quantile(np.linalg.norm(error, axis=-1), 0.95) < 2.0  # px
    blinks = talker.values[:, talker.columns.index("AU45_r")]
    assert blinks.max() > 3  # he shuts his eyes


def test_groups_choose_columns_in_openfaces_order():
    chosen = face.Settings(groups=["aus", "gaze", "pose"])
    assert face.Extractor(chosen).columns == names(("gaze", "pose", "aus"))
    assert len(face.Extractor(chosen).columns) == 8 + 6 + 35


def test_a_clip_is_measured_frame_by_frame(extractor, smiling):
    found = extractor(clip(smiling))
    column = {name: i for i, name in enumerate(found.columns)}
    assert found.values.shape == (22, 709)
    assert found.values.dtype == np.float32
    assert np.allclose(found.times, np.arange(22) / 25)
    assert found.seen.tolist() == [True] * 18 + [False] * 4
    assert not found.values[18:].any()  # a lost face is zeros
    assert found.values[13:17, column["AU01_r"]].min() > 1.5
    assert found.values[13:17, column["AU01_c"]].all()
    assert found.values[:11, column["AU01_r"]].max() < 0.5
    assert found.values[13:17, column["AU04_r"]].max() < 0.5
    chin = found.values[0, [column["x_8"], column["y_8"]]]
    assert np.allclose(chin, faces.skin()[152] - [64, 0], atol=4)


def test_spans_rates_and_averages(smiling):
    found = face.Extractor(face.Settings(fps=12.5, groups=("pose",)))(clip(smiling, start=0.08, end=0.4))
    assert np.allclose(found.times, [0, 0.08, 0.16, 0.24])
    every = face.Extractor(face.Settings(fps=None, groups=("pose",)))(clip(smiling))
    means = face.Extractor(face.Settings(fps=None, average_over=5, groups=("pose",)))(clip(smiling))
    assert means.values.shape == (5, 6)
    assert np.allclose(means.times, [0.08, 0.28, 0.48, 0.68, 0.82])
    assert np.allclose(means.values[0], every.values[:5].mean(axis=0), atol=1e-4)
    assert np.allclose(means.values[3], every.values[15:18].mean(axis=0), atol=1e-4)  # of the three seen frames
    assert means.seen.tolist() == [True] * 4 + [False]


@pytest.mark.parametrize("over", [1, 3, 30])
def test_a_long_clip_in_pieces_is_the_clip(smiling, monkeypatch, over):
    """22 frames in pieces of about 8, the last four of them without a face."""
    made = face.Extractor(face.Settings(average_over=over))
    whole = made(clip(smiling))
    for module in (face, units):
        monkeypatch.setattr(module, "BLOCK", 8)
    monkeypatch.setattr(units, "POINTS", 5)
    pieces = list(made.pieces(clip(smiling)))
    assert len(pieces) == {1: 3, 3: 4, 30: 1}[over]
    for name in ("times", "seen"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in pieces]), getattr(whole, name))
    np.testing.assert_allclose(np.concatenate([p.values for p in pieces]), whole.values, rtol=1e-4, atol=1e-3)


def test_no_face_is_a_fact_and_no_media_no_rows(extractor, tmp_path):
    found = extractor(clip(faces.written(tmp_path / "empty.mp4", [EMPTY] * 5)))
    assert len(found) == 5
    assert not found.seen.any()
    assert not found.values.any()
    assert len(extractor(Clip("v$_$1", "test", "train", text="only words"))) == 0


def test_a_held_smile_is_a_smile(extractor, smiling, tmp_path):
    """The astronaut smiles broadly and her eyes narrow; in one frame too, where nothing moves from its rest."""
    one = extractor(clip(faces.written(tmp_path / "one.mp4", [small(faces.portrait())])))
    assert one.seen.tolist() == [True]
    for found in (one, extractor(clip(smiling))):
        for name, least in (("AU12_r", 3), ("AU06_r", 1.5), ("AU12_c", 1), ("AU06_c", 1)):
            assert found.values[found.seen, found.columns.index(name)].min() >= least
    for name in ("AU01_r", "AU02_r", "AU09_r"):  # movement and distances alone, which count from the clip's own rest
        assert one.values[0, one.columns.index(name)] == 0


def test_unreadable_media_is_named(extractor, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    with pytest.raises(MalformedInput, match=r"broken\.mp4"):
        extractor(clip(tmp_path / "broken.mp4"))


def test_the_same_bytes_every_time_whatever_came_before(smiling, tmp_path):
    other = faces.written(tmp_path / "other.mp4", [small(faces.portrait())[:, ::-1]] * 6)
    first, second = face.Extractor(face.Settings()), face.Extractor(face.Settings())
    alone = first(clip(smiling)).values.tobytes()
    second(clip(other))
    assert second(clip(smiling)).values.tobytes() == alone
    assert first(clip(smiling)).values.tobytes() == alone


def test_the_networks_keep_quiet_and_errors_do_not(smiling):
    program = (
        "import sys; from lacuna.extractors import face; from lacuna.types import Clip\n"
        "clip = Clip('v', 'd', 'train', path=sys.argv[1])\n"
        "extractor = face.Extractor(face.Settings())\n"
        "for _ in range(3): print(extractor(clip).seen.sum())\n"
        "from lacuna.extractors._openface.networks import quiet\n"
        "with quiet():\n"
        "    import os; os.write(2, b'the cause')\n"
        "    raise SystemExit('the end')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(smiling)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["18"] * 3
    assert done.stderr.strip() == "the causethe end"


def beside(left, right):
    """Two pictures side by side, (256, 640, 3)."""
    return np.concatenate([left, right], axis=1)


def shrunk(picture):
    """Three quarters of the size on a grey ground."""
    out = EMPTY.copy()
    out[:192, 40:280] = cv2.resize(picture, (240, 192), interpolation=cv2.INTER_AREA)
    return out


def test_the_largest_of_several_faces(tmp_path):
    near, far = small(faces.portrait()), shrunk(small(faces.portrait()))
    found = face.Extractor(face.Settings(groups=("landmarks_2d",)))(
        clip(faces.written(tmp_path / "two.mp4", [beside(far, near)] * 4))
    )
    assert found.seen.all()
    assert found.values[:, :68].min() > 320


def test_the_active_talkeris_who_moves_the_lips_with_the_sound(tmp_path):
    """The smaller face, on the left, opens its mouth while there is sound; the larger one chews in the pauses."""
    rest = small(faces.portrait())
    lips = {14: (0, 7), 17: (0, 7), 87: (0, 7), 317: (0, 7), 84: (0, 7), 314: (0, 7)}
    opened = small(faces.warped(lips, 8))
    times = np.arange(50) / 25
    loud = (times % 1.0) < 0.5
    wide = (np.arange(50) // 2) % 2 == 0
    pictures = [
        beside(shrunk(opened if on and flap else rest), opened if not on and flap else rest)
        for on, flap in zip(loud, wide)
    ]
    samples = np.arange(2 * 16000) / 16000
    sound = np.where((samples % 1.0) < 0.5, 0.3 * np.sin(2 * np.pi * 200 * samples), 0)
    path = faces.written(tmp_path / "talk.mp4", pictures, sound=sound)
    settings = {"groups": ("landmarks_2d",)}
    assert face.Extractor(face.Settings(**settings, speaker="active"))(clip(path)).values[:, :68].max() < 320
    assert face.Extractor(face.Settings(**settings))(clip(path)).values[:, :68].min() > 320


def placed(x, size=100.0):
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (len(KEPT), 3)) * size + [x, 100, 0]
    return Face(points.astype(np.float32))


def test_tracks_survive_gaps_and_crossings_but_not_long_absences():
    tracks = Tracks()
    for frame in range(10):
        if frame not in (4, 5):
            tracks.add(frame, frame / 25, [placed(300 - 3 * frame), placed(100 + 3 * frame)])
    tracks.add(60, 60 / 25, [placed(130)])
    assert [len(track.frames) for track in tracks.all] == [8, 8, 1]
    assert [int(track.last.kept[:, 0].mean()) > 200 for track in tracks.all] == [True, False, False]


def test_a_face_alone_on_screen_continues_the_track_after_a_cut():
    tracks = Tracks()
    for frame in range(6):
        tracks.add(frame, frame / 25, [placed(100, 120.0)])
    for frame in range(6, 9):
        tracks.add(frame, frame / 25, [placed(400, 80.0)])
    for frame in range(9, 11):
        tracks.add(frame, frame / 25, [placed(400, 80.0), placed(800, 80.0)])
    assert continued(tracks.all[0], tracks.all).frames == list(range(9))


def test_without_sound_the_largest_speaks():
    tracks = Tracks()
    for frame in range(8):
        tracks.add(frame, frame / 25, [placed(100), placed(400, 150.0)])
    assert speaker.active(tracks.all, None) is tracks.all[1]
    assert speaker.active(tracks.all, np.zeros(16000, np.float32)) is tracks.all[1]


def test_the_backend_of_scores_alone(smiling):
    """Raised inner brows by their absolute score: they count in every frame, and AU09 has no score."""
    found = face.Extractor(face.Settings(backend="blendshapes", groups=("aus",)))(clip(smiling))
    unit = {name: found.values[found.seen, i] for i, name in enumerate(found.columns)}
    assert unit["AU12_r"].min() > 3
    assert unit["AU01_r"][13:17].min() > unit["AU01_r"][:10].max() > 0
    assert not unit["AU09_r"].any()
