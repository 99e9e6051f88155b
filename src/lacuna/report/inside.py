"""The section on what models do inside. In: outputs of their forward passes on the test split. Out: a `Section`.

Nothing here asks which model it is: a figure is drawn where the outputs that it shows are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.manifold import TSNE

from lacuna import metrics
from lacuna.report.drawing import MODALITY_COLOURS, MUTED, SMALL, Picture, colour, drawing, legend
from lacuna.report.html import Section, grid, heading, paragraph

SQUARE = (4.6, 3.9)
LEAST_TSNE = 8  # samples below which a map of neighbours shows nothing


@dataclass(frozen=True)
class Asked:
    """One model's outputs on the test split: complete, and by missing rate; labels (N,) NaN where unknown.

    `outputs` and the values of `by_rate` are {name: (N, …)}; `left` is the share of words that survived at each rate,
    (N,); `pairs` names DMD's edges, (student, teacher); `classes` is 0 for scores.
    """

    model: str
    labels: np.ndarray
    classes: int
    outputs: Mapping[str, np.ndarray]
    by_rate: Mapping[float, Mapping[str, np.ndarray]]
    left: Mapping[float, np.ndarray]
    pairs: Sequence[tuple[str, str]] = ()


def section(dataset: str, asked: Sequence[Asked]) -> Section | None:
    """Figures by model; None where there is no model to ask."""
    body = paragraph(
        "What the trained models tell besides their answer, on the test split; of several seeds, the first is shown."
    )
    pictures: list[Picture] = []
    for one in asked:
        drawn = [p for draw in DRAWN for p in draw(one)]
        pictures += drawn
        if drawn:
            body += heading(one.model) + grid(drawn)
    return Section(f"{dataset}-inside", "Inside the models", body, tuple(pictures)) if pictures else None


def _answers(asked: Asked) -> list[Picture]:
    """Predicted against true scores."""
    known = np.isfinite(asked.labels)
    if asked.classes or not known.any():
        return []
    title, caption = (
        f"{asked.model}: predicted and true",
        "One dot a complete test clip; on the line, the two are equal.",
    )
    with drawing(f"answers-{asked.model}", title, caption, SQUARE) as drawn:
        axes = drawn.axes()
        labels, told = asked.labels[known], asked.outputs["prediction"][known]
        bounds = [min(labels.min(), told.min()), max(labels.max(), told.max())]
        axes.plot(bounds, bounds, color=MUTED, linewidth=1, linestyle=":")
        axes.scatter(labels, told, s=16, color=colour(0), alpha=0.65, linewidths=0)
        axes.set_xlabel("true score")
        axes.set_ylabel("predicted score")
    return [drawn.picture]


def _confusion(asked: Asked) -> list[Picture]:
    known = np.isfinite(asked.labels)
    if not asked.classes or not known.any() or asked.classes > 20:
        return []
    scores = metrics.classification(asked.outputs["prediction"], asked.labels)
    title, caption = (
        f"{asked.model}: confusions",
        "Complete test clips, counted by true class (row) and predicted class.",
    )
    names = ["negative", "neutral", "positive"] if asked.classes == 3 else [str(k) for k in range(asked.classes)]
    return [_matrix(f"confusion-{asked.model}", title, caption, np.array(scores["confusion"]), names, names, "{:.0f}")]


def _reliability(asked: Asked) -> list[Picture]:
    known = np.isfinite(asked.labels)
    if not asked.classes or not known.any():
        return []
    told = metrics.calibration(asked.outputs["prediction"], asked.labels, 10)
    error = told["ece"]
    caption = f"How often the model is right when it says that it is this sure. Expected calibration error {error:.3f}."
    with drawing(f"reliability-{asked.model}", f"{asked.model}: calibration", caption, SMALL) as drawn:
        axes = drawn.axes()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="perfectly calibrated")
        points = [(bin["confidence"], bin["accuracy"]) for bin in told["curve"]]
        axes.plot(*zip(*points), "o-", color=colour(0), label=asked.model)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
        legend(axes)
    return [drawn.picture]


def _completeness(asked: Asked) -> list[Picture]:
    """LNLN's guess of how much of the dominant modality is there."""
    if "completeness" not in asked.outputs or not asked.left:
        return []
    true = np.concatenate([asked.left[rate] for rate in asked.left])
    told = np.concatenate([asked.by_rate[rate]["completeness"] for rate in asked.left])
    caption = "The share of words that survived, and what the model guesses it to be. One dot a clip and rate."
    with drawing(f"completeness-{asked.model}", f"{asked.model}: completeness of the text", caption, SQUARE) as drawn:
        axes = drawn.axes()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="a perfect guess")
        axes.scatter(true, told, s=8, color=colour(0), alpha=0.25, linewidths=0)
        bins = np.clip((true * 10).round().astype(int), 0, 10)
        means = [(k / 10, told[bins == k].mean()) for k in range(11) if (bins == k).any()]
        axes.plot(*zip(*means), "o-", color=colour(1), markersize=4, label="mean guess")
        axes.set(xlabel="share of words left", ylabel="predicted completeness", xlim=(-0.03, 1.03))
        legend(axes)
    return [drawn.picture]


def _subspaces(asked: Asked) -> list[Picture]:
    """MISA's private and shared vectors on one map of neighbours."""
    names = [name for name in asked.outputs if name.startswith(("private_", "shared_"))]
    count = len(asked.labels)
    if not names or count < LEAST_TSNE:
        return []
    vectors = np.concatenate([asked.outputs[name] for name in names])
    perplexity = min(30.0, (len(vectors) - 1) / 4)
    placed = TSNE(perplexity=perplexity, random_state=0, init="pca").fit_transform(vectors)
    caption = (
        "t-SNE: near on the map is near in the model. Private vectors (dots) should lie apart by modality, shared ones "
        "(crosses) should mix."
    )
    with drawing(f"subspaces-{asked.model}", f"{asked.model}: subspaces", caption, SQUARE) as drawn:
        axes = drawn.axes()
        for i, name in enumerate(names):
            kind, _, modality = name.partition("_")
            x, y = placed[i * count : (i + 1) * count].T
            paint, mark = MODALITY_COLOURS.get(modality, MUTED), "o" if kind == "private" else "x"
            axes.scatter(x, y, s=14, color=paint, marker=mark, alpha=0.7, linewidths=0.9, label=f"{kind} {modality}")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        legend(axes)
    return [drawn.picture]


def _attention(asked: Asked) -> list[Picture]:
    names = [n for kind in ("private_", "shared_") for n in asked.outputs if n.startswith(kind)]
    told = asked.outputs.get("attention")
    if told is None or told.ndim != 3 or told.shape[1:] != (len(names), len(names)):
        return []
    words = [name.replace("_", "\n") for name in names]
    caption = (
        "How much each of the vectors (row) takes from each other (column) when they are fused; mean over the clips."
    )
    return [
        _matrix(f"attention-{asked.model}", f"{asked.model}: attention", caption, told.mean(0), words, words, "{:.3f}")
    ]


def _edges(asked: Asked) -> list[Picture]:
    """DMD's distillation: who teaches whom."""
    pictures = []
    for name, words in (("homo", "shared"), ("hetero", "private")):
        told = asked.outputs.get(f"edges_{name}")
        if told is None or not asked.pairs:
            continue
        names = list(dict.fromkeys(m for pair in asked.pairs for m in pair))
        matrix = np.full((len(names), len(names)), np.nan)
        for weight, (student, teacher) in zip(told.mean(0), asked.pairs):
            matrix[names.index(teacher), names.index(student)] = weight
        title = f"{asked.model}: distillation of {words} parts"
        caption = "How much each modality (row) teaches each other one (column); mean over the clips."
        pictures.append(_matrix(f"edges-{name}-{asked.model}", title, caption, matrix, names, names, "{:.3f}"))
    return pictures


def _uncertainty(asked: Asked) -> list[Picture]:
    """Evidential models: does the model know when it does not know?"""
    known = np.isfinite(asked.labels)
    if "uncertainty" not in asked.outputs or not known.any():
        return []
    pictures, errors = [], _errors(asked)[known]
    quality = metrics.uncertainty_quality(asked.outputs["uncertainty"][known], errors)
    caption = (
        "Complete test clips in groups by the uncertainty that the model states. It is worth something if errors rise."
    )
    if quality["auroc"] is not None:
        caption += f" A wrong clip is more uncertain than a right one in {quality['auroc']:.0%} of pairs."
    with drawing(f"uncertainty-{asked.model}", f"{asked.model}: uncertainty and error", caption, SMALL) as drawn:
        axes = drawn.axes()
        points = [(group["uncertainty"], group["error"]) for group in quality["curve"]]
        axes.plot(*zip(*points), "o-", color=colour(1))
        axes.set(xlabel="stated uncertainty", ylabel="share of wrong answers" if asked.classes else "absolute error")
    pictures.append(drawn.picture)
    if asked.by_rate:
        caption = "What the model states as more is lost: median, and the middle half of the test clips."
        with drawing(
            f"uncertainty-rate-{asked.model}", f"{asked.model}: uncertainty and loss", caption, SMALL
        ) as drawn:
            axes, rates = drawn.axes(), sorted(asked.by_rate)
            quarters = np.array([np.percentile(asked.by_rate[r]["uncertainty"], (25, 50, 75)) for r in rates])
            axes.plot([100 * r for r in rates], quarters[:, 1], "o-", color=colour(1))
            axes.fill_between([100 * r for r in rates], quarters[:, 0], quarters[:, 2], color=colour(1), alpha=0.18)
            axes.set(xlabel="missing rate, %", ylabel="stated uncertainty")
        pictures.append(drawn.picture)
    return pictures


def _errors(asked: Asked) -> np.ndarray:
    told = asked.outputs["prediction"]
    return (told.argmax(1) != asked.labels).astype(float) if asked.classes else np.abs(told - asked.labels)


def _matrix(
    name: str, title: str, caption: str, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], form: str
) -> Picture:
    """A matrix as coloured cells with their numbers; NaN cells stay empty."""
    with drawing(name, title, caption, SQUARE) as drawn:
        axes = drawn.axes()
        most = float(np.nanmax(values)) or 1.0
        axes.imshow(values, cmap="Blues", vmin=0, vmax=1.4 * most, aspect="auto")
        for i, j in np.argwhere(np.isfinite(values)):
            paint = "white" if values[i, j] > 0.85 * most else "black"
            axes.text(j, i, form.format(values[i, j]), ha="center", va="center", color=paint, fontsize=8)
        axes.set_xticks(range(len(columns)), columns, fontsize=8)
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return drawn.picture


DRAWN: tuple[Callable[[Asked], list[Picture]], ...] = (
    _answers, _confusion, _reliability, _completeness, _subspaces, _attention, _edges, _uncertainty,
)  # fmt: skip
