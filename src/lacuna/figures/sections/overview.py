"""The first lines on a data set: what came out, in words. In: clips and scores. Out: a `Section`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lacuna.evaluate.metrics import lower_is_better
from lacuna.evaluate.names import is_rate, label, main_metrics, metric
from lacuna.evaluate.scores import Scores
from lacuna.figures.html import Section, paragraph, tiles
from lacuna.types import Clip


def section(dataset: str, clips: Sequence[Clip], records: Sequence[Scores], synthetic: bool) -> Section:
    """The data set in a few numbers, and each model's fall in a sentence."""
    facts = [("clips", str(len(clips))), ("test clips", str(sum(c.split == "test" for c in clips)))]
    if not records:
        return Section(f"{dataset}-overview", "In short", tiles(facts) + paragraph("No model has been judged yet."))
    told = [(r, key, falls) for r in records if (falls := _fall(r, key := main_metrics(r.task, r.scale)[0]))]
    for record, key, falls in told:
        span = " → ".join(f"{mean:.2f}" for _, mean in dict.fromkeys((falls[0], falls[-1])))
        most = f" to {100 * falls[-1][0]:.0f} %" if len(falls) > 1 else ""
        facts.append((f"{label(record)}: {metric(key).lower()}, nothing{most} lost", span))
    body = tiles(facts) + "".join(_sentence(record, falls, key) for record, key, falls in told)
    if synthetic:
        body = '<p class="note"><b>Synthetic data.</b> ' + escape(
            "No one said these sentences and no one's feelings are shown: clips and labels were made by a program."
        ) + "</p>\n" + body  # fmt: skip
    return Section(f"{dataset}-overview", "In short", body)


def _fall(record: Scores, key: str) -> list[tuple[float, float]]:
    """(rate, mean) under the first pattern that has rates, from least to most lost."""
    for levels in record.patterns.values():
        points = [
            (float(level), mean)
            for level, scores in levels.items()
            if is_rate(level) and key in scores and (mean := scores[key]["mean"]) is not None
        ]
        if points:
            return sorted(points)
    return []


def _sentence(record: Scores, falls: Sequence[tuple[float, float]], key: str) -> str:
    name, pattern = metric(key).lower(), next(iter(record.patterns))
    middle = min(falls, key=lambda point: abs(point[0] - 0.5))
    majority = record.baselines.get("majority", {}).get(key)
    lost = [point for point in dict.fromkeys((middle, falls[-1])) if point != falls[0]]
    told = ["when nothing is lost", *(f"{mean:.3f} at {100 * rate:.0f} % loss" for rate, mean in lost)]
    better = "lower" if lower_is_better(key) else "higher"
    text = f"{label(record)}: {name} {falls[0][1]:.3f} {', '.join(told)} (pattern “{pattern}”; {better} is better)."
    if majority is not None:
        text += f" To always give the same answer reaches {majority:.3f}."
    return paragraph(text)
