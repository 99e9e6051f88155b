"""datasets: label.csv in MMSA-FET's layout, and one test for each thing that may be wrong with it."""

import inspect
from pathlib import Path

import pytest
from media_files import Video, truncate, write_label_csv, write_video

from lacuna.params import Prepare, plugin, plugin_names
from lacuna.prepare.rejects import check_share, write_rejects
from lacuna.prepare.run import layout_of, prepare
from lacuna.types import MalformedInput, Reject

SHORT = Video(frames=5)


def dataset(tmp_path: Path, rows, encoding="utf-8", videos=("v/1.mp4",)) -> Path:
    write_label_csv(tmp_path, rows, encoding)
    for name in videos:
        write_video(tmp_path / "Raw" / name, SHORT)
    return tmp_path


def prepared(root: Path, workers=1):
    return prepare(root, "own", Prepare(), workers)


def only_reject(root: Path) -> Reject:
    clips, rejects = prepared(root)
    assert not clips and len(rejects) == 1
    return rejects[0]


def test_rows_become_clips_in_their_order_with_any_number_of_workers(tmp_path):
    rows = [
        {"video_id": "0001", "clip_id": "0002", "text": " so, so ", "label": "-1.5", "label_T": "1", "label_A": 0},
        {"video_id": "0001", "clip_id": "0001", "mode": "valid"},
        {"video_id": "b", "clip_id": "7", "mode": "TEST", "label_V": "-3"},
    ]
    root = dataset(tmp_path, rows, videos=("0001/0001.mp4", "0001/0002.MKV", "b/7.avi"))
    clips, rejects = prepared(root)
    assert (clips, rejects) == prepared(root, workers=2) == prepared(root, workers="auto")
    assert not rejects
    assert [clip.id for clip in clips] == ["0001$_$0002", "0001$_$0001", "b$_$7"]
    assert clips[0].text == "so, so" and clips[0].labels == {"M": -1.5, "T": 1.0, "A": 0.0}
    assert clips[0].path == root / "Raw/0001/0002.MKV" and clips[2].labels["V"] == -3
    assert [clip.split for clip in clips] == ["train", "valid", "test"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_chinese_text_and_names_in_any_usual_encoding(tmp_path, encoding):
    rows = [{"video_id": "视频 一", "clip_id": "片段", "text": "我很高兴，真的"}]
    (clip,), rejects = prepared(dataset(tmp_path, rows, encoding, videos=("视频 一/片段.mp4",)))
    assert (clip.id, clip.text, rejects) == ("视频 一$_$片段", "我很高兴，真的", [])


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_line_ends(tmp_path, delimiter):
    path = dataset(tmp_path, [{"text": "fine"}]) / "label.csv"
    path.write_bytes(path.read_bytes().replace(b",", delimiter.encode()).replace(b"\n", b"\r\n"))
    (clip,), _ = prepared(tmp_path)
    assert clip.text == "fine"


def test_names_with_spaces_windows_separators_and_other_case(tmp_path):
    rows = [
        {"video_id": "two words", "clip_id": "a b"},
        {"video_id": "part\\one", "clip_id": "1"},
        {"video_id": "UPPER", "clip_id": "X"},
        {"video_id": "v", "clip_id": "1.mp4"},
        {"video_id": "dotted.name", "clip_id": "0.5"},
    ]
    videos = ("two words/a b.mp4", "part/one/1.mp4", "UPPER/x.MP4", "v/1.mp4", "dotted.name/0.5.mp4")
    clips, rejects = prepared(dataset(tmp_path, rows, videos=videos))
    assert not rejects and clips[1].id == "part/one$_$1"


def test_one_letter_case_apart_are_two_videos(tmp_path):
    rows = [{"video_id": "aB", "clip_id": "x"}, {"video_id": "aB", "clip_id": "X"}]
    clips, rejects = prepared(dataset(tmp_path, rows, videos=("aB/x.mp4", "aB/X.mp4")))
    assert [clip.path.name for clip in clips] == ["x.mp4", "X.mp4"] and not rejects


def test_spans_of_a_longer_file(tmp_path):
    rows = [
        {"clip_id": "1", "start": "0.1", "end": "0.5"},
        {"clip_id": "2", "start": "0.5", "end": ""},
        {"clip_id": "3", "start": "0", "end": "7.5"},
        {"clip_id": "4", "start": "0.5", "end": "0.4"},
        {"clip_id": "5", "start": "3", "end": ""},
        {"clip_id": "6", "start": "soon", "end": ""},
        {"clip_id": "7", "start": "", "end": ""},
        {"video_id": "w", "clip_id": "1", "start": "0.2", "end": "0.6"},
    ]
    write_label_csv(tmp_path, rows)
    write_video(tmp_path / "Raw/v.mp4", Video(frames=25))
    write_video(tmp_path / "Raw/w/1.mp4", Video(frames=25))
    clips, rejects = prepared(tmp_path)
    assert [(clip.id, clip.start, clip.end) for clip in clips] == [
        ("v$_$1", 0.1, 0.5),
        ("v$_$2", 0.5, None),
        ("w$_$1", 0.2, 0.6),
    ]
    reasons = {reject.id[-1]: reject.reason for reject in rejects}
    assert "within its 1.00 s" in reasons["3"] and "end: expected a number from 0.5" in reasons["4"]
    assert "found none" in reasons["5"] and "'soon'" in reasons["6"] and "expected a video" in reasons["7"]


def test_a_missing_label_csv_says_what_was_looked_for(tmp_path):
    (tmp_path / "Raw").mkdir()
    with pytest.raises(MalformedInput, match=r"label\.csv .*and Raw/.*it holds Raw/"):
        layout_of(tmp_path)
    with pytest.raises(MalformedInput, match="expected the folder"):
        layout_of(tmp_path / "none")


def test_a_missing_column_is_named(tmp_path):
    path = dataset(tmp_path, [{}]) / "label.csv"
    path.write_text(path.read_text().replace("mode", "modus").replace("clip_id", "clip"))
    with pytest.raises(MalformedInput, match=r"label\.csv: expected the columns clip_id, mode, got video_id, clip"):
        prepared(tmp_path)


@pytest.mark.parametrize(
    ("video_id", "clip_id", "file"),
    [
        ("caf\u00e9", "1", "cafe\u0301/1.mp4"),  # as macOS writes it, and as everyone else does
        ("cafe\u0301", "1", "caf\u00e9/1.mp4"),
        ("\u30d0", "1", "\u30cf\u3099/1.mp4"),
        ("v", "\u00fc", "v/u\u0308.mp4"),
        ("Video", "Clip", "video/clip.MP4"),
        ("a/B", "1", "A/b/1.mp4"),
    ],
)
def test_ids_are_found_however_the_disk_spells_them(tmp_path, video_id, clip_id, file):
    row = {"video_id": video_id, "clip_id": clip_id}
    clips, rejects = prepared(dataset(tmp_path, [row], videos=(file,)))
    assert not rejects and [clip.path for clip in clips] == [tmp_path / "Raw" / file]


@pytest.mark.parametrize("clip_id", ["1", "1.0", "l"])
def test_a_video_that_is_not_there_is_told_with_those_that_are(tmp_path, clip_id):
    """1 for 0001, or 1.0, is what spreadsheets make of an id."""
    row = {"video_id": "V", "clip_id": clip_id}
    reject = only_reject(dataset(tmp_path, [row], videos=("v/0001.mp4", "v/0002.mp4")))
    assert reject.reason.endswith(f"/V/{clip_id}.* (there are 0001.mp4, 0002.mp4)")


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff\x00\x81"])
def test_a_label_csv_that_is_no_table(tmp_path, content):
    (dataset(tmp_path, [{}]) / "label.csv").write_bytes(content)
    with pytest.raises(MalformedInput, match=r"label\.csv: .*expected"):
        prepared(tmp_path)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"clip_id": "9"}, "expected a video, found none at"),
        ({"mode": "training set"}, "mode: expected a split among train, valid, test, got 'training set'"),
        ({"mode": ""}, "mode: expected a split"),
        ({"label": "3.2"}, "label: expected a number from -3 to 3, got '3.2'"),
        ({"label": "nan"}, "label: expected a number"),
        ({"label": ""}, "label: expected a number"),
        ({"label": "good"}, "label: expected a number from -3 to 3, got 'good'"),
        ({"label_A": "-8"}, "label_A: expected a number"),
        ({"video_id": ""}, "expected video_id and clip_id"),
        ({"video_id": "../v"}, "names within"),
    ],
)
def test_a_bad_row_is_refused_and_the_others_kept(tmp_path, row, reason):
    clips, (reject,) = prepared(dataset(tmp_path, [{"clip_id": "2"}, row], videos=("v/1.mp4", "v/2.mp4")))
    assert [clip.id for clip in clips] == ["v$_$2"]
    assert reason in reject.reason and reject.stage == "prepare" and reject.file


def test_a_duplicate_id_keeps_the_first(tmp_path):
    clips, (reject,) = prepared(dataset(tmp_path, [{"label": 1}, {"label": 2}]))
    assert [clip.label for clip in clips] == [1] and reject.id == "v$_$1"
    assert "again (first in line 2)" in reject.reason


def test_a_row_with_too_many_fields_is_refused(tmp_path):
    path = dataset(tmp_path, [{"text": "one"}]) / "label.csv"
    path.write_text(path.read_text().replace("one", "one, two"))
    assert "comma in the text" in only_reject(tmp_path).reason


def test_empty_text_is_kept_for_its_sound_and_pictures(tmp_path):
    (clip,), rejects = prepared(dataset(tmp_path, [{"text": "  "}]))
    assert clip.text == "" and not rejects


def test_clips_only_to_be_predicted_need_no_label(tmp_path):
    (clip,), _ = prepared(dataset(tmp_path, [{"label": "", "mode": "unlabelled"}]))
    assert clip.split == "unlabelled" and clip.labels == {}


def test_two_videos_for_one_row(tmp_path):
    root = dataset(tmp_path, [{}], videos=("v/1.mp4", "v/1.avi"))
    assert "expected one video, found 1.avi, 1.mp4" in only_reject(root).reason


@pytest.mark.parametrize("content", [b"", b"words, not pictures" * 50])
def test_an_empty_file_and_one_that_is_no_video(tmp_path, content):
    (dataset(tmp_path, [{}]) / "Raw/v/1.mp4").write_bytes(content)
    reject = only_reject(tmp_path)
    assert reject.file.endswith("Raw/v/1.mp4") and reject.reason.startswith("expected a")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_truncated_file(tmp_path, suffix):
    root = dataset(tmp_path, [{}], videos=())
    truncate(write_video(root / f"Raw/v/1{suffix}", Video(frames=150)), 0.6)
    assert "expected" in only_reject(root).reason


def test_sound_without_pictures_is_refused(tmp_path):
    root = dataset(tmp_path, [{}], videos=())
    write_video(root / "Raw/v/1.mkv", Video(frames=0, audio_seconds=1.0))
    assert "expected" in only_reject(root).reason


@pytest.mark.parametrize(
    "video",
    [
        Video(frames=5, audio=""),
        Video(frames=5, audio="silence"),
        Video(frames=1),
        Video(frames=5, rotation=90),
        Video(frames=4, times=(0, 0.1, 0.5, 0.6), audio=""),
    ],
    ids=["no audio track", "silent", "one frame", "rotated", "variable frame rate"],
)
def test_unusual_clips_are_accepted(tmp_path, video):
    root = dataset(tmp_path, [{}], videos=())
    write_video(root / "Raw/v/1.mkv" if video.times else root / "Raw/v/1.mp4", video)
    clips, rejects = prepared(root)
    assert len(clips) == 1 and not rejects


def test_rejects_are_written_and_counted(tmp_path):
    rejects = [Reject("视频$_$1", "Raw/视频/1.mp4", "expected a video, found none")]
    write_rejects(tmp_path / "rejects.csv", rejects)
    lines = (tmp_path / "rejects.csv").read_text(encoding="utf-8-sig").splitlines()
    assert lines == ["id,file,stage,reason", '视频$_$1,Raw/视频/1.mp4,prepare,"expected a video, found none"']
    check_share(rejects, 10, 0.1, tmp_path / "rejects.csv")
    with pytest.raises(MalformedInput, match=r"max_rejects = 5%.*1 of 10"):
        check_share(rejects, 10, 0.05, tmp_path / "rejects.csv")
    with pytest.raises(MalformedInput, match="at least one usable"):
        check_share(rejects, 1, 1.0, tmp_path / "rejects.csv")


@pytest.mark.parametrize("name", plugin_names("datasets"))
def test_every_layout_keeps_the_contract(name, tmp_path):
    layout = plugin("datasets", name)
    assert layout.LOOKED_FOR and layout.matches(tmp_path) is False
    assert list(inspect.signature(layout.read).parameters) == ["root", "dataset", "settings"]
    assert not hasattr(layout, "features") or next(iter(inspect.signature(layout.features).parameters)) == "root"
