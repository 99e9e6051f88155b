"""The section on protocols: answers corrected for what was lost, stated variances, and the field's indices.

In: the records of scores/<model>.json. Out: a `Section`, None where the records hold none of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from lacuna.evaluate.names import is_by_modality, is_rate, label, main_metrics, metric, subset
from lacuna.evaluate.scores import Scores
from lacuna.figures.html import Cell, Section, details, heading, paragraph, table

INDICES = {
    "lnln_mean": "Mean over 0 … 90 % (LNLN)",
    "emt_area": "Area over 0 … 100 % (EMT-DLFR)",
    "imbalanced_mean": "Mean over rates by modality",
    "equity": "Evenness of modalities",
}


def section(dataset: str, records: Sequence[Scores]) -> Section | None:
    """Tables alone: the curves stand in the section on robustness."""
    parts = [_corrected(records), _imbalanced(records), _indices(records), _covered(records)]
    if not any(parts):
        return None
    return Section(f"{dataset}-protocols", "Corrected answers, intervals and indices", "".join(parts))


def _corrected(records: Sequence[Scores]) -> str:
    """Mean of the leading metrics over rates, as answered and corrected."""
    rows: list[list[Cell]] = []
    for record in records:
        told = record.calibrated
        for name in told.patterns:
            for key in main_metrics(record.task, record.scale):
                plain, moved = (r.over_rates.get(name, {}).get(key) or {} for r in (record, told))
                rows.append([label(record), name, metric(key), plain.get("mean"), moved.get("mean")])
    if not rows:
        return ""
    words = (
        "Answers may be moved toward the mean of validation by the share that was lost, by as much as is best on the "
        "validation split under the same losses. Means over the missing rates, without and with that correction."
    )
    head = ["Model", "Pattern", "Metric", "As answered", "Corrected"]
    return heading("Answers corrected for what was lost") + paragraph(words) + table(head, rows, 3)


def _imbalanced(records: Sequence[Scores]) -> str:
    rows: list[list[Cell]] = [
        [label(record), name, subset(level), *((scores.get(key) or {}).get("mean") for key in keys)]
        for record in records
        for keys in [main_metrics(record.task, record.scale)]
        for name, levels in record.patterns.items()
        for level, scores in levels.items()
        if is_by_modality(level)
    ]
    if not rows:
        return ""
    keys = main_metrics(records[0].task, records[0].scale)
    return heading("A missing rate for each modality") + table(
        ["Model", "Pattern", "Lost", *map(metric, keys)], rows, 3
    )


def _indices(records: Sequence[Scores]) -> str:
    rows: list[list[Cell]] = []
    for record in records:
        key = main_metrics(record.task, record.scale)[0]
        for name, found in record.indices.items():
            values = [(found.get(key) or {}).get(index) for index in INDICES]
            if any(value is not None for value in values):
                rows.append([label(record), name, metric(key), *values])
    if not rows:
        return ""
    words = (
        "Numbers that papers quote, by the name of who quotes them. Evenness is 1 where all modalities add alike "
        "to what is left, and 0 where one contributes all (after MissBench's modality equity index)."
    )
    told = paragraph(words) + table(["Model", "Pattern", "Metric", *INDICES.values()], rows, 3)
    return details("Table: indices of the field", told)


def _covered(records: Sequence[Scores]) -> str:
    rows: list[list[Cell]] = [
        [label(record), name, f"{100 * float(level):.0f} %", f"{100 * float(nominal):.0f} %", *told.values()]
        for record in records
        for name, levels in record.coverage.items()
        for level, nominals in levels.items()
        for nominal, told in nominals.items()
        if is_rate(level)
    ]
    if not rows:
        return ""
    words = (
        "Some models state a variance with each score. An interval that promises 90 % should hold the truth in 90 % of "
        "clips: as stated, and scaled on the validation split (split conformal prediction), with its mean width."
    )
    head = ["Model", "Pattern", "Lost", "Promised", "Held as stated", "Held when scaled", "Width"]
    return heading("Intervals of scores") + details(
        "Table: coverage of intervals", paragraph(words) + table(head, rows, 4)
    )
