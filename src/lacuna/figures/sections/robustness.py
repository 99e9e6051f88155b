"""The section on robustness. In: the records of scores/<model>.json. Out: curves, bars and tables in a `Section`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from matplotlib.axes import Axes

from lacuna.evaluate.metrics import lower_is_better
from lacuna.evaluate.names import (
    BASELINES,
    TASKS,
    is_by_modality,
    is_rate,
    label,
    main_metrics,
    metric,
    pattern,
    subset,
)
from lacuna.evaluate.scores import Scores
from lacuna.figures.drawing import MUTED, Picture, colours, drawing, legend
from lacuna.figures.html import Cell, Section, details, grid, heading, note, paragraph, table
from lacuna.types import counted

SIZE = (4.6, 3.1)
LINES = {"majority": ":", "text_linear": (0, (5, 2))}


def section(dataset: str, records: Sequence[Scores], synthetic: bool = False) -> Section:
    """How far each metric falls as more of the test clips is lost; models of one task share their figures."""
    seeds = records[0].seeds
    body = paragraph(
        f"Parts of the {records[0].clips['test']} test clips are taken away and the models are asked again. All "
        f"models see the same losses. Lines are means over {counted(len(seeds['train']), 'training seed')} "
        f"and {counted(len(seeds['mask']), 'draw')} of the loss, bands one standard deviation over them, and thin bars "
        "the bootstrap 95 % interval: how far the score would move with other test clips. Grey lines need no robust "
        "model: dotted, to always give the same answer; dashed, a linear model of the complete words."
    )
    for remark in dict.fromkeys(words for record in records for words in record.notes):
        body += note(f"Scores under loss are too good: {remark}.")
    if synthetic:
        body += note("These are scores on synthetic data: they show that the way works, not how well people are read.")
    if any(record.protocol != "validation" for record in records):
        body += note(
            "Models marked “selected on test” are told with one checkpoint a metric, each the best of its run on the "
            "test clips themselves (protocol “paper”): these scores are too good."
        )
    pictures: list[Picture] = []
    groups = by_task(records)
    for group in groups:
        if len(groups) > 1:
            words = f"{TASKS[group[0].task]}: {', '.join(label(record) for record in group)}"
            body += f'<h4 class="group">{escape(words)}</h4>\n'
        told, drawn = _group(group)
        body, pictures = body + told, pictures + drawn
    return Section(f"{dataset}-robustness", "Robustness", body, tuple(pictures))


def by_task(records: Sequence[Scores]) -> list[list[Scores]]:
    """Records whose scores can be drawn on the same axes."""
    groups: dict[object, list[Scores]] = {}
    for record in records:
        groups.setdefault((record.task, record.scale), []).append(record)
    return list(groups.values())


def _group(records: Sequence[Scores]) -> tuple[str, list[Picture]]:
    """Figures and tables of models with one task."""
    metrics = main_metrics(records[0].task, records[0].scale)
    body, pictures = "", []
    for name in _patterns(records):
        drawn = [p for key in metrics if (p := curve(records, name, key))]
        bars = [p for key in metrics[:2] if (p := _bars(records, name, key))]
        pictures += drawn + bars
        body += heading(f"Pattern “{name}”: {pattern(name)}") + grid(drawn) + _rates(records, name, metrics)
        if bars:
            told = "Only the named modalities are left; the others are gone from every clip."
            body += paragraph(told) + grid(bars) + _subsets(records, name, metrics)
    return body + _every(records), pictures


def _patterns(records: Sequence[Scores]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record.patterns))


def curve(records: Sequence[Scores], name: str, key: str) -> Picture | None:
    """One metric against the missing rate, a line a model; None where it is nowhere defined."""
    paint = colours([label(r) for r in records])
    direction = "lower is better" if lower_is_better(key) else "higher is better"
    title = f"{metric(key)} against the missing rate, {name}"
    with drawing(f"robustness-{name}-{key}", title, f"{direction.capitalize()}.", SIZE) as drawn:
        axes, any_drawn = drawn.axes(), False
        for i, record in enumerate(records):
            points = _points(record, name, key)
            if points:
                any_drawn = True
                _line(axes, points, label(record), paint[label(record)], (i - (len(records) - 1) / 2) * 0.9)
        if not any_drawn:
            return None
        for baseline, style in LINES.items() if key != "ece" else ():  # a vote is always sure of itself
            value = records[0].baselines.get(baseline, {}).get(key)
            if value is not None:
                axes.axhline(value, color=MUTED, linestyle=style, linewidth=1.2, label=BASELINES[baseline])
        axes.set_xlabel("missing rate, %")
        axes.set_ylabel(f"{metric(key)}\n({direction})")
        legend(axes, 2)
    return drawn.picture


def _points(record: Scores, name: str, key: str) -> list[tuple[float, float, float, list[float] | None]]:
    """(rate in %, mean, std, [low, high]) at each rate at which the metric is defined."""
    levels = record.patterns.get(name, {})
    bounds = record.intervals.get(name, {})
    points = []
    for level, scores in levels.items():
        value = scores.get(key)
        if is_rate(level) and value and value["mean"] is not None:
            points.append((100 * float(level), value["mean"], value["std"] or 0.0, bounds.get(level, {}).get(key)))
    return sorted(points, key=lambda point: point[0])


def _line(
    axes: Axes, points: list[tuple[float, float, float, list[float] | None]], label: str, paint: str, shift: float
) -> None:
    rates, means, spreads, bounds = map(list, zip(*points))
    axes.plot(rates, means, "o-", color=paint, label=label, markersize=3.5)
    low, high = [m - s for m, s in zip(means, spreads)], [m + s for m, s in zip(means, spreads)]
    axes.fill_between(rates, low, high, color=paint, alpha=0.18, linewidth=0)
    for rate, bound in zip(rates, bounds):
        if bound:
            axes.vlines(rate + shift, bound[0], bound[1], color=paint, alpha=0.55, linewidth=0.9)


def _bars(records: Sequence[Scores], name: str, key: str) -> Picture | None:
    levels = _subset_levels(records, name)
    if not levels or all(_mean(r, name, level, key) is None for r in records for level in levels):
        return None
    paint = colours([label(r) for r in records])
    direction = "lower is better" if lower_is_better(key) else "higher is better"
    size = (4.6, max(2.6, 0.9 + 0.16 * len(levels) * (len(records) + 1)))
    caption = (
        "What is left of the clip, and the score with it; whiskers: one standard deviation; dotted: always the same "
        f"answer. {direction.capitalize()}."
    )
    with drawing(f"subsets-{name}-{key}", f"{metric(key)} by what is left", caption, size) as drawn:
        axes, thick = drawn.axes(), 0.82 / len(records)
        for i, record in enumerate(records):
            values = [_mean(record, name, level, key) for level in levels]
            spread = [(record.patterns[name].get(level, {}).get(key) or {}).get("std") or 0 for level in levels]
            places = [k + (i - (len(records) - 1) / 2) * thick for k in range(len(levels))]
            model, whiskers = label(record), {"elinewidth": 0.9, "ecolor": "#333333"}
            axes.barh(
                places, [v or 0 for v in values], thick * 0.92, xerr=spread, color=paint[model], label=model,
                error_kw=whiskers,
            )  # fmt: skip
        value = records[0].baselines.get("majority", {}).get(key)
        if value is not None:
            axes.axvline(value, color=MUTED, linestyle=":", linewidth=1.2)
        axes.set_yticks(range(len(levels)), [subset(level) for level in levels])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel(metric(key))
        legend(axes, 2)
    return drawn.picture


def _subset_levels(records: Sequence[Scores], name: str) -> list[str]:
    """Named subsets, the fullest first."""
    named = (v for r in records for v in r.patterns.get(name, {}) if not is_rate(v) and not is_by_modality(v))
    levels = dict.fromkeys(named)
    return sorted(levels, key=lambda level: -level.count("+"))


def _mean(record: Scores, name: str, level: str, key: str) -> float | None:
    return (record.patterns.get(name, {}).get(level, {}).get(key) or {}).get("mean")


def _told(value: Mapping[str, float | None] | None) -> str:
    if not value or value["mean"] is None:
        return "–"
    return f"{value['mean']:.3f}" + (f" ± {value['std']:.3f}" if value["std"] is not None else "")


def _rates(records: Sequence[Scores], name: str, keys: Sequence[str]) -> str:
    """Model × rate × metric, with the mean over rates and the area under the curve."""
    rates = list(dict.fromkeys(v for r in records for v in r.patterns.get(name, {}) if is_rate(v)))
    if not rates:
        return ""
    rows: list[list[Cell]] = []
    classes: list[str] = []
    for key in keys:
        for baseline, told in records[0].baselines.items():
            value = told.get(key)
            rows.append([metric(key), BASELINES.get(baseline, baseline), value, *([""] * (len(rates) + 1))])
            classes.append("quiet")
        for record in records:
            scores = record.patterns.get(name, {})
            over = record.over_rates.get(name, {}).get(key) or {}
            cells = [_told(scores.get(rate, {}).get(key)) for rate in rates]
            rows.append([metric(key), label(record), *cells, over.get("mean"), over.get("auilc")])
            classes.append("")
    head = ["Metric", "Model", *(f"{100 * float(rate):.0f} % lost" for rate in rates), "Mean", "Area"]
    return details(f"Table: model × missing rate × metric, pattern “{name}”", table(head, rows, 2, classes))


def _subsets(records: Sequence[Scores], name: str, keys: Sequence[str]) -> str:
    levels = _subset_levels(records, name)
    rows = [
        [subset(level), label(r), *(_told(r.patterns.get(name, {}).get(level, {}).get(k)) for k in keys)]
        for level in levels
        for r in records
    ]
    return details("Table: scores by what is left", table(["Left", "Model", *map(metric, keys)], rows, 2))


def _every(records: Sequence[Scores]) -> str:
    """All metrics on complete clips, those of MMSA included."""
    name = _patterns(records)[0] if _patterns(records) else ""
    complete = [
        (r, scores)
        for r in records
        if (scores := next((s for v, s in r.patterns.get(name, {}).items() if is_rate(v) and not float(v)), None))
    ]
    if not complete:
        return ""
    keys = list(dict.fromkeys(key for _, scores in complete for key in scores))
    rows: list[list[Cell]] = [[metric(key), *(_told(scores.get(key)) for _, scores in complete)] for key in keys]
    baselines = complete[0][0].baselines
    for row, key in zip(rows, keys):
        row += [told.get(key) for told in baselines.values()]
    head = ["Metric", *(label(record) for record, _ in complete), *(BASELINES.get(b, b) for b in baselines)]
    told = paragraph("Names with “as MMSA counts” are what that package prints where it differs from the correct form.")
    return details("Table: every metric, nothing lost", told + table(head, rows))
