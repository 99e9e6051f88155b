"""A small project in which every stage has run once. In: an empty folder. Out: raw/, processed/, and what DVC needs."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml
from builders import stage

from lacuna import demo
from lacuna.params import load_params

ROOT = Path(__file__).parents[1]
DATASET, CLIPS = "small", 12
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def settings(**changes: object) -> dict:
    """The project's own params.yaml on few clips, in seconds."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["datasets"], values["workers"], values["models"] = [DATASET], 1, ["lnln"]
    values["export"]["incomplete"] = [{"pattern": p, "level": 0.3, "seed": 1} for p in ("frames", "modality")]
    values["mask"] |= {"rates": [0.0, 0.5], "seeds": [1]}
    values["train"]["lnln"]["training"] = {"epochs": 2, "batch_size": 4}
    values["evaluate"]["bootstrap"] = 20
    return values | changes


def changed(values: dict, key: str, value: object) -> dict:
    """The params with another value of `<section>.<name>` or `<name>`."""
    section, _, name = key.partition(".")
    return values | {section: {**values[section], name: value} if name else value}


def runs(values: dict) -> Iterator[tuple[str, dict[str, str]]]:
    """(stage, item) of every run that dvc.yaml makes of these params, in its order, which is one that works."""
    for name, told in STAGES.items():
        matrix = {key: _looked_up(values, entry) for key, entry in told.get("matrix", {}).items()}
        for words in itertools.product(*matrix.values()):
            yield name, dict(zip(matrix, map(str, words)))


def paths(name: str, item: dict[str, str], kind: str) -> list[str]:
    """The deps or outs of a run."""
    entries = STAGES[name].get(kind, []) + (STAGES[name].get("metrics", []) if kind == "outs" else [])
    entries += STAGES[name].get("plots", []) if kind == "outs" else []
    names = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
    for key, value in item.items():
        names = [path.replace(f"${{item.{key}}}", value) for path in names]
    return names


def _looked_up(values: dict, entry: str) -> list:
    for key in entry.strip("${}").split("."):
        values = values.get(key) or {}
    return list(values)


def build(folder: Path) -> None:
    """Make the clips and run every stage once in `folder`, the current one, with one worker."""
    for name in ("pipeline", "dvc.yaml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / "params.yaml").write_text(yaml.safe_dump(settings()), encoding="utf-8")
    demo.make(Path("raw", DATASET), demo.Settings(clips=CLIPS, seconds=1.2, size=128))
    for name, item in runs(settings()):
        stage(name, *item.values())


def extract_all() -> None:
    """Stages prepare and extract in the current folder."""
    stage("source")
    stage("prepare", DATASET)
    stage("transcribe", DATASET)
    for extractor in load_params().extract.extractors:
        stage("extract", DATASET, extractor)


def results(folder: Path) -> dict[str, bytes]:
    """What must be equal from run to run, by path."""
    files = (p for p in sorted(folder.rglob("*")) if p.suffix in {".h5", ".pkl", ".jsonl", ".csv"})
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}
