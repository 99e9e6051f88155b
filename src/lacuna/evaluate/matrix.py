"""Which rate to learn under. In: scores of models that learnt under other losses. Out: train rate × test rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lacuna.evaluate.compare import read
from lacuna.evaluate.names import NO_RATE, is_rate


def matrix(paths: Sequence[Path], metric: str, pattern: str = "frames") -> tuple[list[str], list[list[str]]]:
    """Head and rows as words: a row a model, with the pattern and rate that it learnt under; a column a test rate, and
    the mean over them. Sorted by what was learnt under."""
    records = [read(path).record for path in paths]
    records.sort(key=lambda r: (r.learnt_under["pattern"], r.learnt_under["level"] or 0, r.model))
    rates = list(dict.fromkeys(v for r in records for v in r.patterns.get(pattern, {}) if is_rate(v)))
    rows = []
    for record in records:
        levels = record.patterns.get(pattern, {})
        values = [levels.get(rate, {}).get(metric, {}).get("mean") for rate in rates]
        over = (record.over_rates.get(pattern, {}).get(metric) or {}).get("mean")
        told = ["–" if value is None else f"{value:.3f}" for value in (*values, over)]
        rows.append([record.model, _learnt(record.learnt_under), *told])
    return ["Model", "Learnt under", *(f"{100 * float(rate):.0f} %" for rate in rates), "Mean"], rows


def _learnt(under: dict[str, object]) -> str:
    """`mixed` draws its own rates, and `none` has none."""
    named = under["pattern"] in NO_RATE
    return str(under["pattern"]) if named else f"{under['pattern']} {under['level']}"
