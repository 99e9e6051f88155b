"""The section on differences between models. In: tables of `comparing`. Out: a `Section`, None with one model."""

from __future__ import annotations

from collections.abc import Sequence

from lacuna.evaluate.compare import DIFFERENCES, Table, differences
from lacuna.evaluate.names import pattern
from lacuna.figures.html import Cell, Section, details, heading, paragraph, table


def section(dataset: str, tables: Sequence[Table]) -> Section | None:
    """Each pair of models of one task under each pattern."""
    by_pattern: dict[str, list[list[Cell]]] = {}
    for one in tables:
        by_pattern.setdefault(one.pattern, []).extend(list(row) for row in differences(one))
    told = {name: table(DIFFERENCES, rows, 3) for name, rows in by_pattern.items() if rows}
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
