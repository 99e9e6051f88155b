"""The section on calibration. In: the records of scores/<model>.json. Out: a `Section`, None where all tell scores.

A predicted score states no confidence, so there is nothing to be calibrated; classes come with probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lacuna.evaluate.names import is_rate, label, pattern
from lacuna.evaluate.scores import Scores
from lacuna.figures.drawing import MUTED, SMALL, Picture, colour, drawing, legend
from lacuna.figures.html import Section, grid, heading, paragraph
from lacuna.figures.sections.robustness import curve

SHOWN = 3  # levels of a curve: nothing lost, half way, the most


def section(dataset: str, records: Sequence[Scores]) -> Section | None:
    """Confidence against truth, and stated uncertainty against errors, of the models that tell classes."""
    records = [record for record in records if record.calibration]
    names = [n for n in dict.fromkeys(n for r in records for n in r.calibration) if _rates(records, n)]
    if not names:
        return None
    body = paragraph(
        "A model that says “80 % positive” should be right in 80 % of such cases. The expected calibration error is "
        "how far the two lie apart on average, counted for each run; the curves below take all runs together. "
        "Models that predict a score state no confidence and are not shown."
    )
    errors = [p for name in names if (p := curve(records, name, "ece"))]
    curves = [p for record in records for p in _curves(record, names[0], _rates(records, names[0]))]
    body += grid(errors) + heading(f"With more lost, pattern “{names[0]}”: {pattern(names[0])}") + grid(curves)
    return Section(f"{dataset}-calibration", "Calibration", body, (*errors, *curves))


def _rates(records: Sequence[Scores], name: str) -> list[str]:
    """The first, middle and last missing rate that was judged."""
    rates = sorted({v for r in records for v in r.calibration.get(name, {}) if is_rate(v)}, key=float)
    return list(dict.fromkeys(rates[round(i * (len(rates) - 1) / (SHOWN - 1))] for i in range(SHOWN) if rates))


def _curves(record: Scores, name: str, rates: Sequence[str]) -> Iterator[Picture]:
    found = record.calibration.get(name, {})
    levels = {rate: found[rate] for rate in rates if found.get(rate)}
    if levels:
        yield _reliability(record, levels)
    doubts = {rate: curves["uncertainty"] for rate, curves in levels.items() if "uncertainty" in curves}
    if doubts:
        yield _uncertainty(record, doubts)


def _reliability(record: Scores, levels: Mapping[str, Mapping]) -> Picture:
    caption = "How often the model is right when it is this sure; larger dots stand for more answers."
    with drawing(f"reliability-{record.model}", f"{label(record)}: reliability", caption, SMALL) as drawn:
        axes = drawn.axes()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
        for i, (rate, curves) in enumerate(levels.items()):
            points = [(b["confidence"], b["accuracy"], b["count"]) for b in curves["reliability"]]
            sure, right, counts = zip(*points)
            axes.plot(sure, right, color=colour(i), linewidth=1.2, label=_lost(rate))
            axes.scatter(sure, right, [8 + 60 * n / sum(counts) for n in counts], color=colour(i), linewidths=0)
        axes.set(xlabel="stated probability", ylabel="share of right answers", ylim=(-0.02, 1.02))
        legend(axes)
    return drawn.picture


def _uncertainty(record: Scores, levels: Mapping[str, Mapping]) -> Picture:
    caption = (
        "Answers in groups of equal size by the uncertainty that the model states: worth something if errors rise."
    )
    told = [f"{c['auroc']:.0%} ({_lost(rate)})" for rate, c in levels.items() if c["auroc"] is not None]
    if told:
        caption += f" A wrong answer is more uncertain than a right one in {', '.join(told)} of pairs."
    title = f"{label(record)}: uncertainty and error"
    with drawing(f"uncertainty-{record.model}", title, caption, SMALL) as drawn:
        axes = drawn.axes()
        for i, (rate, curves) in enumerate(levels.items()):
            points = [(group["uncertainty"], group["error"]) for group in curves["curve"]]
            axes.plot(*zip(*points), "o-", color=colour(i), markersize=3.5, linewidth=1.2, label=_lost(rate))
        axes.set(xlabel="stated uncertainty", ylabel="share of wrong answers", ylim=(-0.02, None))
        legend(axes)
    return drawn.picture


def _lost(rate: str) -> str:
    return f"{100 * float(rate):.0f} % lost"
