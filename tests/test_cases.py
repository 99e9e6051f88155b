"""Inputs on which Lacuna once failed, kept in a folder beside the project, and what is right for each.

LACUNA_CASES names the folder. The other members of each family are in the tests of the rooms.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_project import ROOT

from lacuna import cli
from lacuna.align.word_files import file_times
from lacuna.align.words import Aligner
from lacuna.align.words import Settings as Words
from lacuna.extractors import face, librosa
from lacuna.media import decode
from lacuna.params import Prepare
from lacuna.predict.transcript import read_transcript
from lacuna.predict.uploads import _check_length
from lacuna.prepare.run import prepare
from lacuna.types import Clip, MalformedInput

CASES = Path(os.environ.get("LACUNA_CASES", ROOT / "../shared/cases")).resolve()
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"NO CASES READ: no {CASES} (set LACUNA_CASES)")
ROWS = "video_id,clip_id,text,label,mode\nv,1,a b,1.0,train\nv,2,b c,-2.0,valid\nv,3,c d,-3.0,test\n"


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """`lacuna check` of a case, as it is typed in a project that has it as raw/x: (exit status, all that it said)."""
    monkeypatch.chdir(tmp_path)

    def typed(case: str, dataset: str = "x", **settings: object) -> tuple[int, str]:
        params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")) | {"datasets": [dataset]}
        params["prepare"] |= settings
        Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        if (CASES / case / "raw").is_dir():
            shutil.copytree(CASES / case / "raw", "raw", dirs_exist_ok=True)
            Path("raw/x/Raw").mkdir(exist_ok=True)
        monkeypatch.setattr(sys, "argv", ["lacuna", "check", dataset])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        code = ended.value.code or 0
        return (1, f"{out}{err}{code}") if isinstance(code, str) else (code, out + err)

    return typed


def clip(path: Path, text: str = "") -> Clip:
    return Clip("v$_$1", "x", "train", text, {}, path)


@pytest.mark.parametrize(
    ("case", "begins", "ends"),
    [
        ("open_quote_3_rows", 2, 4),
        ("stray_quote_row_101_of_200", 102, 201),
        ("stray_quote_101_and_quoted_150", 102, 151),
    ],
)
def test_a_quote_that_never_closes_refuses_the_table_with_all_lines_it_swallows(check, case, begins, ends):
    status, said = check(case)
    assert status == 1 and f"label.csv: line {begins}: expected a quote to be closed" in said
    assert f"open until line {ends}" in said


@pytest.mark.parametrize(
    ("case", "sample", "encoding", "text"),
    [
        ("encoding_cp1252_english", "perhaps cp1252: 'v,1,I don’t like it", "cp1252", "I don’t like it"),
        ("encoding_cp1252_german", "perhaps cp1252: 'v,1,Das ist schön für mich", "cp1252", "Das ist schön für mich"),
        ("encoding_shift_jis", "perhaps cp932: 'v,1,とても良いです", "cp932", "とても良いです"),
    ],
)
def test_a_wrong_code_page_is_refused_until_it_is_named(check, case, sample, encoding, text):
    status, said = check(case)
    assert status == 1 and f"line 2: expected utf-8, got another encoding ({sample}" in said
    assert "'CSV UTF-8' in spreadsheets" in said and "prepare.encoding" in said
    status, said = check(case, encoding=encoding)
    assert status == 0 and "3 clips (1 train, 1 valid, 1 test), 0 refused" in said
    clips, _ = prepare(Path("raw/x"), "x", Prepare(encoding=encoding))
    assert clips[0].text == text


@pytest.mark.parametrize(
    ("case", "dialect"),
    [("csv_semicolon_decimal_comma", "semicolons, decimal commas"), ("csv_sep_line", "semicolons")],
)
def test_dialects_are_read_and_told(check, case, dialect):
    status, said = check(case)
    assert status == 0 and f"label.csv is read with fields parted by {dialect}\n" in said
    clips, _ = prepare(Path("raw/x"), "x", Prepare())
    assert [c.labels for c in clips] == [{"M": 1.8}, {"M": -0.6}, {"M": 0.0}]


def test_whole_files_are_accepted_with_their_times(check, tmp_path):
    status, said = check("mkv_whole_files_refused")
    assert status == 0 and "7 clips (3 train, 2 valid, 2 test), 0 refused" in said
    for path in sorted(Path("raw/x/Raw/v").iterdir()):
        shown = [frame.time for frame in decode.frames(path)]
        heard = decode.audio(path, 16000)
        first = 0.5 if path.stem == "late_video" else 0.0  # the pictures of this one begin later than its sound
        last = 2.6 if path.stem == "audio_longer" else first + 4.0
        assert shown[0] == pytest.approx(first, abs=0.07), path.name
        assert shown[-1] + 0.04 == pytest.approx(last, abs=0.07), path.name
        assert len(heard) / 16000 == pytest.approx(4.0, abs=0.06), path.name
        cut = tmp_path / f"cut{path.suffix}"
        cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
        with pytest.raises(MalformedInput, match="was the file cut short"):
            decode.check(cut)


def test_a_length_that_no_header_says_is_that_of_the_packets():
    spans = Aligner(Words()).spans(
        clip(CASES / "webm_without_duration_or_sound/live_noaudio.webm", "one two three four")
    )
    # 15 letters over 4 s, by hand
    assert spans[1:-1] == pytest.approx(np.array([[0, 3], [3, 6], [6, 11], [11, 15]]) * 4 / 15, abs=0.01)
    with pytest.raises(MalformedInput, match="expected at most 120 s, got 400"):
        _check_length(CASES / "limits/live400s.mkv", 120.0)


def test_a_folder_behind_a_link_is_refused_with_advice(check, tmp_path):
    (tmp_path / "elsewhere/Raw/v").mkdir(parents=True)
    for number in (1, 2, 3):
        shutil.copy(CASES / "csv_tiny.mp4", tmp_path / f"elsewhere/Raw/v/{number}.mp4")
    (tmp_path / "raw/x").mkdir(parents=True)
    (tmp_path / "raw/x/label.csv").write_text(ROWS)
    (tmp_path / "raw/x/Raw").symlink_to(tmp_path / "elsewhere/Raw")
    status, said = check("dvc_symlinked_Raw")
    assert (
        status == 1 and "behind which DVC sees no change: move the folder here, or make raw/x itself the link" in said
    )


@pytest.mark.parametrize("name", ["my data", "a&b"])
def test_names_that_a_shell_would_read_are_refused_where_params_are_read(check, tmp_path, name):
    shutil.copytree(CASES / "csv_sep_line/raw/x", tmp_path / "raw" / name)
    status, said = check("dvc_dataset_with_space", name)
    assert status == 1 and "params.yaml: datasets: expected letters, digits, _, - and ." in said and name in said


def test_an_anamorphic_face_is_the_plain_one():
    extract = face.Extractor(face.Settings(fps=5))
    plain, squeezed = (extract(clip(CASES / f"face_pixels/{name}.mp4")) for name in ("plain", "anamorphic"))
    assert plain.seen.all() and squeezed.seen.all() and len(plain) == len(squeezed)
    columns = {name: i for i, name in enumerate(extract.columns)}
    off = np.abs(plain.values.mean(0) - squeezed.values.mean(0))
    for name, most in {"x_8": 1, "y_8": 1, "x_36": 1, "x_45": 1, "pose_Tz": 5, "p_1": 1, "AU12_r": 0.2}.items():
        assert off[columns[name]] < most, name


def test_the_default_track_is_heard_and_several_are_told():
    path = CASES / "sound/two_audio.mkv"
    heard = decode.audio(path, 16000)
    pitch = np.abs(np.fft.rfft(heard)).argmax() * 16000 / len(heard)
    assert pitch == pytest.approx(1000, abs=2)  # the beeps; the commentary is a tone of 440 Hz
    assert decode.check(path) == ("several audio tracks, of which the default one is heard",)


def test_sound_that_is_no_number_is_refused_with_its_second():
    with pytest.raises(MalformedInput, match=r"got NaN or infinity in the sound at 1\.20 s"):
        librosa.Extractor(librosa.Settings(recipe="sims33"))(clip(CASES / "sound/nan_audio.mov"))


@pytest.mark.parametrize(
    ("name", "cues"),
    [
        ("blankafter.srt", [("I really love it", 0, 1), ("it is so good", 1, 2)]),
        ("blankincue.srt", [("I really love it", 0, 1), ("it is so good", 1, 2)]),
        ("comma_vtt_4digits.srt", [("I love", 0, 1), ("it", 1, 2)]),
        ("lyric_lt.srt", [("I <3 this and x < y > z", 0, 1), ("ok", 1, 2)]),
        ("noms.srt", [("I really hate", 0, 1), ("this thing", 1, 2)]),
        ("utf16.srt", [("I really love it", 0, 1), ("it is so good", 1, 2)]),
        ("zerodur.srt", [("I really", 0, 1), ("hate", 1, 1), ("this thing", 1, 2)]),
        (
            "yt.vtt",
            [
                *(("I", 0.16, 0.3), ("really", 0.3, 0.5), ("love", 0.5, 0.7), ("it", 0.7, 0.9)),
                *(("it", 0.91, 1.1), ("is", 1.1, 1.2), ("so", 1.2, 1.3), ("good", 1.3, 1.5)),
                *(("thanks", 1.51, 1.7), ("all", 1.7, 2.0)),
            ],
        ),
    ],
)
def test_every_word_of_a_transcript_is_kept_once_with_its_time(name, cues):
    read = read_transcript(CASES / "transcripts" / name)
    assert [cue.text for cue in read.cues] == [text for text, *_ in cues]
    assert [(cue.start, cue.end) for cue in read.cues] == [pytest.approx(times) for _, *times in cues]
    assert read.text == " ".join(text for text, *_ in cues)


def test_transcripts_are_decoded_or_refused():
    assert read_transcript(CASES / "transcripts/utf16.txt").text == "I really love it, it is so good"
    path = CASES / "transcripts/cp1252.srt"
    with pytest.raises(MalformedInput, match=r"cp1252.srt: line 7: expected utf-8, .*perhaps cp1252: 'don’t you think"):
        read_transcript(path)
    assert read_transcript(path, encoding="cp1252").text == "I really love it don’t you think it’s good"


@pytest.mark.parametrize(
    ("name", "hello"),
    [("two_speakers.TextGrid", 0.0), ("comments.TextGrid", 0.3), ("same_count.csv", 0.3), ("whisper.csv", 0.3)],
)
def test_word_times_go_to_the_words_they_are_of(tmp_path, name, hello):
    (tmp_path / "v").mkdir()
    shutil.copy(CASES / "word_times" / name, (tmp_path / "v/1").with_suffix(Path(name).suffix))
    said = Clip("v$_$1", "x", "train", "hello big world", {}, None, 0.0, 2.0)
    times = file_times(tmp_path, said, ["hello", "big", "world"])
    ends = 0.5 if hello == 0 else 0.8
    assert times == pytest.approx(np.array([[hello, ends], [ends, 1.2], [1.2, 1.9]]))
