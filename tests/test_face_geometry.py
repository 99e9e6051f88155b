"""What the face's columns measure: pose, gaze, landmarks in space, and the shape model that rebuilds them."""

from __future__ import annotations

import moving_faces as faces
import numpy as np
import pytest

from lacuna.extractors._openface import points
from lacuna.extractors._openface.columns import EYE_LANDMARKS, GROUPS, LANDMARKS, names
from lacuna.extractors._openface.geometry import Camera, angles, looking_along, rotation, similarity
from lacuna.extractors._openface.landmarker import Landmarker
from lacuna.extractors._openface.measure import measure
from lacuna.extractors._openface.pdm import ShapeModel
from lacuna.extractors._openface.pose import head_pose

MODEL = ShapeModel()
TURNS = [(0, 0, 0), (18, 0, 0), (-18, 0, 0), (0, 22, 0), (0, -22, 0), (0, 0, 25), (10, 15, -12), (-12, -18, 8)]


@pytest.fixture(scope="module")
def mesh():
    return Landmarker(max_faces=1)


@pytest.fixture(scope="module")
def still():
    """Groups of 12 canonical faces, turned at random."""
    turns = np.random.default_rng(3).uniform(-0.4, 0.4, (12, 3))
    return turns, measure(faces.seen(np.repeat(faces.vertices()[None], 12, axis=0), turns), faces.CAMERA, MODEL)


def test_euler_angles_are_openfaces_and_come_back():
    turns = np.random.default_rng(0).uniform(-1.2, 1.2, (50, 3))
    assert np.allclose(angles(rotation(turns)), turns)
    nose = np.array([0.0, 0.0, -1.0])
    assert (rotation(np.array([0.3, 0, 0])) @ nose)[1] > 0  # pitch > 0: the nose goes down
    assert (rotation(np.array([0, 0.3, 0])) @ nose)[0] < 0  # yaw > 0: to the image's left
    assert (rotation(np.array([0, 0, 0.3])) @ [1.0, 0, 0])[1] > 0  # roll > 0: clockwise in the picture


def test_similarity_and_line_of_sight():
    rng = np.random.default_rng(1)
    model, turn = rng.normal(size=(9, 3)), rotation(rng.uniform(-1, 1, (4, 3)))
    scale, found, shift = similarity(model, 2.5 * model @ np.swapaxes(turn, -1, -2) + [1.0, 2.0, 3.0])
    assert np.allclose(scale, 2.5)
    assert np.allclose(found, turn)
    assert np.allclose(shift, [1.0, 2.0, 3.0])
    sight = np.array([[0.3, -0.2, 0.9], [0.0, 0.0, 1.0]])
    sight /= np.linalg.norm(sight, axis=1, keepdims=True)
    assert np.allclose(looking_along(sight) @ sight[..., None], np.array([0.0, 0.0, 1.0])[:, None])


def test_the_camera_is_openfaces_guess():
    assert Camera.of_picture(640, 480) == Camera(500.0, 320.0, 240.0)
    assert Camera.of_picture(1280, 960).focal == 1000.0


def test_pose_of_projected_faces_is_exact_to_two_degrees(still):
    turns, groups = still
    assert np.abs(np.degrees(groups["pose"][:, 3:] - turns)).max() < 2.0
    assert np.allclose(groups["pose"][:, :3], (10.0, -5.0, 500.0), atol=[2, 2, 15])


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_pose_of_rendered_faces_within_5_degrees(mesh, turn):
    mesh.start()
    kept = mesh(faces.rendered(np.radians(np.array(turn, float))), 0.0)[0].kept[None].astype(float)
    model = points.landmarks(points.canonical(), points.STEADY)
    found, _ = head_pose(model, points.landmarks(kept, points.STEADY), faces.CAMERA)
    assert np.abs(np.degrees(angles(found))[0] - turn).max() < 5


def test_68_landmarks_lie_where_ibug_has_them():
    face = points.landmarks(points.canonical())
    assert face.shape == (LANDMARKS, 3)
    assert np.allclose(face[:17, 0], -face[16::-1, 0], atol=0.1)  # the jaw is symmetric, from the image's left
    assert np.all(np.diff(face[:17, 0]) > -1)
    assert face[8, 1] == face[:, 1].max()  # 8 is the chin
    assert face[30, 2] == face[:, 2].min()  # 30 the tip of the nose
    assert face[36, 0] < face[39, 0] < face[42, 0] < face[45, 0]
    assert face[48, 0] < face[51, 0] < face[54, 0]
    assert face[51, 1] < face[62, 1] <= face[66, 1] < face[57, 1]


def test_landmarks_in_space_project_onto_those_in_the_picture(still):
    _, groups = still
    for group, flat, count in (("landmarks_3d", groups["landmarks_2d"], LANDMARKS), ("eye_lmk", None, EYE_LANDMARKS)):
        values = groups[group]
        if flat is None:
            flat, values = values[:, : 2 * count], values[:, 2 * count :]
        places = np.swapaxes(values.reshape(-1, 3, count), -1, -2)
        pixels = np.swapaxes(flat.reshape(-1, 2, count), -1, -2)
        near = np.abs(faces.CAMERA.project(places) - pixels)
        assert near.max() < (1e-6 if group == "landmarks_3d" else 1.0)
    outer = groups["landmarks_3d"].reshape(-1, 3, LANDMARKS)[:, :, [36, 45]]
    assert np.allclose(np.linalg.norm(outer[..., 0] - outer[..., 1], axis=1), 89, rtol=0.05)  # mm


def test_gaze_follows_the_irises_and_the_head():
    """A still head looks right in the picture when its irises go right; irises at rest turn with the head."""
    right = faces.vertices().copy()
    right[468:, 0] += 3.0
    rest = measure(faces.seen(faces.vertices()[None], np.zeros((1, 3))), faces.CAMERA, MODEL)["gaze"][0]
    moved = measure(faces.seen(right[None], np.zeros((1, 3))), faces.CAMERA, MODEL)["gaze"][0]
    assert 0.15 < moved[6] - rest[6] < 0.4  # 3 mm on a ball of 12 mm
    assert abs(moved[7] - rest[7]) < 0.05
    turned = measure(faces.seen(faces.vertices()[None], np.array([[0, -0.3, 0]])), faces.CAMERA, MODEL)["gaze"][0]
    assert turned[6] - rest[6] == pytest.approx(0.3, abs=0.1)
    assert np.allclose(np.linalg.norm(rest[:6].reshape(2, 3), axis=1), 1)


def test_the_shape_model_is_orthonormal_and_holds_the_head_still():
    flat = MODEL.modes.reshape(34, -1)
    assert np.allclose(flat @ flat.T, np.eye(34), atol=1e-5)
    assert np.allclose(MODEL.modes.sum(axis=1), 0, atol=1e-4)  # no mode shifts the face
    assert np.allclose((np.cross(MODEL.mean, MODEL.modes)).sum(axis=1), 0, atol=1e-2)  # none turns it
    assert (np.diff(MODEL.variances) <= 1e-9).all()


def test_parameters_rebuild_the_landmarks_of_a_real_face(mesh):
    """Within a pixel or two: the astronaut's face and its smile, about 100 px wide."""
    for picture in (faces.portrait(), faces.warped({61: (-5, -6), 291: (5, -6)}, 14)):
        mesh.start()
        kept = mesh(picture, 0.0)[0].kept[None]
        groups = measure(kept, Camera.of_picture(512, 512), MODEL)
        landmarks = np.swapaxes(groups["landmarks_2d"].reshape(-1, 2, LANDMARKS), -1, -2)
        error = np.linalg.norm(MODEL.rebuild(groups["pdm"]) - landmarks, axis=-1)
        assert error.mean() < 1.0
        assert error.max() < 3.0


def test_parameters_of_a_rebuilt_face_are_its_own():
    rng = np.random.default_rng(5)
    shape = rng.normal(size=(6, 34)) * np.sqrt(MODEL.variances) * 0.5
    given = np.concatenate([np.full((6, 1), 1.3), np.zeros((6, 3)), np.tile([320.0, 240.0], (6, 1)), shape], axis=1)
    found = MODEL.fit(MODEL.rebuild(given), np.repeat(np.eye(3)[None], 6, axis=0), np.tile([0.0, 0, 400], (6, 1)))
    assert np.allclose(found[:, :6], given[:, :6], atol=0.02)
    assert np.abs(MODEL.rebuild(found) - MODEL.rebuild(given)).max() < 0.5


def test_each_group_has_its_columns(still):
    _, groups = still
    for group in GROUPS:
        if group != "aus":  # needs the whole clip
            assert groups[group].shape == (12, len(names((group,))))
