"""Models side by side. In: scores/<model>.json files, the predictions (.npz) beside them. Out: tables, tests, LaTeX.

Every model of a data set was asked under the same losses, so tests are paired by clip: a bootstrap of the difference of
mean errors over all rates, seeds and draws, and McNemar's test of right answers when nothing is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from lacuna.evaluate import metrics
from lacuna.evaluate.names import SHORT, is_rate, main_metrics, metric
from lacuna.evaluate.published import PUBLISHED
from lacuna.evaluate.scores import REMEDY, Means, Scores, read_scores
from lacuna.storage.files import reading
from lacuna.types import MalformedInput

BASELINE = "ridge"  # the model that should stand in every table
DRAWS = 2000
SURE = 0.05  # below which a corrected p says that two models differ
DIFFERENCES = ["First", "Second", "Errs less", "Difference", "95 % interval", "p", "p, corrected", "p, nothing lost"]
VALID, TEST = "validation-selected", "test-selected, one checkpoint per metric"


@dataclass(frozen=True)
class Row:
    """One model: what chose its checkpoint, {metric: (mean, std)} with nothing lost (std None of a
    single seed), {metric: mean over the rates}; and whether it is not clearly worse than the best of the table."""

    name: str
    chosen: str
    complete: dict[str, tuple[float | None, float | None]]
    over: dict[str, float | None]
    published: bool = False
    rivals_best: bool = False


@dataclass(frozen=True)
class Verdict:
    """How two models differ: mean error of `ours` minus that of `other` over all rates, its 95 % interval and p, over
    clips and training seeds; McNemar's p of right answers with nothing lost; and p corrected for the number of pairs in
    the table (Holm)."""

    ours: str
    other: str
    difference: float
    low: float
    high: float
    p: float
    mcnemar: float
    adjusted: float = 1.0


@dataclass(frozen=True)
class Table:
    """One data set under one pattern."""

    dataset: str
    pattern: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Judged:
    """scores/<model>.json and .npz as read."""

    path: Path
    record: Scores
    arrays: dict[str, np.ndarray]

    @property
    def model(self) -> str:
        return self.record.model


def compare(paths: Sequence[Path], wanted: Sequence[str] = ()) -> list[Table]:
    """A table per data set and pattern, the best model first; every pair of models is tested.

    `paths`: files scores/<model>.json, or folders processed/<dataset>. `wanted`: metrics; none: the main ones.
    """
    judged = sorted((read(path) for path in files_of(paths)), key=lambda one: one.record.dataset)
    if not judged:
        raise MalformedInput("compare: expected files such as processed/demo/scores/lnln.json, got none")
    tables = []
    for dataset, members in groupby(judged, key=lambda one: one.record.dataset):
        group = list(members)
        _check_same(group)
        chosen = tuple(wanted) or main_metrics(group[0].record.task, group[0].record.scale)
        patterns = dict.fromkeys(p for one in group for p in one.record.patterns)
        tables += [_table(dataset, pattern, group, chosen) for pattern in patterns]
    return tables


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files of scores among paths, and in folders such as processed/<dataset>."""
    return [f for path in map(Path, paths) for f in (sorted(path.glob("scores/*.json")) if path.is_dir() else [path])]


def read(path: Path) -> Judged:
    """One model's scores and predictions."""
    path = Path(path)
    if path.suffix != ".json" or not path.is_file():
        raise MalformedInput(f"{path}: expected scores/<model>.json, as `dvc repro evaluate` writes it")
    record, arrays = read_scores(path), path.with_suffix(".npz")
    if not arrays.is_file():
        raise MalformedInput(f"{arrays}: expected the predictions beside {path.name}, found none")
    with reading(arrays, "a model's predictions", REMEDY), np.load(arrays, allow_pickle=False) as file:
        return Judged(path, record, dict(file))


def _check_same(group: Sequence[Judged]) -> None:
    """Paired tests need the same clips, asked under the same losses."""
    first = group[0]
    for other in group[1:]:
        for what, same in (
            ("task", first.record.task == other.record.task),
            ("test clips", np.array_equal(first.arrays["ids"], other.arrays["ids"])),
            ("labels", np.array_equal(first.arrays["labels"], other.arrays["labels"], equal_nan=True)),
        ):
            if not same:
                raise MalformedInput(f"{other.path}: expected the {what} of {first.path}, got others")


def _table(dataset: str, pattern: str, group: Sequence[Judged], chosen: tuple[str, ...]) -> Table:
    having = [one for one in group if pattern in one.record.patterns]
    pairs = [(a, b) for i, a in enumerate(having) for b in having[i + 1 :]]
    verdicts = [v for a, b in pairs if (v := _verdict(a, b, pattern)) is not None]
    corrected = metrics.holm([verdict.p for verdict in verdicts])
    verdicts = [replace(verdict, adjusted=p) for verdict, p in zip(verdicts, corrected)]
    rows = ranked([_row(one, pattern, chosen) for one in having], verdicts, chosen[0])
    if pattern in ("frames", "legacy"):
        rows += [_published(row, chosen) for row in PUBLISHED.get(dataset, ())]
    return Table(dataset, pattern, chosen, tuple(rows), tuple(verdicts))


def ranked(rows: Sequence[Row], verdicts: Sequence[Verdict], leading: str) -> list[Row]:
    """The best first, by the mean of the `leading` metric over rates, what was selected on test last. Rows that no
    corrected test finds worse than the best are marked."""
    sign = 1 if metrics.lower_is_better(leading) else -1

    def place(row: Row) -> tuple[bool, float]:
        value = row.over.get(leading)
        return row.chosen != VALID, float("inf") if value is None else sign * value

    rows = sorted(rows, key=place)
    worse = {_worse(v) for v in verdicts if v.adjusted < SURE and rows[0].name == _better(v)}
    return [replace(row, rivals_best=row.chosen == rows[0].chosen and row.name not in worse) for row in rows]


def _better(verdict: Verdict) -> str:
    return verdict.ours if verdict.difference < 0 else verdict.other


def _worse(verdict: Verdict) -> str:
    return verdict.other if verdict.difference < 0 else verdict.ours


def _row(one: Judged, pattern: str, chosen: tuple[str, ...]) -> Row:
    levels = one.record.patterns[pattern]
    complete: Means = next((scores for level, scores in levels.items() if is_rate(level) and not float(level)), {})
    known = next(iter(levels.values()))
    for key in chosen:
        if key not in known:
            raise MalformedInput(f"{one.path}: expected a metric among {', '.join(known)}, got {key!r}")
    several = len(one.record.seeds["train"]) > 1  # of one run there is no deviation
    at_zero = {
        key: (complete[key]["mean"], complete[key]["std"] if several else None) for key in chosen if key in complete
    }
    over = one.record.over_rates.get(pattern, {})
    means = {key: (over.get(key) or {}).get("mean") for key in chosen}
    return Row(one.model, VALID if one.record.protocol == "validation" else TEST, at_zero, means)


def _published(row: tuple, chosen: tuple[str, ...]) -> Row:
    name, how, on, values = row
    told = {key: values.get(key) for key in chosen}
    if on == "nothing lost":
        return Row(f"{name}, published", how, {k: (v, None) for k, v in told.items()}, {}, True)
    return Row(f"{name}, published", how, {}, told, True)


def _verdict(ours: Judged, other: Judged, pattern: str) -> Verdict | None:
    keys = [k for k in _keys(ours, pattern) if k in other.arrays]
    if not keys:
        return None  # trained with other seeds: nothing is paired
    told = metrics.paired_bootstrap(_by_seed(ours, keys), _by_seed(other, keys), draws=DRAWS)
    first = [key for key in keys if not float(key.split("/")[1])]
    right = [np.mean([_right(one, key) for key in first], axis=0) > 0.5 for one in (ours, other)] if first else None
    p = metrics.mcnemar(*right)["p"] if right else float("nan")
    return Verdict(ours.model, other.model, told["difference"], told["low"], told["high"], told["p"], p)


def _keys(one: Judged, pattern: str) -> list[str]:
    """Predictions of a pattern at missing rates: <pattern>/<rate>/<mask seed>/<training seed>/prediction."""
    parts = ((key, key.split("/")) for key in one.arrays)
    return [k for k, p in parts if len(p) == 5 and p[0] == pattern and p[4] == "prediction" and is_rate(p[1])]


def _by_seed(one: Judged, keys: Sequence[str]) -> np.ndarray:
    """(training seeds, N) errors, means over rates and mask seeds."""
    groups: dict[str, list[np.ndarray]] = {}
    for key in keys:
        groups.setdefault(key.split("/")[3], []).append(_errors(one, key))
    return np.stack([np.mean(members, axis=0) for members in groups.values()])


def _errors(one: Judged, key: str) -> np.ndarray:
    """(N,) absolute errors, or 0 and 1 for classes; labelled clips only."""
    told, labels = one.arrays[key], one.arrays["labels"]
    known = np.isfinite(labels)
    if told.ndim == 2:
        return (told.argmax(1) != labels)[known].astype(float)
    return np.abs(told - labels)[known]


def _right(one: Judged, key: str) -> np.ndarray:
    """(N,) bool: the right class, or the right side of zero (negative or not)."""
    told, labels = one.arrays[key], one.arrays["labels"]
    known = np.isfinite(labels)
    return ((told.argmax(1) == labels) if told.ndim == 2 else ((told >= 0) == (labels >= 0)))[known]


def cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table as words: two rows a model, the best first, † where none is clearly better."""
    rows = []
    for row in table.rows:
        at_zero = [_told(*row.complete.get(key, (None, None))) for key in table.metrics]
        mark = " †" if row.rivals_best and table.verdicts else ""
        rows.append([_named(row) + mark, "nothing", *at_zero])
        rows.append(["", "all rates", *(_told(row.over.get(key)) for key in table.metrics)])
    return ["Model", "Lost", *(metric(key, SHORT) for key in table.metrics)], rows


def _named(row: Row) -> str:
    """A model's name, and what chose its checkpoint where that was not our own validation split."""
    return f"{row.name} ({row.chosen})" if row.published or row.chosen != VALID else row.name


def differences(table: Table, every: bool = True) -> list[list[str]]:
    """Rows under DIFFERENCES as words, one a pair of models; of the pairs with the best model alone if not `every`."""
    marks = {row.name: "" if row.chosen == VALID else " (selected on test)" for row in table.rows}
    best = table.rows[0].name
    return [
        [
            verdict.ours + marks[verdict.ours],
            verdict.other + marks[verdict.other],
            _better(verdict) if verdict.adjusted < SURE else "not clear",
            f"{verdict.difference:+.3f}",
            f"{verdict.low:+.3f} to {verdict.high:+.3f}",
            f"{verdict.p:.2g}",
            f"{verdict.adjusted:.2g}",
            "–" if math.isnan(verdict.mcnemar) else f"{verdict.mcnemar:.2g}",
        ]
        for verdict in table.verdicts
        if every or best in (verdict.ours, verdict.other)
    ]


def latex(tables: Sequence[Table]) -> str:
    r"""The tables for a paper (package booktabs): the best of ours in bold, published numbers apart.

    A dagger marks models that no paired test, corrected for the number of pairs, finds worse than the best. What was
    selected on test does not compete with what was not.
    """
    return "\n".join(_latex(table) for table in tables)


def _latex(table: Table) -> str:
    ours = [row for row in table.rows if not row.published]
    ours = [row for row in ours if row.chosen == VALID] or ours
    both = ("complete", "over")
    head = " & ".join(["Model", *(f"{_escaped(metric(k, SHORT))}" for _ in both for k in table.metrics)])
    count = len(table.metrics)
    lines = [
        f"% {table.dataset}, pattern {table.pattern}; written by `lacuna compare`",
        "% dagger: no other model is clearly better (paired bootstrap over clips and seeds, corrected after Holm)",
        r"\begin{tabular}{l" + "r" * (2 * count) + "}",
        r"\toprule",
        rf" & \multicolumn{{{count}}}{{c}}{{nothing lost}} & \multicolumn{{{count}}}{{c}}{{mean over rates}} \\",
        rf"\cmidrule(lr){{2-{count + 1}}} \cmidrule(lr){{{count + 2}-{2 * count + 1}}}",
        head + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        if row.published and not (lines[-1] == r"\midrule" or any("published" in line for line in lines)):
            lines.append(r"\midrule")
        values = [_number(row, part, key, ours) for part in both for key in table.metrics]
        mark = r"$^\dagger$" if row.rivals_best and len(ours) > 1 else ""
        lines.append(" & ".join([_escaped(_named(row)) + mark, *values]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _number(row: Row, part: str, key: str, ours: Sequence[Row]) -> str:
    mean, std = _value(row, part, key)
    if mean is None:
        return "--"
    text = f"{mean:.3f}" + (rf" $\pm$ {std:.3f}" if std is not None else "")
    rivals = [v for other in ours if (v := _value(other, part, key)[0]) is not None]
    best = (min if metrics.lower_is_better(key) else max)(rivals, default=None)
    return rf"\textbf{{{text}}}" if row in ours and len(rivals) > 1 and mean == best else text


def _value(row: Row, part: str, key: str) -> tuple[float | None, float | None]:
    return row.complete.get(key, (None, None)) if part == "complete" else (row.over.get(key), None)


def _told(mean: float | None, std: float | None = None) -> str:
    return "–" if mean is None else f"{mean:.3f}" + (f" ± {std:.3f}" if std is not None else "")


def _escaped(text: str) -> str:
    return "".join({"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#"}.get(letter, letter) for letter in text)
