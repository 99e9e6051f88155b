"""CMU-MOSEI as its authors' archive of raw data has it. In: Labels, Transcript and Videos. Out: one clip a segment.

The label is the mean of the annotators' sentiment, in [-3, 3]. The archive names no splits: whole videos are split by a
hash of seed and name, unless a file folds.csv (video_id, mode) names them, as the authors' SDK does in code.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean

from lacuna.media import decode
from lacuna.prepare.run import Settings
from lacuna.prepare.splits import stratified
from lacuna.prepare.tables import Videos, find_below, read_table
from lacuna.storage import text as text_files
from lacuna.types import SPLITS, Clip, MalformedInput, Reject

WORDS, FILMS = ("Transcript", "Segmented", "Combined"), ("Videos", "Segmented", "Combined")
LOOKED_FOR = "Labels/*.csv, Transcript/Segmented/Combined and Videos/Segmented/Combined (CMU-MOSEI, raw)"
VIDEO, SEGMENT, SENTIMENT = "Input.VIDEO_ID", "Input.CLIP", "Answer.sentiment"
FOLDS = "folds.csv"
_LINE = re.compile(r"(?P<video>.+?)___(?P<segment>\d+)___.*?___.*?___(?P<words>.*)")

Key = tuple[str, str]  # video, segment


def matches(root: Path) -> bool:
    """The three folders, in the data set's own or in the archive's (Raw/)."""
    return _base(root) is not None


def _base(root: Path) -> Path | None:
    labels = find_below(root, "Labels")
    base = labels.parent if labels is not None else None
    return base if base and base.joinpath(*WORDS).is_dir() and base.joinpath(*FILMS).is_dir() else None


def read(root: Path, dataset: str, settings: Settings) -> Iterator[Clip | Reject]:
    """Segments in the order of the transcripts; those that nobody annotated are rejects."""
    base = _base(root)
    if base is None:
        raise MalformedInput(f"{root}: expected {LOOKED_FOR}")
    labels, videos = _labels(base / "Labels"), Videos(base.joinpath(*FILMS[:-1]))
    said = {key: line for file in sorted(base.joinpath(*WORDS).glob("*.txt")) for key, line in _segments(file)}
    splits = _splits(find_below(root, FOLDS), {video for video, _ in said}, settings)
    for (video, segment), text in said.items():
        name = f"{video}$_${segment}"
        try:
            if (video, segment) not in labels:
                raise MalformedInput("Labels: expected an annotation of the segment, found none")
            if video not in splits:
                raise MalformedInput(f"{FOLDS}: expected a split for {video}, found none")
            path = videos.find(FILMS[-1], f"{video}_{segment}", spans=False)
            yield Clip(name, dataset, splits[video], text, {"M": labels[video, segment]}, path)
        except MalformedInput as error:
            yield Reject(name, base.joinpath(*WORDS, f"{video}.txt").as_posix(), str(error))


def _segments(file: Path) -> Iterator[tuple[Key, str]]:
    """Lines of video___segment___start___end___words; a video's name may begin or end with such bars too."""
    for line in text_files.read(file).splitlines():
        if found := _LINE.match(line):
            yield (found["video"], found["segment"]), found["words"].strip()


def _labels(folder: Path) -> dict[Key, float]:
    """The mean of the annotators' sentiment of each segment, over all tables."""
    told: dict[Key, list[float]] = defaultdict(list)
    for file in sorted(folder.glob("*.csv")):
        rows = csv.DictReader(io.StringIO(text_files.read(file), newline=""))
        for row in rows if {VIDEO, SEGMENT, SENTIMENT} <= set(rows.fieldnames or ()) else ():
            value = _number(row[SENTIMENT])
            if value is not None:
                told[row[VIDEO], str(row[SEGMENT])].append(value)
    return {key: fmean(values) for key, values in told.items()}


def _number(word: str | None) -> float | None:
    """An annotator's answer; None where there is none, or one outside the scale."""
    try:
        value = float(word or "")
    except ValueError:
        return None
    return value if -3 <= value <= 3 else None


def _splits(folds: Path | None, videos: set[str], settings: Settings) -> Mapping[str, str]:
    if folds is None:
        return stratified([(video, "") for video in videos], settings.seed, settings.fractions)
    found = {row["video_id"]: row["mode"] for _, row in read_table(folds, ("video_id", "mode")).rows}
    for video, split in found.items():
        if split not in SPLITS:
            raise MalformedInput(f"{folds}: mode of {video}: expected one of {', '.join(SPLITS)}, got {split!r}")
    return found


def check(clip: Clip) -> tuple[str, ...]:
    """What is odd about the file; MalformedInput unless its first picture can be decoded and it is whole."""
    return decode.check(clip.file)
