"""`lacuna check`. In: a dataset's name. Out: lines on what `prepare`, and `extract` if asked, would refuse; no file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lacuna.compute.workers import Lost, map_items, progress
from lacuna.media import decode
from lacuna.params import Params
from lacuna.prepare.rejects import check_share
from lacuna.prepare.run import given_features, prepare
from lacuna.types import Clip, MalformedInput, Reject, counted


def check(params: Params, dataset: str, whole: bool = False) -> tuple[list[str], bool]:
    """What to say, and whether nothing is refused; `whole`: each clip is decoded to its end, as `extract` will."""
    settings, root = params.prepare.of(dataset), Path("raw", dataset)
    clips, rejects = prepare(root, dataset, settings, params.workers)
    told = [f"refused  {reject.id}  {reject.file}: {reject.reason}" for reject in rejects]
    splits = {split: sum(c.split == split for c in clips) for split in dict.fromkeys(c.split for c in clips)}
    counts = ", ".join(f"{count} {split}" for split, count in splits.items())
    told.append(f"{dataset}: {counted(len(clips), 'clip')} ({counts}), {len(rejects)} refused")
    try:
        check_share(rejects, len(clips) + len(rejects), settings.max_rejects, root)
    except MalformedInput as error:
        told.append(f"`dvc repro prepare` will stop: {error}")
    failed = [*_undecodable(clips, params), *_unusable(params, dataset, root)] if whole else []
    return told + _told(failed, len(clips), params.extract.of(dataset).max_rejects), not (rejects or failed)


def _told(failed: Sequence[Reject], total: int, most: float) -> list[str]:
    told = [f"refused by extract  {reject.id}  {reject.file}: {reject.reason}" for reject in failed]
    if len(failed) > most * total:
        expected = f"expected at most extract.max_rejects = {most:.0%} of {counted(total, 'clip')}"
        told.append(f"`dvc repro extract` will stop: {expected}")
    return told


def _undecodable(clips: Sequence[Clip], params: Params) -> list[Reject]:
    """Clips of which some picture or sound cannot be used."""
    given = [clip for clip in clips if clip.path is not None]
    verdicts = progress(map_items(_verdict, given, params.workers), len(given), "decoded   ")
    faults = ((c, told.reason if isinstance(told, Lost) else told) for c, told in zip(given, verdicts))
    return [Reject(clip.id, clip.file.as_posix(), fault, "extract") for clip, fault in faults if fault]


def _verdict(clip: Clip) -> str:
    try:
        if decode.is_picture(clip.path):
            decode.image(clip.file)
        else:
            decode.check_all(clip.file, clip.start, clip.end)
    except MalformedInput as error:
        return str(error).removeprefix(f"{clip.path}: ")
    return ""


def _unusable(params: Params, dataset: str, root: Path) -> list[Reject]:
    """Features that the dataset brings along and that cannot be read to their end."""
    failed = []
    for extractor in params.extract.of(dataset).extractors:
        try:
            _, sequences = given_features(root, dataset, extractor) or (None, iter(()))
            for _ in sequences:
                pass
        except MalformedInput as error:
            failed.append(Reject("*", root.as_posix(), str(error), extractor))
    return failed
