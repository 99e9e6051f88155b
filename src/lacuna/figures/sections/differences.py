"""The section on differences between models. In: tables of `comparing`. Out: a `Section`, None with one model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lacuna.evaluate.compare import SURE, VALID, Table, Verdict
from lacuna.evaluate.names import pattern
from lacuna.figures.html import Cell, Section, details, heading, paragraph, table

HEAD = ["First", "Second", "Errs less", "Difference", "95 % interval", "p", "p, corrected", "p, nothing lost"]


def section(dataset: str, tables: Sequence[Table]) -> Section | None:
    """Each pair of models of one task under each pattern."""
    by_pattern: dict[str, list[list[Cell]]] = {}
    for one in tables:
        marks = {row.name: "" if row.chosen == VALID else " (selected on test)" for row in one.rows}
        by_pattern.setdefault(one.pattern, []).extend(_cells(verdict, marks) for verdict in one.verdicts)
    told = {name: table(HEAD, rows, 3) for name, rows in by_pattern.items() if rows}
    if not told:
        return None
    body = paragraph(
        "Whether two models really differ, or only on these test clips: the mean error of the first minus that of the "
        "second over all missing rates, clip by clip and seed by seed (paired bootstrap), and McNemar's test of their "
        "right answers when nothing is lost. The corrected p (Holm) allows for the number of pairs: below .05 a "
        "difference is unlikely to be chance however many models are compared."
    )
    for i, (name, rows) in enumerate(told.items()):
        title = f"Pattern “{name}”: {pattern(name)}"
        body += details(title, rows) if i else heading(title) + rows
    return Section(f"{dataset}-differences", "Differences between models", body)


def _cells(verdict: Verdict, marks: Mapping[str, str]) -> list[Cell]:
    better = verdict.ours if verdict.difference < 0 else verdict.other
    return [
        verdict.ours + marks[verdict.ours],
        verdict.other + marks[verdict.other],
        better if verdict.adjusted < SURE else "not clear",
        f"{verdict.difference:+.3f}",
        f"{verdict.low:+.3f} to {verdict.high:+.3f}",
        f"{verdict.p:.2g}",
        f"{verdict.adjusted:.2g}",
        None if math.isnan(verdict.mcnemar) else f"{verdict.mcnemar:.2g}",
    ]
