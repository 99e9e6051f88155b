"""Finished tables of py-feat and OpenFace become features: columns by name, times, and rows without a face."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lacuna.extractors import tables
from lacuna.extractors.tables import Extractor, Settings
from lacuna.types import Clip, MalformedInput

DATA = Path(os.environ.get("LACUNA_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))
FEAT = """,FaceRectX,FaceScore,x_0,Pitch,Roll,Yaw,AU01,AU12,anger,happiness,frame,input
0,10.0,0.99,3.0,1.0,2.0,3.0,0.25,0.75,0.1,0.9,0,clip.mp4
1,11.0,0.20,3.1,1.5,2.5,3.5,0.30,0.70,0.2,0.8,5,clip.mp4
2,,,,,,,,,,,10,clip.mp4
3,12.0,0.95,3.2,4.0,5.0,6.0,0.50,0.10,0.3,0.7,15,clip.mp4
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "v").mkdir()
    (tmp_path / "v/1.csv").write_text(FEAT)
    return tmp_path


def clip(name: str = "v$_$1", **span: float) -> Clip:
    return Clip(name, "made", "train", **span)


def test_py_feats_table(folder: Path) -> None:
    found = Extractor(Settings(str(folder), fps=5.0))(clip())
    assert found.columns == ("Pitch", "Roll", "Yaw", "AU01", "AU12", "anger", "happiness")
    np.testing.assert_array_equal(found.times, [0, 1, 2, 3])
    assert found.seen.tolist() == [True, False, False, True]  # an unsure row, and one without a face
    np.testing.assert_array_equal(found.values[3], np.float32([4, 5, 6, 0.5, 0.1, 0.3, 0.7]))
    assert not found.values[1:3].any()


def test_a_span_and_chosen_columns(folder: Path) -> None:
    extractor = Extractor(Settings(str(folder), ("AU*", "x_0"), fps=5.0, min_confidence=0.0))
    found = extractor(clip(start=1.0, end=3.0))
    assert found.columns == ("x_0", "AU01", "AU12") and found.times.tolist() == [0, 1]
    np.testing.assert_array_equal(found.values[0], np.float32([3.1, 0.3, 0.7]))


def test_openfaces_table(tmp_path: Path) -> None:
    source = DATA / "openface/lara_538_columns.csv.gz"
    if not source.is_file():
        pytest.skip("SKIPPED FOR WANT OF DATA: LACUNA_DATA names no folder with OpenFace's tables")
    table = pd.read_csv(source, skipinitialspace=True, nrows=50)
    table.to_csv(tmp_path / "a.csv", index=False)
    found = Extractor(Settings(str(tmp_path)))(clip("a"))
    names = [name for name in table.columns if name.startswith(("AU", "pose_R", "gaze_angle_"))]
    assert found.columns == tuple(names)
    np.testing.assert_allclose(found.values[found.seen], table[names].to_numpy()[found.seen], rtol=1e-6)
    np.testing.assert_allclose(found.times, table["timestamp"] - table["timestamp"][0])


@pytest.mark.parametrize(
    ("settings", "told"),
    [({}, "folder: expected a folder"), ({"folder": "x", "columns": ()}, "at least one column"),
     ({"folder": "x", "fps": 0.0}, "fps > 0"), ({"folder": "x", "modality": "text"}, "modality")],
)  # fmt: skip
def test_impossible_settings(settings: dict[str, object], told: str) -> None:
    with pytest.raises(MalformedInput, match=told):
        Settings(**settings)


def test_what_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MalformedInput, match="columns: expected some of"):
        Extractor(Settings(str(folder), ("smile",)))
    with pytest.raises(MalformedInput, match=r"clip v.*: expected its table"):
        Extractor(Settings(str(folder)))(clip("v$_$2"))
    (folder / "v/3.csv").write_text("frame,AU01\n0,1\n")
    with pytest.raises(MalformedInput, match="expected the columns Pitch"):
        Extractor(Settings(str(folder)))(clip("v$_$3"))
    with pytest.raises(MalformedInput, match="expected CSV files"):
        Extractor(Settings(str(tmp_path / "none")))


def test_other_files_are_other_features(folder: Path) -> None:
    before = Extractor(Settings(str(folder))).versions()
    (folder / "v/1.csv").write_text(FEAT.replace("0.99", "0.98"))
    assert Extractor(Settings(str(folder))).versions() != before and tables.MODALITY == "vision"


HEADER = "timestamp,confidence,AU01,AU12\n"


@pytest.mark.parametrize(
    ("rows", "row"),
    [
        ("0,1,1,2\n0.2,1,1,2\n0.1,1,1,2\n", 3),  # shuffled
        ("0,1,1,2\n0.1,1,1,2\n0.1,1,3,4\n", 3),  # the same time twice: two faces
        ("0,1,1,2\n,1,1,2\n0.2,1,1,2\n", 2),
        ("0,1,1,2\nnan,1,1,2\n0.2,1,1,2\n", 2),
        ("-nan(ind),1,1,2\n0.1,1,1,2\n", 1),
        ("inf,1,1,2\n", 1),
        ("0.0s,1,1,2\n", 1),
    ],
)
def test_times_that_do_not_rise_are_refused(tmp_path: Path, rows: str, row: int) -> None:
    (tmp_path / "a.csv").write_text(HEADER + rows)
    with pytest.raises(
        MalformedInput, match=rf"a\.csv: expected timestamp to rise .*one face, in order.* in row {row}"
    ):
        Extractor(Settings(str(tmp_path)))(clip("a"))


@pytest.mark.parametrize("cell", ["-nan(ind)", "nan", "", " ", "1.#IND", "inf", "-1e999", "x"])
@pytest.mark.parametrize("column", [1, 2, 3])
def test_a_cell_without_a_number_is_a_row_without_a_face(tmp_path: Path, cell: str, column: int) -> None:
    fields = ["0.1", "0.9", "1", "2"]
    fields[column] = cell
    (tmp_path / "a.csv").write_text(f"{HEADER}0,0.9,1,2\n{','.join(fields)}\n0.2,0.9,3,4\n")
    found = Extractor(Settings(str(tmp_path)))(clip("a"))
    assert found.seen.tolist() == [True, False, True] or (cell == "inf" and column == 1)
    assert found.values[[0, 2]].tolist() == [[1, 2], [3, 4]]


def test_fields_parted_by_semicolons_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text((HEADER + "0,1,1,2\n").replace(",", ";"))
    with pytest.raises(MalformedInput, match="columns: expected some of timestamp;confidence;AU01;AU12"):
        Extractor(Settings(str(tmp_path), ("AU01", "AU12")))
