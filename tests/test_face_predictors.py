"""OpenFace's own action units: every step against what OpenFace's program made of a made-up model in its formats.

The tolerances are those of `shared/OPENFACE_AU.md`, section 9.
"""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from lacuna.extractors import face
from lacuna.extractors._openface.columns import INTENSITIES, PRESENCES
from lacuna.extractors._openface.predictors import aligned, fhog, files
from lacuna.extractors._openface.predictors.history import History
from lacuna.extractors._openface.predictors.shape import ShapeFit
from lacuna.extractors._openface.predictors.track import ActionUnits
from lacuna.extractors._openface.predictors.units import Judge
from lacuna.media import decode
from lacuna.types import Clip, MalformedInput

SHARED = Path(__file__).resolve().parents[1] / "../shared"
FIXTURE = Path(os.environ.get("LACUNA_FIXTURES", SHARED / "fixtures")) / "openface_au"
VIDEO = Path(os.environ.get("LACUNA_DATA", SHARED / "data")) / "clips/grid/bbaf2n.mpg"
FOLDER = FIXTURE / "AU_predictors"
pytestmark = pytest.mark.skipif(
    not (FIXTURE.is_dir() and VIDEO.is_file()),
    reason=f"OPENFACE'S ACTION UNITS NOT CHECKED: no {FIXTURE} or {VIDEO} (set LACUNA_FIXTURES, LACUNA_DATA)",
)


@pytest.fixture(scope="module")
def said():
    with np.load(FIXTURE / "bbaf2n_synthetic.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def predictors():
    return files.read(FOLDER)


@pytest.fixture(scope="module")
def pictures():
    return [frame.image for frame in decode.frames(VIDEO)]


@pytest.fixture(scope="module")
def some(said):
    """The frames whose every step is in the file: those with a face, as (its number there, the frame's number)."""
    return [(i, frame) for i, frame in enumerate(said["frames"]) if said["success"][frame]]


def columns(predictors, presence):
    """Where the columns of the folder's units stand in the group `aus`."""
    if presence:
        return [len(INTENSITIES) + PRESENCES.index(p.unit) for p in predictors.all if p.labels is not None]
    return [INTENSITIES.index(p.unit) for p in predictors.all if p.labels is None]


def test_the_shape_fit(said, predictors):
    good = said["success"]
    found = ShapeFit(predictors.shape)(said["landmarks_all"][good].astype(float)).columns()
    pose, shape = said["pdm_global_all"][good], said["pdm_local_all"][good]
    assert np.abs(found[:, 0] / pose[:, 0] - 1).max() < 2e-7
    assert np.abs(found[:, 1:4] - pose[:, 1:4]).max() < 4e-7  # rad
    assert np.abs(found[:, 4:6] - pose[:, 4:6]).max() < 1.1e-5  # px
    assert np.abs(found[:, 6:] - shape).max() < 1.3e-4


def test_a_frame_is_fitted_alike_in_any_company(said, predictors):
    landmarks, fit = said["landmarks"][1:6].astype(float), ShapeFit(predictors.shape)
    alone = np.concatenate([fit(one[None]).columns() for one in landmarks])
    np.testing.assert_allclose(fit(landmarks).columns(), alone, rtol=1e-9, atol=1e-9)


def test_the_cut_and_its_mask(said, predictors, pictures, some):
    rows, frames = (list(part) for part in zip(*some))
    landmarks = said["landmarks"][rows].astype(float)
    warps = aligned.warps(landmarks, ShapeFit(predictors.shape)(landmarks), predictors.shape.mean)
    assert np.abs(warps - said["warp"][rows]).max() < 3e-5
    theirs = said["warp"][rows].astype(float)
    cuts = np.stack([aligned.cut(pictures[frame], warp) for frame, warp in zip(frames, theirs)])[..., ::-1]
    np.testing.assert_array_equal(cuts, said["aligned"][rows])
    masked = cuts * aligned.masks(landmarks, theirs, predictors.triangles)[..., None]
    np.testing.assert_array_equal(masked, said["aligned_masked"][rows])


def test_fhog(said):
    found = fhog.describe(said["aligned_masked"][..., ::-1])
    assert np.abs(found - said["fhog"]).max() < 1.6e-7


def test_running_medians(said):
    history, checked = History(fhog.WIDTH, 238), dict(zip(said["median_frames"], range(99)))
    both = np.concatenate([said["fhog_all"], said["geometry_all"]], axis=1).astype(float)
    for frame, (good, values) in enumerate(zip(said["success"], both)):
        history.add(values if good else None)
        if frame in checked:
            row = checked[frame]
            theirs = np.concatenate([said["fhog_median"][row], said["geometry_median"][row]])
            np.testing.assert_allclose(history.median, theirs, atol=4e-6)  # float32 numbers up to 60


def test_medians_of_many_frames_are_those_of_sorting():
    """Beyond 3,000 frames the running ones count."""
    rng, history, rows = np.random.default_rng(0), History(3, 2), []
    for frame in range(400):
        values = np.concatenate([rng.beta(1, 6, 3), rng.normal(0, 9, 2)])
        history.add(values if frame % 7 else None)
        if frame % 2 == 0 and frame % 7:
            rows.append(values)
        if len(rows) > 1:
            exact = np.sort(rows, axis=0)[(len(rows) + 1) // 2 - 1]
            np.testing.assert_allclose(history.median, np.clip(exact, -60, 60), atol=0.0061)  # half a bin


def test_predictions_and_what_is_made_of_them(said, predictors):
    judge, good = Judge(predictors.all), said["success"]
    values = np.concatenate([said["fhog_all"], said["geometry_all"]], axis=1).astype(float)
    median = np.concatenate([said["fhog_median"][-1], said["geometry_median"][-1]]).astype(float)
    found = judge.raw(values) - judge.less(median)
    intensities = [p.labels is None for p in predictors.all]
    assert np.abs(found[good][:, intensities] - said["repredicted_r"][good]).max() < 4e-7
    made = judge.columns(found, good)
    assert np.abs(made[:, columns(predictors, False)] - said["final_r"]).max() < 1e-6
    np.testing.assert_array_equal(made[:, columns(predictors, True)], said["final_c"])


def test_end_to_end(said, predictors, pictures):
    looked = [
        (image, points.astype(float) if good else None)
        for image, points, good in zip(pictures, said["landmarks_all"], said["success"])
    ]
    found, parameters = ActionUnits(FOLDER)(looked)
    assert np.abs(found[:, columns(predictors, False)] - said["final_r"]).max() < 0.03
    np.testing.assert_array_equal(found[:, columns(predictors, True)], said["final_c"])
    assert parameters.shape == (75, 40)
    assert not parameters[~said["success"]].any()


def test_a_photo_has_predictors_of_its_own(said, pictures, some):
    units = ActionUnits(FOLDER)
    for row, frame in some:
        found, _ = units([(pictures[frame], said["landmarks"][row].astype(float))], photo=True)
        theirs = np.clip(said["static_raw_r"][frame], 0, 5)
        assert np.abs(found[0, [INTENSITIES.index(4), INTENSITIES.index(12)]] - theirs).max() < 0.03
        present = [len(INTENSITIES) + PRESENCES.index(unit) for unit in (4, 12)]
        np.testing.assert_array_equal(found[0, present], said["static_c"][frame])


def test_the_extractor_gives_them_with_the_folders_shape_model():
    clip = Clip("v$_$1", "test", "train", path=VIDEO)
    plain = face.Extractor(face.Settings())(clip)
    found = face.Extractor(face.Settings(au_predictors=str(FOLDER)))(clip)
    assert found.seen.all()
    same = [i for i, name in enumerate(found.columns) if not name.startswith(("AU", "p_"))]
    np.testing.assert_array_equal(found.values[:, same], plain.values[:, same])
    modes = [found.columns.index(f"p_{i}") for i in range(34)]
    assert np.abs(found.values[:, modes] - plain.values[:, modes]).mean() > 1  # mm, in another basis
    units = found.values[:, found.columns.index("AU12_r")]
    assert units.max() > 1 and units.min() >= 0
    assert set(np.unique(found.values[:, found.columns.index("AU28_c")])) <= {0, 1}


def test_frames_are_sampled_after_all_were_judged():
    clip = Clip("v$_$1", "test", "train", path=VIDEO)
    groups = ("pose", "aus")
    every = face.Extractor(face.Settings(au_predictors=str(FOLDER), fps=None, groups=groups))(clip)
    some = face.Extractor(face.Settings(au_predictors=str(FOLDER), fps=5, groups=groups))(clip)
    np.testing.assert_allclose(some.times, np.arange(15) / 5)
    np.testing.assert_array_equal(some.values, every.values[::5])


def copy(target):
    shutil.copytree(FOLDER, target)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755)
    return target


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("main_dynamic_svms.txt", None, "main_dynamic_svms"),
        ("main_static_svms.txt", lambda b: b.replace(b"PDM", b"PDN"), "PDM"),
        ("AU_all_best.txt", lambda b: b"", "path.dat AU01"),
        ("AU_all_best.txt", lambda b: b.replace(b" AU01", b""), "path.dat AU01"),
        ("svr_synthetic/AU_1_dynamic.dat", None, "without action units"),
        ("svr_synthetic/AU_1_dynamic.dat", lambda b: b[:1000], "expected .* bytes"),
        ("svr_synthetic/AU_1_dynamic.dat", lambda b: b + b"x", "expected 75276 bytes"),
        ("svm_synthetic/AU_4_static.dat", lambda b: struct.pack("<i", 9) + b[4:], "kind 9"),
        ("svm_synthetic/AU_4_static.dat", lambda b: b[:4] + struct.pack("<i", 7) + b[8:], "expected 4702 numbers"),
        ("svm_synthetic/AU_4_static.dat", lambda b: b[:16] + struct.pack("<d", np.nan) + b[24:], "finite"),
        ("synthetic_PDM_68.txt", lambda b: b[: len(b) // 2], "breaks off"),
        ("synthetic_tris_68.txt", lambda b: b.replace(b"25 44 24", b"25 44 99"), "triangles"),
    ],
)
def test_a_damaged_folder_is_named(tmp_path, file, change, told):
    path = copy(tmp_path / "AU_predictors") / file
    content = path.read_bytes()
    path.unlink()
    if change is not None:
        path.write_bytes(change(content))
    with pytest.raises(MalformedInput, match=told) as raised:
        face.Extractor(face.Settings(au_predictors=str(tmp_path / "AU_predictors")))
    assert Path(file).name in str(raised.value)


def test_windows_line_ends_are_read(tmp_path, predictors):
    folder = copy(tmp_path / "AU_predictors")
    for path in folder.glob("*.txt"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").replace(b"synthetic/", b"synthetic\\"))
    assert [p.unit for p in files.read(folder).all] == [p.unit for p in predictors.all]


def test_they_need_the_mesh():
    with pytest.raises(MalformedInput, match="au_predictors: expected backend mesh"):
        face.Settings(au_predictors="folder", backend="blendshapes")
