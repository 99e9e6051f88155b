"""The scores of one model on one data set. In and out: scores/<model>.json, as `Scores`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lacuna.params import checked
from lacuna.storage.files import read_json, replacing
from lacuna.types import MalformedInput

MAIN = {"regression": ("mae", "corr", "has0_acc2", "acc2"), "": ("accuracy", "macro_f1")}  # by task
Means = dict[str, dict[str, float | None]]  # {metric: {"mean", "std"}}; over the rates {metric: {"mean", "auilc"}}
REMEDY = "delete it and run `dvc repro evaluate`"


@dataclass(frozen=True)
class Corrected:
    """The scores of corrected answers, and how they were corrected; empty where none were."""

    how: str = "none"
    patterns: dict[str, dict[str, Means]] = field(default_factory=dict)
    over_rates: dict[str, Means] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the file holds, in its order; what older files lack is empty. Levels are keys such as "0.3" or "text"."""

    dataset: str
    model: str
    protocol: str
    task: str
    scale: str
    notes: Sequence[str] = ()  # why scores are better than they should be
    clips: dict[str, int] = field(default_factory=dict)  # by split
    seeds: dict[str, Sequence[int]] = field(default_factory=dict)  # of training and of masks
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)  # {baseline: {metric: value}}
    patterns: dict[str, dict[str, Means]]  # {pattern: {level: means}}
    over_rates: dict[str, Means]  # {pattern: means}
    indices: dict[str, dict[str, dict[str, float | None]]] = field(default_factory=dict)
    learnt_under: dict[str, Any] = field(default_factory=dict)  # the pattern of training and its level
    runs: list[dict[str, Any]] = field(default_factory=list)  # each `under_loss.Run`
    intervals: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    calibration: dict[str, dict[str, Any]] = field(default_factory=dict)  # {pattern: {level: curves}}
    calibrated: Corrected = Corrected()
    coverage: dict[str, dict[str, dict[str, dict[str, float]]]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """The file, whole or not at all."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def read_scores(path: Path) -> Scores:
    """The scores in a file; MalformedInput where it holds something else."""
    record = read_json(path, REMEDY)
    if not isinstance(record, dict) or "patterns" not in record:
        raise MalformedInput(f"{path}: expected the scores of a model, got other JSON")
    return checked(Scores, record, str(path))


def main_metrics(task: str, patterns: Mapping[str, Mapping[str, Means]]) -> list[str]:
    """The metrics that papers print for a task, of those that the scores have: Acc-2 is another on each scale."""
    told = {name for levels in patterns.values() for values in levels.values() for name in values}
    return [name for name in MAIN.get(task, MAIN[""]) if name in told]
