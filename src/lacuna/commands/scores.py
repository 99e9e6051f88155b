"""A model's scores as a table. In: a record of scores, a metric. Out: title, head and rows, for `lacuna scores`."""

from __future__ import annotations

from lacuna.evaluate.scores import Scores
from lacuna.types import MalformedInput


def table(record: Scores, metric: str = "") -> tuple[str, list[str], list[list[str]]]:
    """Baselines, then patterns by missing rate; of one metric, or (none named) of the task's main ones."""
    usual = ["mae", "corr", "acc2" if record.scale == "sims" else "has0_acc2"]
    names = [metric] if metric else (usual if record.task == "regression" else ["accuracy", "macro_f1"])
    chosen = "chosen on validation" if record.protocol == "validation" else "SELECTED ON TEST, one checkpoint a metric"
    title = f"{record.dataset}: {record.model} on {record.clips['test']} test clips, {chosen}"
    rows = [[name, "-", *(_number(values.get(n)) for n in names)] for name, values in record.baselines.items()]
    for pattern, levels in record.patterns.items():
        for level, values in levels.items():
            if any(n not in values for n in names):
                raise MalformedInput(f"{metric}: expected one of {', '.join(values)}")
            rows.append([pattern, level, *(_number(values[n]["mean"]) for n in names)])
    return title, ["pattern", "missing", *names], rows


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
