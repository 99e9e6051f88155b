"""Text + image folders: tags, splits, decoding and what is refused by name; cleaning of posts."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from lacuna.datasets import image_text
from lacuna.extractors._text import cleaned
from lacuna.params import Prepare
from lacuna.prepare.run import layout_of, prepare
from lacuna.storage.text import decode
from lacuna.types import Clip, MalformedInput, Reject

DATA = Path(os.environ.get("LACUNA_DATA", "../shared/data")) / "imagetext"
USUAL = Prepare()


def _folder(root: Path, tags: dict[str, str], unlabelled: tuple[str, ...] = ()) -> Path:
    (root / "data").mkdir(parents=True)
    for guid in (*tags, *unlabelled):
        Image.new("RGB", (8, 6), (1, 2, 3)).save(root / "data" / f"{guid}.jpg")
        (root / "data" / f"{guid}.txt").write_bytes(f"post {guid} \n".encode())
    (root / "train.txt").write_text("guid,tag\n" + "".join(f"{g},{t}\n" for g, t in tags.items()))
    if unlabelled:
        lines = "".join(f"{guid},null\n" for guid in unlabelled)
        (root / "test_without_label.txt").write_text("guid,tag\n" + lines)
    return root


def _prepared(root: Path, settings: Prepare = USUAL) -> tuple[list[Clip], list[Reject]]:
    return prepare(root, "posts", settings)


def test_posts_become_clips(tmp_path: Path) -> None:
    root = _folder(tmp_path, {"1": "positive", "2": "negative", "3": "neutral"}, ("9",))
    assert layout_of(root) is image_text
    clips, rejects = _prepared(root)
    assert not rejects
    assert [clip.id for clip in clips] == ["data$_$1", "data$_$2", "data$_$3", "data$_$9"]
    assert [clip.labels for clip in clips] == [{"M": 1.0}, {"M": -1.0}, {"M": 0.0}, {}]
    assert clips[3].split == "unlabelled" and clips[0].text == "post 1"
    assert clips[0].path == root / "data" / "1.jpg"


def test_splits_are_stratified_seeded_and_stay_when_posts_come_or_move(tmp_path: Path) -> None:
    tags = {str(i): ("positive" if i % 10 < 6 else "negative" if i % 10 < 9 else "neutral") for i in range(200)}
    clips, _ = _prepared(_folder(tmp_path / "a", tags))
    counts = Counter((clip.split, clip.label) for clip in clips)
    assert [counts["train", c] for c in (1, -1, 0)] == [84, 42, 14]
    assert [counts["test", c] for c in (1, -1, 0)] == [18, 9, 3]
    turned, _ = _prepared(_folder(tmp_path / "b", dict(reversed(tags.items()))))
    assert {c.id: c.split for c in turned} == {c.id: c.split for c in clips}
    more, _ = _prepared(_folder(tmp_path / "c", tags | {"200": "positive"}))
    splits = {clip.id: clip.split for clip in more}
    assert sum(splits[clip.id] != clip.split for clip in clips) <= 2
    other, _ = _prepared(tmp_path / "a", Prepare(seed=8))
    assert [clip.split for clip in other] != [clip.split for clip in clips]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("café — 好", "utf-8"), ("好的，very good…", "gb18030"), ("plain", "ascii"), ("é", "utf-8-sig")],
)
def test_texts_in_any_of_their_encodings(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), "1.txt", cut=True)[0] == text


def test_texts_cut_in_a_character() -> None:
    assert decode("schön 好好".encode()[:-1], "1.txt", cut=True)[0] == "schön 好"
    assert decode("好的，我们…".encode("gb18030")[:-1], "1.txt", cut=True)[0] == "好的，我们"
    with pytest.raises(MalformedInput, match=r"1\.txt: line 1: expected utf-8"):
        decode(b"a \xff\xff b", "1.txt", cut=True)


def _break(root: Path, what: str) -> None:
    picture, text = root / "data" / "1.jpg", root / "data" / "1.txt"
    if what == "truncated":
        picture.write_bytes(picture.read_bytes()[:200])
    elif what == "garbage":
        picture.write_bytes(b"no picture")
    elif what == "empty":
        picture.write_bytes(b"")
    elif what == "no picture":
        picture.unlink()
    elif what == "no text":
        text.unlink()


@pytest.mark.parametrize("what", ["truncated", "garbage", "empty", "no picture", "no text"])
def test_a_broken_post_is_refused_by_name_and_the_others_stay(tmp_path: Path, what: str) -> None:
    root = _folder(tmp_path, {"1": "positive", "2": "negative"})
    before = {clip.id: clip.split for clip in _prepared(root)[0]}
    _break(root, what)
    (clip,), (reject,) = _prepared(root)
    assert reject.id == "data$_$1" and ("1." in reject.file or "train.txt:2" in reject.file), reject
    assert reject.reason.startswith("expected")
    assert clip.split == before[clip.id]


@pytest.mark.parametrize(
    ("line", "reason"),
    [("2,positive", "once"), ("3,glad", "glad"), ("../2,positive", "guid"), (",positive", "guid")],
)
def test_odd_rows_are_refused(tmp_path: Path, line: str, reason: str) -> None:
    root = _folder(tmp_path, {"2": "negative"})
    with (root / "train.txt").open("a") as file:
        file.write(line + "\n")
    clips, (reject,) = _prepared(root)
    assert len(clips) == 1 and reason in reject.reason and reject.file.endswith("train.txt:3")


def test_any_mode_and_orientation(tmp_path: Path) -> None:
    root = _folder(tmp_path, {str(i): "positive" for i in range(4)})
    for i, mode in enumerate(("L", "CMYK", "RGB")):
        Image.new(mode, (9, 4)).save(root / "data" / f"{i}.jpg")
    (root / "data" / "3.jpg").unlink()
    Image.new("P", (5, 5)).save(root / "data" / "3.PNG")
    clips, rejects = _prepared(root)
    assert len(clips) == 4 and not rejects
    assert clips[3].path.name == "3.PNG"


def test_a_table_without_its_columns(tmp_path: Path) -> None:
    root = _folder(tmp_path, {"1": "positive"})
    (root / "train.txt").write_text("id,label\n1,positive\n")
    with pytest.raises(MalformedInput, match="guid, tag"):
        _prepared(root)


def test_tags_are_written_as_they_are_asked_for(tmp_path: Path) -> None:
    image_text.write_tags(tmp_path / "tags.txt", [("data$_$5127", 2), ("data$_$2803", 0), ("data$_$7", 1)])
    assert (tmp_path / "tags.txt").read_text() == "guid,tag\n5127,positive\n2803,negative\n7,neutral\n"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), "RT @Ann_1: So #Happy with @bob, see http://t.co/a1B and http:/… a@b.c"),
        (("retweets",), "So #Happy with @bob, see http://t.co/a1B and http:/… a@b.c"),
        (("links",), "RT @Ann_1: So #Happy with @bob, see and a@b.c"),
        (("mentions",), "RT : So #Happy with , see http://t.co/a1B and http:/… a@b.c"),
        (("hashes",), "RT @Ann_1: So Happy with @bob, see http://t.co/a1B and http:/… a@b.c"),
        (("hashtags",), "RT @Ann_1: So with @bob, see http://t.co/a1B and http:/… a@b.c"),
        (("case",), "rt @ann_1: so #happy with @bob, see http://t.co/a1b and http:/… a@b.c"),
        (("case", "retweets", "links", "mentions", "hashes"), "so happy with , see and a@b.c"),
    ],
)
def test_cleaning_is_by_switches(names: tuple[str, ...], expected: str) -> None:
    text = "RT @Ann_1: So #Happy with @bob, see http://t.co/a1B and http:/… a@b.c"
    assert cleaned(text, names) == expected


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real posts (LACUNA_DATA)")
def test_the_real_posts() -> None:
    clips, rejects = _prepared(DATA)
    assert not rejects
    labels = Counter(clip.label for clip in clips if clip.labels)
    assert (labels[1], labels[-1], labels[0]) == (860, 397, 143)
    assert Counter(clip.split for clip in clips) == {"train": 980, "valid": 210, "test": 210, "unlabelled": 60}
    assert not any("\ufffd" in clip.text for clip in clips)
