"""An MMSA pickle becomes a dataset. In: the pickle and a name. Out: raw/<name>/<file>.pkl, and what it holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lacuna.export.content import KINDS
from lacuna.export.pickle import Pickle, load
from lacuna.params import check_dataset
from lacuna.storage.files import replacing
from lacuna.types import MalformedInput, counted

SCALES = ((-1.0, 1.0), (-3.0, 3.0))  # SIMS; MOSI and MOSEI
EXTRACTORS = {"tokens": "tokens", "text": "bert", "audio": "librosa", "vision": "face"}  # whose place they take


def import_pickle(path: Path, dataset: str, raw: Path = Path("raw")) -> Iterator[str]:
    """Check the pickle, put it into raw/<dataset>/ (as a hard link where the disk allows), and tell what it holds."""
    check_dataset(dataset)
    given = load(path)
    limits = _limits(given)
    folder = raw / dataset
    target = folder / f"{path.stem}.pkl"
    others = [p.name for p in folder.iterdir() if p.name != target.name] if folder.is_dir() else []
    if others:
        raise MalformedInput(f"{folder}: expected a new dataset or only {target.name}, found {', '.join(others[:5])}")
    if not (target.exists() and target.samefile(path)):
        _place(path, target)
    yield from _told(given, target)
    yield f"{target}: labels from {limits[0]:g} to {limits[1]:g}"
    yield from _lacks(given, target)
    yield from _advice(given, dataset, limits)


def _place(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(path.resolve(), target)
    except OSError:  # another disk, or one that knows no links
        with replacing(target) as temporary:
            shutil.copyfile(path, temporary)


def _told(given: Pickle, target: Path) -> Iterator[str]:
    clips = ", ".join(f"{len(content['id'])} {split}" for split, content in given.splits.items())
    yield f"{target}: clips: {clips}; {given.official or 'no published file known here'}"
    for kind in given.kinds:
        arrays = [content[KINDS[kind]] for content in given.splits.values()]
        frames, width = (arrays[0].shape[2], "token ids") if kind == "tokens" else arrays[0].shape[1:]
        bad = sum(int(np.count_nonzero(~np.isfinite(array))) for array in arrays)
        odd = f"; values that are not finite count as 0: {bad}" if bad else ""
        wide = width if kind == "tokens" else counted(int(width), "column")
        yield f"{target}: {kind}: {wide}, at most {counted(frames, 'frame')}{odd}"


def _lacks(given: Pickle, target: Path) -> Iterator[str]:
    """Words and unimodal labels that not every clip has."""
    contents = given.splits.values()
    worded = any(str(text).strip() for content in contents for text in content.get("raw_text", ()))
    if not {"tokens", "text"} & {*given.kinds} and not worded:
        yield f"{target}: note: no words at all: neither text nor raw_text"
    for name in "TAV":
        key = f"regression_labels_{name}"
        known = [np.isfinite(np.asarray(content[key], float)).sum() for content in contents if key in content]
        total = sum(len(content["id"]) for content in contents)
        if known and sum(known) < total:
            yield f"{target}: note: {key}: clips that have one: {sum(known)} of {total}"


def _limits(given: Pickle) -> tuple[float, float]:
    """The lowest and the highest label."""
    try:
        parts = [np.asarray(content["regression_labels"], float).ravel() for content in given.splits.values()]
    except (TypeError, ValueError) as error:
        raise MalformedInput(f"{given.path}: regression_labels: expected numbers: {error}") from error
    known = np.concatenate(parts)
    known = known[np.isfinite(known)]
    if not len(known):
        raise MalformedInput(f"{given.path}: regression_labels: expected at least one number, got none")
    return float(known.min()), float(known.max())


def _range(limits: tuple[float, float]) -> tuple[float, float]:
    """The narrowest of the field's scales that holds the labels, whose metrics go by it; else what was seen."""
    return next((scale for scale in SCALES if scale[0] <= limits[0] and limits[1] <= scale[1]), limits)


def _advice(given: Pickle, dataset: str, limits: tuple[float, float]) -> Iterator[str]:
    """What to write into params.yaml."""
    given_names = [EXTRACTORS[kind] for kind in given.kinds if kind != "tokens"]
    others = [name for name in given_names if name != "bert"]
    # Models read embeddings where no token ids are given; MMSA wants ids, which the words themselves can become.
    text = "tokens" if "tokens" in given.kinds else "bert"
    features = [text, *others] if "text" in given.kinds or text == "tokens" else others
    yield "params.yaml, for this dataset (the extractors' names stand for what the pickle gives in their place):"
    yield f"  datasets: [{dataset}]"
    yield f"  prepare: {{label_range: [{', '.join(f'{limit:g}' for limit in _range(limits))}]}}"
    yield f"  extract: {{extractors: [{', '.join(['tokens', *given_names])}]}}"
    yield "  align: {extractors: []}"
    yield f"  export: {{tokens: tokens, features: [{', '.join(given_names)}]}}"
    yield f"  train: {{features: [{', '.join(features)}]}}"
