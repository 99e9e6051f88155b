"""Text + image posts. In: train.txt (`guid,tag`), test_without_label.txt, data/<guid>.jpg|.txt. Out: a clip a post.

A clip's path is the post's picture, its label the tag as a score (negative -1, neutral 0, positive 1, so that task
`polarity` has classes 0, 1, 2). Each tag is split into train, valid and test by a hash of seed and guid: the same posts
land in the same split whatever their order, and a new post moves at most those at the borders. What has no tag is
`unlabelled`: it is only predicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lacuna.media import PICTURES, decode
from lacuna.prepare.run import Settings
from lacuna.prepare.splits import stratified
from lacuna.prepare.tables import find_file, read_table
from lacuna.storage import text as text_files
from lacuna.storage.files import replacing
from lacuna.types import UNKNOWN, Clip, MalformedInput, Reject

LOOKED_FOR = "train.txt (guid,tag) and data/<guid>.jpg|.txt"
TAGS = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
UNTAGGED = {"", "null", "none", "nan"}
LABELLED, UNLABELLED = "train.txt", "test_without_label.txt"


def matches(root: Path) -> bool:
    """train.txt or test_without_label.txt beside a folder data/."""
    tables = find_file(root, LABELLED) or find_file(root, UNLABELLED)
    return tables is not None and (root / "data").is_dir()


def read(root: Path, dataset: str, settings: Settings) -> Iterator[Clip | Reject]:
    """Rows of both tables in order; MalformedInput where a table itself cannot be read."""
    rows = [row for name in (LABELLED, UNLABELLED) for row in _rows(root, name, settings.encoding)]
    encoding = settings.encoding or text_files.encoding_of(_texts(root / "data"))
    if encoding:
        print(f"{dataset}: posts that are not utf-8 are read as {encoding}")
    tagged = ((guid, tag) for _, guid, tag in rows if tag in TAGS)
    splits = stratified(tagged, settings.seed, settings.fractions)
    seen: dict[str, str] = {}
    for place, guid, tag in rows:
        name = f"data$_${guid}"
        try:
            if guid in seen:
                raise MalformedInput(f"expected each guid once, got it again (first in {seen[guid]})")
            if tag not in TAGS and tag not in UNTAGGED:
                raise MalformedInput(f"tag: expected one of {', '.join(TAGS)} or null, got {tag!r}")
            seen[guid] = place
            picture, text = _files(root / "data", guid)
            labels = {"M": TAGS[tag]} if tag in TAGS else {}
            yield Clip(name, dataset, splits.get(guid, UNKNOWN), _words(text, encoding), labels, picture)
        except MalformedInput as error:
            yield Reject(name, place, str(error))


def _rows(root: Path, name: str, encoding: str) -> Iterator[tuple[str, str, str]]:
    """(file and line, guid, tag) of one table, if it is there."""
    path = find_file(root, name)
    if path is not None:
        for number, row in read_table(path, ("guid", "tag"), encoding).rows:
            yield f"{path.as_posix()}:{number}", row["guid"], row["tag"].lower()


def _texts(folder: Path) -> Iterator[bytes]:
    return (path.read_bytes() for path in sorted(folder.glob("*.txt")) if path.is_file())


def _words(path: Path, encoding: str) -> str:
    """A post's words, which the collector may have cut within their last character."""
    return text_files.decode(path.read_bytes(), path.as_posix(), encoding, cut=True)[0].strip()


def _files(folder: Path, guid: str) -> tuple[Path, Path]:
    """The picture and the text of a post."""
    if not guid or "/" in guid or "\\" in guid or guid.startswith("."):
        raise MalformedInput(f"guid: expected a file's name within {folder}, got {guid!r}")
    picture = next((p for s in PICTURES if (p := folder / f"{guid}{s}").is_file()), None) or next(
        (p for s in PICTURES if (p := folder / f"{guid}{s.upper()}").is_file()), None
    )
    if picture is None:
        raise MalformedInput(f"expected a picture, found none at {(folder / guid).as_posix()}.jpg")
    text = folder / f"{guid}.txt"
    if not text.is_file():
        raise MalformedInput(f"expected a text, found none at {text.as_posix()}")
    return picture, text


def check(clip: Clip) -> None:
    """MalformedInput unless the clip's picture can be read."""
    decode.image(clip.file)


def write_tags(path: Path, tags: Iterable[tuple[str, int]]) -> None:
    """(clip id, class 0, 1 or 2) as `guid,tag` lines: what is asked for the unlabelled file."""
    names = list(TAGS)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write("guid,tag\n")
        for clip_id, index in tags:
            file.write(f"{clip_id.rpartition('$_$')[2]},{names[index]}\n")
