"""Label tables: dialects that are read, and quotes, headers and numbers that would change what a row says."""

from __future__ import annotations

import pytest
from media_files import Video, write_video

from lacuna.params.sections import Prepare
from lacuna.prepare.run import prepare, refuse_links
from lacuna.prepare.tables import is_blank, read_table
from lacuna.types import MalformedInput

COLUMNS = ("video_id", "clip_id", "text", "label", "mode")
HEADER = ",".join(COLUMNS)


def table_of(tmp_path, content: str):
    path = tmp_path / "label.csv"
    path.write_bytes(content.encode())
    return read_table(path, COLUMNS)


def dataset(tmp_path, content: str, clips: int = 3):
    (tmp_path / "label.csv").write_bytes(content.encode())
    for number in range(1, clips + 1):
        write_video(tmp_path / f"Raw/v/{number}.mp4", Video(frames=3, audio=""))
    return prepare(tmp_path, "own", Prepare())


def lines(count: int, changed: dict[int, str]) -> str:
    """A table of so many rows, some written otherwise; row i is on line i + 1, its label i % 7 - 3."""
    rows = [changed.get(i, f"v,{i},text number {i},{i % 7 - 3},train") for i in range(1, count + 1)]
    return "\n".join([HEADER, *rows]) + "\n"


SWALLOWING = {
    "a quote in the middle that never closes": lines(200, {101: 'v,101,"text 101,1,train'}),
    "closed by a quoted field below": lines(200, {101: 'v,101,"text 101,1,train', 150: 'v,150,"text 150",2,train'}),
    "closed by an inch mark: valid CSV": lines(200, {101: 'v,101,"so tall,1,train', 150: 'v,150,6",2,train'}),
    "the next row alone: valid CSV": lines(9, {4: 'v,4,"so tall,1,train', 5: 'v,5,the 6",2,train'}),
    "with a space after a comma": lines(9, {4: 'v,4,"so tall,1,train', 5: 'v,5, the 6",2,train'}),
    "in the last row": lines(9, {9: 'v,9,"text,1,train'}),
    "in the first row": lines(3, {1: 'v,1,"Hello there,1.0,train', 3: 'v,3,She said "no" and left,-3.0,test'}),
    "in an id": lines(9, {4: 'v,"4,text,1,train'}),
    "in the mode": lines(9, {4: 'v,4,text,1,"train'}),
    "words after the closing quote": lines(9, {4: 'v,4,"so" tall,1,train'}),
}


@pytest.mark.parametrize("content", SWALLOWING.values(), ids=SWALLOWING)
@pytest.mark.parametrize("parted", [",", ";", "\t"])
@pytest.mark.parametrize("ended", ["\n", "\r\n", "\r"])
def test_a_quote_that_is_not_closed_refuses_the_table_and_names_its_line(tmp_path, content, parted, ended):
    opened = next(n for n, line in enumerate(content.split("\n"), 1) if ',"' in line)
    with pytest.raises(
        MalformedInput, match=rf"label.csv: line {opened}: expected a quote to be closed in its own field"
    ):
        table_of(tmp_path, content.replace(",", parted).replace("\n", ended))


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ('"so, so"', "so, so"),
        ('"he said ""no"" and left"', 'he said "no" and left'),
        ('"first line\nsecond line"', "first line\nsecond line"),
        ('"well, I, think\nthat, you, know, I, said, no"', "well, I, think\nthat, you, know, I, said, no"),
        ('She said "no" and left', 'She said "no" and left'),
        ('6" tall', '6" tall'),
        ("None", "None"),
        ("NA", "NA"),
    ],
)
def test_quotes_and_words_that_are_whole_are_kept(tmp_path, field, text):
    table = table_of(tmp_path, f"{HEADER}\nv,1,{field},1,train\nv,2,ok,2,train\n")
    assert [(row["text"], row["label"]) for _, row in table.rows] == [(text, "1"), ("ok", "2")] and not table.ragged


DIALECTS = {
    "semicolons": "video_id;clip_id;text;label;mode\nv;1;So, la la;1.8;train\nv;2;b;-0.6;valid\nv;3;c;0;test\n",
    "decimal commas": "video_id;clip_id;text;label;mode\nv;1;So, la la;1,8;train\nv;2;b;-0,6;valid\nv;3;c;0;test\n",
    "sep=": "sep=;\nvideo_id;clip_id;text;label;mode\nv;1;So, la la;1,8;train\nv;2;b;-,6;valid\nv;3;c;0,0;test\n",
    "quoted sep=": f'"sep=,"\n{HEADER}\nv,1,"So, la la",1.8,train\nv,2,b,-.6,valid\nv,3,c,0.,test\n',
    "tabs": "video_id;clip_id;text;label;mode\nv;1;So, la la;1,8;train\nv;2;b;-0,6;valid\nv;3;c;0;test\n".replace(
        ";", "\t"
    ),
    "sep= and a tab": "sep=\t\r\nvideo_id\tclip_id\ttext\tlabel\tmode\r\nv\t1\tSo, la la\t1,8\ttrain\r\n"
    "v\t2\tb\t-0,6\tvalid\r\nv\t3\tc\t0\ttest\r\n",
    "bars": "video_id|clip_id|text|label|mode\nv|1|So, la la|1.8|train\nv|2|b|-6e-1|valid\nv|3|c|+0|test\n",
    "two marks": "video_id;clip_id;text;label;mode;a,b\nv;1;So, la la;1.8;train;\nv;2;b;-.6;valid;\nv;3;c;0;test;",
}


@pytest.mark.parametrize("content", DIALECTS.values(), ids=DIALECTS)
def test_dialects_are_read_and_told(tmp_path, capsys, content):
    clips, rejects = dataset(tmp_path, content)
    assert not rejects and [clip.label for clip in clips] == [1.8, -0.6, 0.0] and clips[0].text == "So, la la"
    told = [line for line in capsys.readouterr().out.splitlines() if "is read with" in line]
    assert len(told) == (HEADER not in content)


@pytest.mark.parametrize("value", ["1,8", "1.234,5", "1 8", "1_0", "eins", "inf", "--1"])
def test_numbers_that_may_mean_something_else_are_refused(tmp_path, value):
    """A table that has decimal points has no decimal commas: 1,800 may be more than a thousand."""
    content = f"video_id;clip_id;text;label;mode\nv;1;a;{value};train\nv;2;b;2.5;valid\nv;3;c;0;test\n"
    clips, (reject,) = dataset(tmp_path, content)
    assert [clip.label for clip in clips] == [2.5, 0] and f"got '{value}'" in reject.reason


@pytest.mark.parametrize("header", [f"{HEADER},label", f"{HEADER},text", f"{HEADER},start,start", f"{HEADER}, mode "])
def test_two_columns_of_one_name_are_refused(tmp_path, header):
    with pytest.raises(MalformedInput, match=r"label.csv: expected each column once, got \w+ more than once"):
        table_of(tmp_path, f"{header}\nv,1,a,1,train,2,3\n")


@pytest.mark.parametrize("word", ["NaN", "nan", "NA", "N/A", "None", "null", "", " "])
def test_words_for_nothing_in_what_need_not_be_filled(tmp_path, word):
    assert is_blank(word)
    content = f"{HEADER},label_T,start,end\nv,1,{word},1,train,{word},{word},{word}\nv,2,a,{word},{word},,,\n"
    (labelled, unlabelled), rejects = dataset(tmp_path, content, clips=2)
    assert not rejects and labelled.labels == {"M": 1.0} and (labelled.start, labelled.end) == (0, None)
    assert labelled.text == word.strip() and unlabelled.split == "unlabelled"


@pytest.mark.parametrize(("start", "taken"), [("-0.001", 0.0), ("-0.4", 0), ("-0", 0), ("-0.6", None), ("-30", None)])
def test_a_slightly_negative_start_is_the_beginning_and_told(tmp_path, capsys, start, taken):
    clips, rejects = dataset(tmp_path, f"{HEADER},start,end\nv,1,a,1,train,{start},0.1\n", clips=1)
    assert [clip.start for clip in clips] == ([] if taken is None else [taken]) and len(rejects) == (taken is None)
    assert ("is taken as 0" in capsys.readouterr().out) == (taken is not None and float(start) < 0)


@pytest.mark.parametrize("name", ["x" * 256, "字" * 100, "a/" * 3000 + "b", "x" * 5000])
@pytest.mark.parametrize("column", ["video_id", "clip_id"])
def test_ids_that_no_file_can_have_refuse_their_row(tmp_path, name, column):
    row = f"{name},1,a,1,train" if column == "video_id" else f"v,{name},a,1,train"
    clips, (reject,) = dataset(tmp_path, f"{HEADER}\nv,1,a,1,train\n{row}\n", clips=1)
    assert len(clips) == 1 and "expected" in reject.reason and len(reject.reason) < 300


def test_a_folder_behind_a_link_is_refused_with_advice(tmp_path):
    (tmp_path / "elsewhere/v").mkdir(parents=True)
    for name, target in (("Raw", "elsewhere"), ("Raw/v", "elsewhere/v"), ("deep/er", "elsewhere")):
        root = tmp_path / name.replace("/", "_")
        (root / name).parent.mkdir(parents=True)
        (root / name).symlink_to(tmp_path / target)
        with pytest.raises(MalformedInput, match=rf"{name}: expected a folder, got a link .* DVC sees no change: move"):
            refuse_links(root)


def test_a_linked_dataset_and_linked_files_are_taken(tmp_path):
    """DVC follows both: it opens the files, and looks into the folder it was given."""
    write_video(tmp_path / "there/Raw/v/1.mp4", Video(frames=3))
    (tmp_path / "there/label.csv").write_text(f"{HEADER}\nv,1,a,1,train\n")
    (tmp_path / "there/Raw/v/2.mp4").symlink_to("1.mp4")
    (tmp_path / "here").symlink_to(tmp_path / "there")
    clips, rejects = prepare(tmp_path / "here", "own", Prepare())
    assert len(clips) == 1 and not rejects
