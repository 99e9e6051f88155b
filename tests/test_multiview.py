"""A .mat of views becomes clips and sequences; files that are none are refused by name."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from lacuna.data.samples import Sample
from lacuna.datasets import multiview
from lacuna.patterns import _conflict
from lacuna.types import Clip, FeatureSequence, MalformedInput

SETTINGS = SimpleNamespace(seed=0, fractions=(0.7, 0.1, 0.2), label_range=(-3, 3), speakers_apart=False)
DATA = Path(os.environ.get("LACUNA_DATA", Path(__file__).resolve().parents[1] / "../shared/data")) / "multiview"


def write(root: Path, key: str = "gt", transposed: bool = False) -> list[np.ndarray]:
    views = [np.arange(40.0).reshape(10, 4), np.arange(30).reshape(10, 3)]
    cells = np.empty((1, 2), object)
    for v, view in enumerate(views):
        cells[0, v] = view.T if transposed else view
    scipy.io.savemat(root / "faces.mat", {"X": cells, key: np.repeat([3, 7], 5)[:, None]})
    return views


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("key", ["gt", "Y"])
def test_reads_views_either_way_round(tmp_path, key, transposed):
    views = write(tmp_path, key, transposed)
    assert multiview.matches(tmp_path)
    clips = list(multiview.read(tmp_path, "faces", SETTINGS))
    assert [c.label for c in clips] == [0.0] * 5 + [1.0] * 5
    assert sorted(c.split for c in clips) == ["test"] * 2 + ["train"] * 7 + ["valid"]
    assert clips == list(multiview.read(tmp_path, "faces", SETTINGS))
    assert multiview.modalities(tmp_path) == ["view0", "view1"]
    for name, view in zip(multiview.modalities(tmp_path), views):
        origin, sequences = multiview.features(tmp_path, name)
        rows = dict(sequences)
        assert list(rows) == [c.id for c in clips] and origin.columns[0] == f"{name}_0"
        np.testing.assert_array_equal(np.concatenate([s.values for s in rows.values()]), view)
    assert multiview.features(tmp_path, "audio") is None


@pytest.mark.parametrize("sparse", [False, True])
def test_reads_the_layout_of_scene15(tmp_path, sparse):
    """scene15_mtv.mat: three views of 20, 59 and 40 columns, columns first, and gt as (4485, 1) bytes from 1 to 15."""
    classes = np.arange(4485) % 15
    cells = np.empty((1, 3), object)
    for v, width in enumerate((20, 59, 40)):
        view = np.random.default_rng(v).random((width, len(classes))) * (classes == 0)
        cells[0, v] = scipy.sparse.csc_matrix(view) if sparse else view
    scipy.io.savemat(tmp_path / "scene15_mtv.mat", {"X": cells, "gt": (classes[:, None] + 1).astype(np.uint8)})
    views, found = multiview.read_file(tmp_path / "scene15_mtv.mat")
    assert [view.shape for view in views] == [(4485, 20), (4485, 59), (4485, 40)]
    np.testing.assert_array_equal(found, classes)
    assert views[1][15].any() and not views[1][1].any()


def test_a_row_that_is_not_a_number_is_unseen():
    sequence = dict(multiview._sequences(Path("x.mat"), np.array([[1.0, np.nan]]), ("a", "b")))["x$_$0"]
    assert not sequence.seen[0] and not sequence.values.any()


@pytest.mark.parametrize(
    ("content", "message"),
    [({"Y": [1, 2]}, "expected X and gt or Y"), ({"X": np.ones((2, 2))}, "expected X and gt or Y")],
)
def test_refuses_what_lacks_a_part(tmp_path, content, message):
    scipy.io.savemat(tmp_path / "x.mat", content)
    with pytest.raises(MalformedInput, match=message):
        list(multiview.read(tmp_path, "x", SETTINGS))


def test_refuses_what_is_no_mat(tmp_path):
    (tmp_path / "x.mat").write_bytes(b"not a matlab file" * 20)
    with pytest.raises(MalformedInput, match="expected a MATLAB file"):
        list(multiview.read(tmp_path, "x", SETTINGS))


def test_refuses_views_of_other_lengths(tmp_path):
    cells = np.empty((1, 1), object)
    cells[0, 0] = np.ones((4, 4))
    scipy.io.savemat(tmp_path / "x.mat", {"X": cells, "Y": [1, 2]})
    with pytest.raises(MalformedInput, match="2 rows or columns"):
        multiview.modalities(tmp_path)


def cells(*views) -> np.ndarray:
    made = np.empty((1, len(views)), object)
    for v, view in enumerate(views):
        made[0, v] = view
    return made


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"X": cells(np.ones((4, 2))), "gt": [1, np.nan, 2, 1]},
            "gt: expected at least two classes, in finite numbers",
        ),
        ({"X": cells(np.ones((4, 2))), "gt": [1, 1, 1, 1]}, "gt: expected at least two classes"),
        (
            {"X": cells(np.ones((4, 2))), "Y": np.eye(4)},
            r"Y: expected one class a row, in numbers, got float64 \(4, 4\)",
        ),
        ({"X": cells(np.ones((2, 2))), "gt": cells("a", "b")}, "gt: expected one class a row, in numbers, got object"),
        ({"X": cells(np.ones((1, 2))), "gt": "abcd"}, "gt: expected one class a row, in numbers"),
        ({"X": np.ones((4, 2)), "gt": [1, 2, 1, 2]}, r"X: expected a cell array of views, got float64 \(4, 2\)"),
        ({"X": cells(np.ones((4, 2)) * 1j), "gt": [1, 2, 1, 2]}, r"X\{1\}: expected numbers with 4 rows or columns"),
        ({"X": cells("word"), "gt": [1, 2, 1, 2]}, r"X\{1\}: expected numbers with 4 rows or columns"),
        ({"X": cells(np.ones((4, 0))), "gt": [1, 2, 1, 2]}, r"X\{1\}: expected numbers with 4 rows or columns"),
        ({"X": cells(cells(np.ones(2))), "gt": [1, 2, 1, 2]}, r"X\{1\}: expected numbers with 4 rows or columns"),
        (
            {"X": cells(scipy.sparse.csc_matrix((1 << 30, 4))), "gt": [1, 2, 1, 2]},
            r"X\{1\}: expected a matrix of at most \d+ numbers, got csc_",
        ),
    ],
)
def test_classes_and_views_that_are_none_are_refused(tmp_path, content, message):
    scipy.io.savemat(tmp_path / "x.mat", content)
    with pytest.raises(MalformedInput, match=rf"x\.mat: {message}"):
        list(multiview.read(tmp_path, "x", SETTINGS))


def test_a_sparse_view_is_read(tmp_path):
    view = np.array([[0, 2.5], [0, 0], [1, 0]])
    scipy.io.savemat(tmp_path / "x.mat", {"X": cells(scipy.sparse.csc_matrix(view)), "gt": [5, 5, 9]})
    values = [s.values[0].tolist() for _, s in multiview.features(tmp_path, "view0")[1]]
    assert values == view.tolist()


@pytest.mark.parametrize("turned", [False, True])
def test_a_view_of_as_many_columns_as_rows_lies_as_the_others_do(tmp_path, turned):
    square, other = np.arange(9.0).reshape(3, 3), np.arange(6.0).reshape(3, 2)
    views = [square.T, other.T] if turned else [square, other]
    scipy.io.savemat(tmp_path / "x.mat", {"X": cells(*views), "gt": [1, 1, 2]})
    values = [s.values[0].tolist() for _, s in multiview.features(tmp_path, "view0")[1]]
    assert values == square.tolist()


@pytest.mark.skipif(not DATA.is_dir(), reason=f"LACUNA_DATA: no {DATA}, the public files are not read")
def test_reads_the_public_files(tmp_path):
    for name, sizes in (("PIE_face_10", [484, 256, 279]), ("handwritten", [240, 76, 216, 47, 64, 6])):
        root = tmp_path / name
        root.mkdir()
        (root / f"{name}.mat").symlink_to(DATA.resolve() / f"{name}.mat")
        assert [len(multiview.features(root, m)[0].columns) for m in multiview.modalities(root)] == sizes


def test_mended_conflict_stays_within_the_test_rows():
    classes, test = np.arange(200) % 5, np.arange(150, 200)
    plan = _conflict.plan(classes, test, 3, _conflict.Settings(), seed=1)
    assert plan == _conflict.plan(classes, test, 3, _conflict.Settings(), seed=1)
    assert plan != _conflict.plan(classes, test, 3, _conflict.Settings(), seed=2)
    assert len(plan.swapped) == 20 and len({row for row, _ in plan.noisy}) == 5
    for row, _, donor in plan.swapped:
        assert donor in test and classes[donor] != classes[row]


def test_published_conflict_copies_the_next_class():
    classes, test = np.arange(200) % 5, np.arange(150, 200)
    plan = _conflict.plan(classes, test, 3, _conflict.Settings(protocol="published"), seed=1)
    for row, _, donor in plan.swapped:
        assert donor == (classes[row] + 1) % 5
    noisy = [len({r for r, _ in _conflict.plan(classes, test, 3, _conflict.Settings(protocol="published"), s).noisy})
             for s in range(40)]  # fmt: skip
    assert 2.8 < np.mean(noisy) < 3.8  # a third of five get no noise


def test_conflict_of_arrays_and_of_samples():
    views = [np.zeros((10, 2), np.float32), np.arange(10, dtype=np.float32)[:, None]]
    changed = _conflict.apply(views, _conflict.Plan(((0, 0),), ((1, 1, 5),)), 0.5, seed=0)
    assert changed[0][0].any() and changed[1][1] == 5 and views[1][1] == 1
    assert sum((a != b).any() for a, b in zip(np.hstack(changed), np.hstack(views))) == 2
    samples = [
        Sample(
            Clip(f"a$_${i}", "a", "test", labels={"M": i % 2}),
            {m: FeatureSequence(np.full((i + 1, 1), i, np.float32), np.zeros(i + 1), np.ones(i + 1, bool), ("x",))
             for m in ("audio", "vision")},
        )
        for i in range(10)
    ]  # fmt: skip
    spoilt = _conflict.conflictive(samples, _conflict.Settings(noise_ratio=0, conflict_ratio=1), seed=0)
    for before, after in zip(samples, spoilt):
        changed = [m for m in before.features if len(before.features[m]) != len(after.features[m])]
        assert len(changed) == 1 and before.clip == after.clip
        assert after.features[changed[0]].values[0, 0] % 2 != before.clip.label
    assert any(
        (a.features[m].values != b.features[m].values).any()
        for a, b in zip(samples, _conflict.conflictive(samples, _conflict.Settings(noise_ratio=1, conflict_ratio=0), 0))
        for m in a.features
    )


def test_refuses_impossible_settings():
    with pytest.raises(MalformedInput, match="protocol"):
        _conflict.Settings(protocol="mine")
    with pytest.raises(MalformedInput, match="noise_ratio"):
        _conflict.Settings(noise_ratio=2)
