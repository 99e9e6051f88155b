"""All scores as tables. In: the folder processed/, a metric. Out: title, head and rows of each, for `lacuna scores`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lacuna.across.run import read_across
from lacuna.evaluate.scores import Means, main_metrics, read_scores
from lacuna.types import MalformedInput

Table = tuple[str, list[str], list[list[str]]]


def tables(processed: Path, metric: str = "") -> Iterator[Table]:
    """A table a model, then one for each dataset that it is judged on besides its own; of one metric, or (none named)
    of the task's main ones."""
    files = sorted(processed.glob("*/scores/*.json"))
    if not files:
        raise MalformedInput(f"{processed}/*/scores: expected scores, found none (run `dvc repro`)")
    for file in files:
        record = read_scores(file)
        honest = record.protocol == "validation"
        chosen = "chosen on validation" if honest else "SELECTED ON TEST, one checkpoint a metric"
        title = f"{record.dataset}: {record.model} on {record.clips['test']} test clips, {chosen}"
        names = [metric] if metric else main_metrics(record.task, record.patterns)
        rows = [[name, "-", *(_number(values.get(n)) for n in names)] for name, values in record.baselines.items()]
        yield title, ["pattern", "missing", *names], rows + _rows(record.patterns, names)
    for file in sorted(processed.glob("*/across/*.json")):
        other = read_across(file)
        title = f"{other.dataset}: {other.model} judged on {other.clips['test']} test clips of {other.judged_on}"
        names = [metric] if metric else main_metrics(other.task, other.patterns)
        yield title, ["pattern", "missing", *names], _rows(other.patterns, names)


def _rows(patterns: dict[str, dict[str, Means]], names: list[str]) -> list[list[str]]:
    """Patterns by missing rate."""
    rows = []
    for pattern, levels in patterns.items():
        for level, values in levels.items():
            for name in names:
                if name not in values:
                    raise MalformedInput(f"{name}: expected one of {', '.join(values)}")
            rows.append([pattern, level, *(_number(values[n]["mean"]) for n in names)])
    return rows


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
