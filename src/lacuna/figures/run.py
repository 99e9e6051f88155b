"""All that is shown of one data set. In: raw/<dataset> and processed/<dataset>. Out: section.html and its pictures.

This gathers from disk, media and models what the room `report` draws from plain values.
"""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from lacuna.data.samples import read_clips
from lacuna.data.task import Inputs, class_names
from lacuna.evaluate.compare import Table, compare
from lacuna.evaluate.scores import Scores, read_scores
from lacuna.figures.clip_data import stage_scene
from lacuna.figures.clips_data import clips_section
from lacuna.figures.html import FRAGMENT, Section
from lacuna.figures.inside_data import ask
from lacuna.figures.posts_data import posts_section
from lacuna.figures.sections import (
    calibration,
    clip,
    corpus,
    differences,
    inside,
    overview,
    protocols,
    published,
    robustness,
)
from lacuna.figures.sections import training as learning
from lacuna.figures.sections.corpus import Measured
from lacuna.figures.sections.training import Learning
from lacuna.storage.features import FeatureFile
from lacuna.storage.files import reading, replacing
from lacuna.storage.tensors import shapes_of
from lacuna.train import checkpoint
from lacuna.types import Clip, MalformedInput, Reject


@dataclass(frozen=True)
class Wanted:
    """What is shown: a clip (empty: the first complete one of the test split) in so many `frames` with `features`,
    models by name with what each reads, on at most `asked` test clips, and their seeds."""

    features: Sequence[str]
    models: Mapping[str, Inputs]
    seeds: Sequence[int]
    clip: str = ""
    frames: int = 6
    asked: int = 500
    device: str = "auto"


def illustrate(wanted: Wanted, raw: Path, processed: Path, out: Path) -> list[Section]:
    """Write section.html and an SVG, a PNG and a PDF of each picture into `out`; returns the sections."""
    dataset = processed.name
    clips = read_clips(processed / "clips.jsonl")
    records = read_records(processed, list(wanted.models))
    synthetic, classes = is_synthetic(raw), class_names(processed)
    sections = [
        overview.section(dataset, clips, records, synthetic),
        corpus.section(dataset, clips, read_rejects(processed), measure(processed, clips), synthetic, classes),
        clip.section(dataset, stage_scene(processed, clips, wanted.features, wanted.clip, wanted.frames)),
    ]
    runs = read_learning(processed, list(wanted.models), wanted.seeds)
    if runs:
        sections.append(learning.section(dataset, runs))
    if records:
        sections.append(robustness.section(dataset, records, synthetic))
    asked = ask(processed, wanted.models, wanted.seeds[0], wanted.asked, wanted.device) if runs else []
    optional = [
        differences.section(dataset, compared(processed, records)),
        calibration.section(dataset, records),
        protocols.section(dataset, records),
        clips_section(dataset, processed, clips, records),
        posts_section(dataset, processed, clips, records, asked),
        inside.section(dataset, asked) if asked else None,
        published.section(dataset, records),
    ]
    sections += [section for section in optional if section is not None]
    _write(out, sections)
    return sections


def is_synthetic(raw: Path) -> bool:
    """Whether the data say of themselves that no one recorded them."""
    readme = raw / "README.txt"
    return raw.name == "demo" or (readme.is_file() and "synthetic" in readme.read_text(encoding="utf-8").lower())


def read_records(processed: Path, models: Sequence[str]) -> list[Scores]:
    """scores/<model>.json of the models, those that were judged."""
    files = [processed / "scores" / f"{model}.json" for model in models]
    return [read_scores(file) for file in files if file.is_file()]


def compared(processed: Path, records: Sequence[Scores]) -> list[Table]:
    """The models of each task side by side."""
    groups = robustness.by_task(records)
    paths = [[processed / "scores" / f"{record.model}.json" for record in group] for group in groups]
    return [table for group in paths for table in compare(group)]


def read_rejects(processed: Path) -> list[Reject]:
    """What `prepare` refused and what the extractors found nothing in."""
    files = [processed / "rejects.csv", *sorted((processed / "features").glob("*.rejects.csv"))]
    rejects = []
    for file in files:
        if not file.is_file():
            raise MalformedInput(f"{file}: expected the list of what was refused, found none (run `dvc repro prepare`)")
        remedy = "delete it and run `dvc repro` of its stage"
        with (
            reading(file, "the list of what was refused", remedy),
            file.open(encoding="utf-8-sig", newline="") as lines,
        ):
            rejects += [Reject(row["id"], row["file"], row["reason"], row["stage"]) for row in csv.DictReader(lines)]
    return rejects


def measure(processed: Path, clips: Sequence[Clip]) -> list[Measured]:
    """How much of every clip each features file holds, without reading the values."""
    has_media = any(clip.path is not None for clip in clips)
    return [_measured(file, has_media) for file in sorted((processed / "features").glob("*.h5"))]


def _measured(path: Path, has_media: bool) -> Measured:
    with FeatureFile(path) as features:
        origin, frames = features.origin, features.lengths()
    with h5py.File(path, "r") as file:
        seen, times, offsets = file["seen"][:], file["times"][:], file["offsets"][:]
    counted = np.concatenate([[0], np.cumsum(seen)])
    seconds = None
    if has_media and origin.modality in ("audio", "vision"):
        seconds = np.where(frames > 0, times[np.maximum(offsets[1:] - 1, 0)] if len(times) else 0.0, 0.0)
    return Measured(
        extractor=path.stem,
        modality=origin.modality,
        columns=len(origin.columns),
        settings=origin.settings,
        frames=frames,
        seen=np.diff(counted[offsets]),
        seconds=seconds,
    )


def read_learning(processed: Path, models: Sequence[str], seeds: Sequence[int]) -> dict[str, list[Learning]]:
    """The histories of all runs that were finished, by model."""
    runs: dict[str, list[Learning]] = {}
    for model in models:
        for seed in seeds:
            folder = processed / "models" / model / str(seed)
            if (folder / "history.csv").is_file():
                runs.setdefault(model, []).append(_learning(folder, seed))
    return runs


def _learning(folder: Path, seed: int) -> Learning:
    remedy = "delete it and run `dvc repro train`"
    with reading(folder / "history.csv", "the history of a training run", remedy):
        table = pd.read_csv(folder / "history.csv")
    weights = sum(math.prod(shape) for shape in shapes_of(folder / checkpoint.WEIGHTS, remedy).values())
    history = {str(name): table[name].to_numpy() for name in table.columns}
    return Learning(seed, history, checkpoint.read_card(folder).best_epoch, weights)


def _write(out: Path, sections: Sequence[Section]) -> None:
    if out.is_dir():
        shutil.rmtree(out)  # figures of an earlier run, of models that are gone
    out.mkdir(parents=True)
    for section in sections:
        for picture in section.pictures:
            (out / f"{picture.name}.svg").write_bytes(picture.svg)
            (out / f"{picture.name}.png").write_bytes(picture.png)
            (out / f"{picture.name}.pdf").write_bytes(picture.pdf)
    with replacing(out / FRAGMENT) as temporary:
        temporary.write_text("".join(section.html() for section in sections), encoding="utf-8")
