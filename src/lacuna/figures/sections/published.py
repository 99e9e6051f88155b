"""Published numbers beside ours. In: a dataset's name and our scores. Out: a labelled `Section`, or none."""

from __future__ import annotations

from collections.abc import Sequence

from lacuna.evaluate.names import label, metric
from lacuna.evaluate.published import PUBLISHED, TEST
from lacuna.evaluate.scores import Scores
from lacuna.figures.html import Section, note, paragraph, table


def section(dataset: str, records: Sequence[Scores]) -> Section | None:
    """Our means over the rates beside theirs; None where nothing was published on this dataset."""
    if dataset not in PUBLISHED:
        return None
    keys = list(dict.fromkeys(key for row in PUBLISHED[dataset] for key in row[3]))
    rows = [[name, how, on, *(values.get(key) for key in keys)] for name, how, on, values in PUBLISHED[dataset]]
    classes = ["quiet"] * len(rows)
    for record in records:
        over = record.over_rates.get("frames")
        if over:
            how = "validation-selected" if record.protocol == "validation" else TEST
            told = [(over.get(key) or {}).get("mean") for key in keys]
            rows.append([f"ours: {label(record)}", how, "mean over our missing rates, pattern frames", *told])
            classes.append("")
    body = paragraph("What papers report (grey), and what was measured here.") + note(
        "Not all of these numbers can be compared. Test-selected scores choose the checkpoint, and here even one per "
        "metric, by the very clips they report on. The published masks were drawn otherwise (our pattern legacy "
        "repeats them), and features may differ."
    )
    body += table(["Method", "Chosen", "On", *map(metric, keys)], rows, 3, classes)
    return Section(f"{dataset}-published", "Published numbers", body)
