"""Backend `openface`: finished CSV folders, and a binary that returns 0 whether it worked or not."""

from __future__ import annotations

import os
import stat
import textwrap
from pathlib import Path

import numpy as np
import pytest
from media_files import Video, write_video

from lacuna.extract.cached import Extraction
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


@pytest.mark.parametrize("absent", [{4, 5, 6}, {1}, {1, 2, 3, 9}, {8}])
@pytest.mark.parametrize("fps", [25, None])
def test_rows_that_are_absent_are_frames_without_a_face(tmp_path, absent, fps):
    write_video(tmp_path / "film.mp4", Video(frames=12))
    write(tmp_path / "film.csv", [row(n, (n - 1) / 25, n) for n in range(1, 13) if n not in absent])
    found = from_folder(tmp_path, groups=("pose",), fps=fps)(clip(tmp_path / "film.mp4"))
    assert [n + 1 for n in np.flatnonzero(~found.seen)] == sorted(absent) and len(found) == 12
    assert found.values[:, 0].tolist() == [0 if n in absent else n for n in range(1, 13)]


def test_absent_rows_are_unseen_where_the_media_are_not_at_hand_too(tmp_path):
    numbers = [n for n in range(3, 20) if n not in (7, 8, 12)]
    for header in (HEADER, HEADER[1:]):  # older files have no frame numbers
        rows = [row(n, (n - 1) / 25, n)[len(HEADER) - len(header) :] for n in numbers]
        write(tmp_path / "film.csv", rows, header)
        found = from_folder(tmp_path, groups=("pose",), fps=None)(clip())
        assert found.values[:, 0].tolist() == [n if n in numbers else 0 for n in range(3, 20)]


@pytest.mark.parametrize("cell", ["", " ", "-nan(ind)", "nan", "-nan", "1.#QNAN", "-1.#IND", "NaN"])
def test_a_cell_without_a_number_is_a_frame_without_a_face(tmp_path, cell):
    rows = [row(n, (n - 1) / 25, n) for n in range(1, 6)]
    rows[2] = (*rows[2][:100], cell, *rows[2][101:])
    write(tmp_path / "film.csv", rows)
    found = from_folder(tmp_path)(clip())
    assert found.seen.tolist() == [True, True, False, True, True] and not found.values[2].any()
    write(tmp_path / "film.csv", [*rows[:2], (*rows[2][:100], "face", *rows[2][101:])])
    with pytest.raises(MalformedInput, match="expected numbers"):
        from_folder(tmp_path)(clip())


def test_frames_are_when_the_media_show_them_whatever_the_table_says(tmp_path):
    """OpenFace writes frame / rate; a video of varying rate shows its frames at other times."""
    times = (0, 0.1, 0.5, 0.6, 1.4)
    write_video(tmp_path / "film.mkv", Video(frames=5, times=times, audio=""))
    write(tmp_path / "film.csv", [row(n + 1, n / 25, n) for n in range(5)])
    found = from_folder(tmp_path, groups=("pose",), fps=None)(clip(tmp_path / "film.mkv"))
    assert found.times == pytest.approx(np.array(times), abs=2e-3)
    part = from_folder(tmp_path, groups=("pose",), fps=None)(clip(tmp_path / "film.mkv", start=0.4, end=1.0))
    assert part.values[:, 0].tolist() == [2, 3]
    write(tmp_path / "film.csv", [row(n + 1, n / 25, n) for n in range(6)])
    with pytest.raises(MalformedInput, match=r"film\.csv: expected rows of the 5 frames of film\.mkv, got frame 6"):
        from_folder(tmp_path)(clip(tmp_path / "film.mkv"))


@pytest.mark.parametrize(
    "order", [(1, 0, 2, 3), (0, 2, 1, 3), (0, 1, 1, 2), (3, 2, 1, 0)], ids=["first", "middle", "twice", "backwards"]
)
@pytest.mark.parametrize("what", ["rows", "times", "frames"])
def test_rows_out_of_order_are_refused(tmp_path, order, what):
    numbers = {name: order if what in ("rows", name) else range(4) for name in ("times", "frames")}
    write(tmp_path / "film.csv", [row(f + 1, t / 25, f) for f, t in zip(numbers["frames"], numbers["times"])])
    if what == "times" and order == (0, 1, 1, 2):
        return  # times are written with three decimals: two may be equal
    with pytest.raises(MalformedInput, match="expected"):
        from_folder(tmp_path)(clip())


def test_a_finished_file_is_known_by_its_content(tmp_path):
    extraction = Extraction("face", {"backend": "openface", "csv": str(tmp_path)}, tmp_path / "cache")
    media = clip(write_video(tmp_path / "film.mp4", Video(frames=3)))
    write(tmp_path / "film.csv", [row(n + 1, n / 25, n) for n in range(3)])
    before = extraction.key(media)
    write(tmp_path / "other.csv", [row(1, 0, 1)])
    assert extraction.key(media) == before
    write(tmp_path / "film.csv", [row(n + 1, n / 25, n + 4) for n in range(3)])  # of the same size
    assert extraction.key(media) != before
