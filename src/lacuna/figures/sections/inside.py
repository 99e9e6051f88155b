"""The section on what models do inside. In: outputs of their forward passes on the test split. Out: a `Section`.

Nothing here asks which model it is: a figure is drawn where the outputs that it shows are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.manifold import TSNE

from lacuna.evaluate import metrics
from lacuna.figures.drawing import MODALITY_COLOURS, MUTED, SMALL, Picture, colour, drawing, legend
from lacuna.figures.html import Section, grid, heading, paragraph

SQUARE = (4.6, 3.9)
REGULARISERS = {"sim_weight": "similarity", "diff_weight": "difference"}
COUNT, SHARE = "{:.0f}", "{:.3f}"  # how a matrix tells its cells
LEAST_TSNE = 8  # samples below which a map of neighbours shows nothing


@dataclass(frozen=True)
class Asked:
    """One model's outputs on the test split: complete, and by missing rate; labels (N,) NaN where unknown.

    `outputs` and the values of `by_rate` are {name: (N, …)}; `left` is the share of words that survived at each rate,
    (N,); `pairs` names DMD's edges, (student, teacher); `classes` is 0 for scores, and `names` are theirs; `settings`
    are the architecture's.
    """

    model: str
    labels: np.ndarray
    classes: int
    outputs: Mapping[str, np.ndarray]
    by_rate: Mapping[float, Mapping[str, np.ndarray]]
    left: Mapping[float, np.ndarray]
    pairs: Sequence[tuple[str, str]] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    names: Sequence[str] = ()


def section(dataset: str, asked: Sequence[Asked]) -> Section | None:
    """Figures by model; None where there is no model to ask."""
    body = paragraph(
        "What the trained models tell besides their answer, on the test split, with the weights that are best on "
        "validation; of several seeds, the first is shown."
    )
    pictures: list[Picture] = []
    for one in asked:
        drawn = [p for draw in DRAWN for p in draw(one)]
        pictures += drawn
        if drawn:
            body += heading(one.model) + grid(drawn)
    maps = [p for one in sorted(asked, key=_regularised) for p in _subspaces(one)]
    if maps:
        body += heading("Private and shared vectors, before and after regularisation") + paragraph(
            _regularisation(asked)
        )
        body += grid(maps)
        pictures += maps
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
    counts = np.array(scores["confusion"])
    return [_matrix(f"confusion-{asked.model}", title, caption, counts, asked.names, asked.names, COUNT)]


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
    """The private and shared vectors of MISA's kind of model on one map of neighbours."""
    names = [name for name in asked.outputs if name.startswith(("private_", "shared_"))]
    count = len(asked.labels)
    if not names or count < LEAST_TSNE:
        return []
    vectors = np.concatenate([asked.outputs[name] for name in names])
    perplexity = min(30.0, (len(vectors) - 1) / 4)
    placed = TSNE(perplexity=perplexity, random_state=0, init="pca").fit_transform(vectors)
    weights = ", ".join(
        f"{name} {asked.settings[key]:g}" for key, name in REGULARISERS.items() if key in asked.settings
    )
    caption = f"Weights of its losses: {weights}." if weights else ""
    title = f"{asked.model}: {'after' if _regularised(asked) else 'before'} regularisation"
    with drawing(f"subspaces-{asked.model}", title, caption, SQUARE) as drawn:
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


def _regularised(asked: Asked) -> bool:
    return any(asked.settings.get(key) != 0 for key in REGULARISERS)


def _regularisation(asked: Sequence[Asked]) -> str:
    told = (
        "Maps of neighbours (t-SNE) of the vectors that a model splits each modality into, for the test clips: near "
        "on the map is near in the model. The similarity loss should mix the shared vectors (crosses), the difference "
        "loss set the private ones (dots) apart."
    )
    if all(_regularised(one) for one in asked):
        told += (
            " To see the same model without these losses, train one that is `like` it with sim_weight: 0 and "
            "diff_weight: 0 (docs/extending.md)."
        )
    return told


def _attention(asked: Asked) -> list[Picture]:
    names = [n for kind in ("private_", "shared_") for n in asked.outputs if n.startswith(kind)]
    told = asked.outputs.get("attention")
    if told is None or told.ndim != 3 or told.shape[1:] != (len(names), len(names)):
        return []
    words = [name.replace("_", "\n") for name in names]
    caption = (
        "How much each of the vectors (row) takes from each other (column) when they are fused; mean over the clips. "
        "Colours go from the least to the most."
    )
    return [
        _matrix(f"attention-{asked.model}", f"{asked.model}: attention", caption, told.mean(0), words, words, SHARE)
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
        caption = (
            "How much each modality (row) teaches each other one (column); mean over the clips. Colours go from the "
            "least to the most."
        )
        pictures.append(_matrix(f"edges-{name}-{asked.model}", title, caption, matrix, names, names, SHARE))
    return pictures


def _uncertainty(asked: Asked) -> list[Picture]:
    """Evidential models: do they know that they know less?"""
    told = {rate: outputs["uncertainty"] for rate, outputs in sorted(asked.by_rate.items()) if "uncertainty" in outputs}
    if not told:
        return []
    caption = "What the model states as more is lost: median, and the middle half of the test clips."
    with drawing(f"uncertainty-rate-{asked.model}", f"{asked.model}: uncertainty and loss", caption, SMALL) as drawn:
        axes, rates = drawn.axes(), [100 * rate for rate in told]
        quarters = np.array([np.percentile(values, (25, 50, 75)) for values in told.values()])
        axes.plot(rates, quarters[:, 1], "o-", color=colour(1))
        axes.fill_between(rates, quarters[:, 0], quarters[:, 2], color=colour(1), alpha=0.18)
        axes.set(xlabel="missing rate, %", ylabel="stated uncertainty")
    return [drawn.picture]


def _matrix(
    name: str, title: str, caption: str, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], form: str
) -> Picture:
    """A matrix as coloured cells with their numbers, counts from 0 and shares from the least; NaN cells stay empty."""
    with drawing(name, title, caption, SQUARE) as drawn:
        axes = drawn.axes()
        least = 0.0 if form == COUNT else float(np.nanmin(values))
        span = float(np.nanmax(values)) - least or 1.0
        low = least - 0.2 * span if least else 0.0
        axes.imshow(values, cmap="Blues", vmin=low, vmax=least + 1.4 * span, aspect="auto")
        for i, j in np.argwhere(np.isfinite(values)):
            paint = "white" if values[i, j] > least + 0.75 * span else "black"
            axes.text(j, i, form.format(values[i, j]), ha="center", va="center", color=paint, fontsize=8)
        axes.set_xticks(range(len(columns)), columns, fontsize=8)
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return drawn.picture


DRAWN: tuple[Callable[[Asked], list[Picture]], ...] = (
    _answers, _confusion, _completeness, _attention, _edges, _uncertainty,
)  # fmt: skip
