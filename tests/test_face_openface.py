"""Backend `openface`: finished CSV folders, and a binary that returns 0 whether it worked or not."""

from __future__ import annotations

import os
import stat
import textwrap
from pathlib import Path

import numpy as np
import pytest
from media_files import Video, write_video

from lacuna.extractors import face
from lacuna.extractors._openface.columns import GROUPS, names
from lacuna.types import Clip, MalformedInput

DATA = Path(os.environ.get("LACUNA_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))
HEADER = ("frame", "face_id", "timestamp", "confidence", "success", *names(GROUPS))


def row(frame, time, value, confidence=0.98, success=1, face_id=0):
    return (frame, face_id, time, confidence, success, *[value] * 709)


def write(path, rows, header=HEADER):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [", ".join(header)] + [", ".join(str(value) for value in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def clip(path="film.mp4", name="film$_$7", **span):
    return Clip(name, "test", "train", path=Path(path), **span)


def from_folder(folder, **settings):
    return face.Extractor(face.Settings(backend="openface", csv=str(folder), **settings))


def test_a_finished_file_is_read_column_by_column(tmp_path):
    rows = [row(i + 1, i / 25, i) for i in range(4)]
    rows += [row(5, 4 / 25, 9, success=0), row(6, 5 / 25, 9, confidence=0.2), row(7, 6 / 25, "-nan")]
    write(tmp_path / "film" / "7.csv", rows)
    found = from_folder(tmp_path)(clip())
    assert found.columns == names(GROUPS)
    assert found.values[:4, 0].tolist() == [0, 1, 2, 3]
    assert found.seen.tolist() == [True] * 4 + [False] * 3
    assert not found.values[4:].any()
    assert np.allclose(found.times, np.arange(7) / 25)


def test_rates_groups_and_averages(tmp_path):
    write(tmp_path / "film$_$7.csv", [row(i + 1, i / 50, i) for i in range(20)])
    found = from_folder(tmp_path, fps=25, groups=("pose",))(clip())
    assert found.values[:, 0].tolist() == list(range(0, 20, 2))
    means = from_folder(tmp_path, fps=None, groups=("pose",), average_over=4)(clip())
    assert means.values[:, 0].tolist() == [1.5, 5.5, 9.5, 13.5, 17.5]


def test_a_whole_films_file_is_cut_to_the_clip(tmp_path):
    write(tmp_path / "film.csv", [row(i + 1, i / 10, i) for i in range(50)])
    found = from_folder(tmp_path, fps=10, groups=("pose",))(clip(start=1.0, end=2.0))
    assert found.values[:, 0].tolist() == list(range(10, 20))
    assert np.allclose(found.times, np.arange(10) / 10)
    with pytest.raises(MalformedInput, match="rows from 60"):
        from_folder(tmp_path)(clip(start=60.0, end=61.0))


def test_of_several_faces_the_largest(tmp_path):
    both = [row(i + 1, i / 25, value, face_id=value) for i in range(5) for value in (1, 3)]
    write(tmp_path / "film" / "7.csv", both)
    assert from_folder(tmp_path)(clip()).values[:, 0].tolist() == [3] * 5


def test_refused_files_are_named(tmp_path):
    extractor = from_folder(tmp_path)
    with pytest.raises(MalformedInput, match=r"film\$_\$7.*found none of"):
        extractor(clip())
    path = write(tmp_path / "film" / "7.csv", [], HEADER[:100])
    with pytest.raises(MalformedInput, match=r"7\.csv.*614 are missing"):
        extractor(clip())
    write(path, [])
    with pytest.raises(MalformedInput, match="at least one row"):
        extractor(clip())
    path.write_text(", ".join(HEADER) + "\n1, 0, 0.0, 0.9\n")
    with pytest.raises(MalformedInput, match="line 2: expected 714 values"):
        extractor(clip())
    path.write_bytes(b"")
    with pytest.raises(MalformedInput, match="missing"):
        extractor(clip())
    with pytest.raises(MalformedInput, match="expected a folder"):
        from_folder(tmp_path / "nowhere")


FAKE = """\
#!/usr/bin/env python3
import sys, pathlib
options = dict(zip(sys.argv[1:], sys.argv[2:]))
if "broken" in options["-f"]:
    print("Could not open the input", file=sys.stderr)
    sys.exit(0)
wanted = {"-2Dfp", "-3Dfp", "-pdmparams", "-pose", "-aus", "-gaze"}
assert wanted <= set(sys.argv), sys.argv
folder = pathlib.Path(options["-out_dir"])
lines = [HEADER] + [", ".join(str(v) for v in (i + 1, 0, i / 25, 0.98, 1, *[i] * 709)) for i in range(10)]
(folder / (options["-of"] + ".csv")).write_text("\\n".join(lines))
"""


@pytest.fixture
def binary(tmp_path):
    path = tmp_path / "FeatureExtraction"
    path.write_text(textwrap.dedent(FAKE).replace("[HEADER]", repr([", ".join(HEADER)])))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_binary_is_run_and_its_output_believed_not_its_return_code(binary, tmp_path):
    extractor = face.Extractor(face.Settings(backend="openface", openface=str(binary)))
    write_video(tmp_path / "a film.mp4", Video(frames=10))
    found = extractor(clip(tmp_path / "a film.mp4", start=0.08, end=0.2))
    assert found.values[:, 0].tolist() == [2, 3, 4]
    assert np.allclose(found.times, [0, 0.04, 0.08])
    assert set(extractor.versions()) == {"openface"}
    with pytest.raises(MalformedInput, match=r"broken\.mp4.*returned 0.*Could not open the input"):
        extractor(clip(tmp_path / "broken.mp4"))


def test_a_binary_that_is_not_there(tmp_path):
    with pytest.raises(MalformedInput, match="FeatureExtraction binary"):
        face.Extractor(face.Settings(backend="openface", openface=str(tmp_path / "FeatureExtraction")))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"LACUNA_DATA: no {DATA}, OpenFace's real row is not read")
def test_a_real_row_is_read(tmp_path):
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "7.csv").write_bytes((DATA / "openface" / "full_714_columns_one_row.csv").read_bytes())
    found = from_folder(tmp_path)(clip())
    assert found.values.shape == (1, 709)
    assert found.values[0, found.columns.index("pose_Tz")] == pytest.approx(382.5)
    assert found.values[0, found.columns.index("AU12_r")] == pytest.approx(2.26)
