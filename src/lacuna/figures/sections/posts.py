"""The section on text + image posts. In: scores of models, and some posts with what was told of them. Out: a `Section`.

The models are compared as forms of fusion: each alone and together, beside what needs no model at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lacuna.evaluate import metrics
from lacuna.evaluate.names import label
from lacuna.evaluate.scores import Scores
from lacuna.figures.drawing import Picture, drawing
from lacuna.figures.html import Cell, Section, grid, heading, paragraph, table
from lacuna.figures.sections.inside import SQUARE
from lacuna.types import counted

TAGS = ("negative", "neutral", "positive")
COLOURS = ("#d55e00", "#b8bec6", "#0072b2")
SHOWN = ("accuracy", "macro_f1", "weighted_f1")
CROP = 224 / 256  # of a picture's shorter side is seen by the network, from its middle
MOST_WORDS = 220  # characters of a post's text beside its picture


@dataclass(frozen=True)
class Example:
    """A test post: picture (H, W, 3) uint8, text, tag, {model: (3,) probabilities}, {model: (side, side) attention}."""

    picture: np.ndarray
    text: str
    tag: int
    told: Mapping[str, np.ndarray]
    attention: Mapping[str, np.ndarray]


def section(dataset: str, records: Sequence[Scores], best: str, examples: Sequence[Example]) -> Section:
    """Tables of all models, the confusions of the `best` one, and examples that it gets right and wrong."""
    confusion = _confusion(next(r for r in records if r.model == best))
    pictures = [_example(i, best, example) for i, example in enumerate(examples)]
    body = paragraph(
        "Each model on complete test posts: mean ± standard deviation over its training seeds. The majority always "
        "names the most frequent tag; the linear model reads nothing but the mean embedding of the words."
    )
    body += _fusions(records) + heading("Recall by tag") + _recalls(records) + grid([confusion])
    if pictures:
        body += heading("Examples")
        body += paragraph(
            f"Posts that {best}, the model with the best macro F1, names rightly and wrongly with the most "
            "confidence. The bars are the probabilities that each model gives to the three tags, mean over its seeds."
        )
        body += grid(pictures)
    return Section(f"{dataset}-posts", "Text and image", body, (confusion, *pictures))


def complete(record: Scores) -> list[dict[str, Any]]:
    """The runs of a record on complete posts, one a training seed."""
    runs: dict[int, dict[str, Any]] = {}
    for run in record.runs:
        if run["level"] == 0.0:
            runs.setdefault(run["train_seed"], run)
    return list(runs.values())


def mean_of(record: Scores, key: str) -> float:
    """The mean of a metric over the training seeds, 0 where no run is complete."""
    return float(np.mean([run["scores"][key] for run in complete(record)] or [0.0]))


def _fusions(records: Sequence[Scores]) -> str:
    names = {"majority": "always the majority", "text_linear": "linear, words alone"}
    rows: list[list[str]] = []
    for key, scores in records[0].baselines.items():
        rows.append([names.get(key, key), "–", *(f"{scores[name]:.3f}" for name in SHOWN)])
    for record in sorted(records, key=lambda r: mean_of(r, "macro_f1")):
        runs = complete(record)
        pairs = [metrics.mean_std([run["scores"][name] for run in runs]) for name in SHOWN]
        told = [f"{mean:.3f} ± {deviation or 0.0:.3f}" for mean, deviation in pairs]
        rows.append([label(record), str(len(runs)), *told])
    return table(["Model", "Seeds", "Accuracy", "Macro F1", "Weighted F1"], rows)


def _recalls(records: Sequence[Scores]) -> str:
    rows: list[list[Cell]] = []
    for record in records:
        means = np.mean([run["scores"]["recall"] for run in complete(record)], 0)
        rows.append([label(record), *(float(value) for value in means)])
    return table(["Model", *TAGS], rows)


def _confusion(record: Scores) -> Picture:
    """Test posts by true and told tag, summed over the training seeds."""
    counts = np.sum([run["scores"]["confusion"] for run in complete(record)], 0)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    title, caption = (
        f"{label(record)}: told and true tags",
        f"Complete test posts by true tag (row) and told tag (column), over "
        f"{counted(len(complete(record)), 'seed')}; the colour is the share of the row.",
    )
    with drawing(f"posts-confusion-{record.model}", title, caption, SQUARE) as drawn:
        axes = drawn.axes()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
        for i, j in np.ndindex(*counts.shape):
            paint = "white" if shares[i, j] > 0.6 else "black"
            axes.text(j, i, f"{counts[i, j]}\n{shares[i, j]:.0%}", ha="center", va="center", color=paint, fontsize=8)
        axes.set_xticks(range(3), TAGS)
        axes.set_yticks(range(3), TAGS)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return drawn.picture


def _example(place: int, best: str, example: Example) -> Picture:
    """The picture, where models look at it, and the probabilities that each gives."""
    told = int(example.told[best].argmax())
    verdict = "right" if told == example.tag else "wrong"
    text = example.text if len(example.text) <= MOST_WORDS else example.text[:MOST_WORDS] + " …"
    title = f"{TAGS[example.tag].capitalize()}, told {TAGS[told]} ({verdict})"
    looked = "".join(f" The bright parts are what {name} looks at (first seed)." for name in example.attention)
    columns = 2 + len(example.attention)
    with drawing(f"posts-example-{place}", title, f"“{text}”{looked}", (3.1 * columns, 2.9), raster=True) as drawn:
        axes = [drawn.figure.add_subplot(1, columns, 1 + i) for i in range(columns)]
        for one in axes[:-1]:
            one.imshow(example.picture)
            one.set_axis_off()
        for one, (name, side) in zip(axes[1:], example.attention.items()):
            _overlay(one, example.picture, side)
            one.set_title(name)
        _bars(axes[-1], example.told)
    return drawn.picture


def _overlay(axes: Axes, picture: np.ndarray, attention: np.ndarray) -> None:
    """Attention over the middle square that the network was given."""
    height, width = picture.shape[:2]
    half, x, y = CROP * min(height, width) / 2, width / 2, height / 2
    extent = (x - half, x + half, y + half, y - half)
    axes.imshow(attention, cmap="inferno", alpha=0.55, extent=extent, interpolation="bicubic", vmin=0)
    axes.set(xlim=(0, width), ylim=(height, 0))


def _bars(axes: Axes, told: Mapping[str, np.ndarray]) -> None:
    """One bar a model, cut into the three tags."""
    left = np.zeros(len(told))
    for index, (tag, paint) in enumerate(zip(TAGS, COLOURS)):
        widths = np.array([float(probabilities[index]) for probabilities in told.values()])
        axes.barh(list(told), widths, left=left, color=paint, label=tag)
        left += widths
    axes.invert_yaxis()
    axes.grid(False)
    axes.set(xlim=(0, 1), xlabel="probability")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.05, 1.0), ncols=3, handlelength=0.8, columnspacing=0.8, fontsize=7)
