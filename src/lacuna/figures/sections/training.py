"""The section on training. In: the histories of every model and seed. Out: a `Section`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lacuna.evaluate.names import TERMS
from lacuna.figures.drawing import INK, Picture, drawing, legend
from lacuna.figures.html import Cell, Section, grid, heading, paragraph, table

TRAIN, VALID = "#0072b2", "#d55e00"
SIZE = (3.6, 2.4)
FAR = 6.0  # times that train and validation lie apart before their axis is logarithmic


@dataclass(frozen=True)
class Learning:
    """One training run: its seed, the columns of history.csv, the epoch whose weights were kept, weights counted."""

    seed: int
    history: Mapping[str, np.ndarray]
    best: int
    weights: int


def section(dataset: str, runs: Mapping[str, Sequence[Learning]]) -> Section:
    """Every loss term of every model, on train and validation, one line a seed."""
    body = paragraph(
        "Each loss term by epoch: blue on the train split, orange on the validation split, one thin line a seed and a "
        "thick one for their mean. Dots mark the epoch whose weights were kept: the one with the lowest "
        "validation loss."
    )
    pictures: list[Picture] = []
    for model, seeds in runs.items():
        several = any(len(run.history["epoch"]) > 1 for run in seeds)  # one epoch is no curve
        drawn = [_term(model, term, seeds) for term in terms(seeds[0].history)] if several else []
        pictures += drawn
        body += heading(model) + _table(seeds) + grid(drawn, "small")
    return Section(f"{dataset}-training", "Training", body, tuple(pictures))


def terms(history: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the loss terms, the total first."""
    names = [name.removeprefix("train_") for name in history if name.startswith("train_")]
    return sorted(names, key=lambda name: name != "loss")


def _term(model: str, term: str, seeds: Sequence[Learning]) -> Picture:
    title = f"{model}: {'total loss' if term == 'loss' else term}"
    caption = TERMS.get(term, f"the loss term “{term}”").capitalize() + "."
    with drawing(f"training-{model}-{term}", title, caption, SIZE) as drawn:
        axes = drawn.axes()
        for kind, colour, name in (("train", TRAIN, "train"), ("valid", VALID, "validation")):
            curves = [run.history[f"{kind}_{term}"] for run in seeds if f"{kind}_{term}" in run.history]
            if not curves:
                continue
            for curve in curves if len(curves) > 1 else ():
                axes.plot(np.arange(1, len(curve) + 1), curve, color=colour, alpha=0.3, linewidth=0.9)
            shared = min(map(len, curves))
            mean = np.mean([curve[:shared] for curve in curves], axis=0)
            axes.plot(np.arange(1, shared + 1), mean, color=colour, label=name)
        for run in seeds:
            if f"valid_{term}" in run.history and 1 <= run.best <= len(run.history[f"valid_{term}"]):
                axes.plot(run.best, run.history[f"valid_{term}"][run.best - 1], "o", color=INK, markersize=4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _fit(axes, np.concatenate([run.history[f"{k}_{term}"] for run in seeds for k in ("train", "valid")]))
        axes.set_xlabel("epoch")
        axes.set_ylabel(term)
        legend(axes)
    return drawn.picture


def _fit(axes: Axes, values: np.ndarray) -> None:
    """A logarithmic axis where the curves would otherwise be flat lines far apart."""
    if values.min() > 0 and values.max() > FAR * values.min():
        axes.set_yscale("log")


def _table(seeds: Sequence[Learning]) -> str:
    rows: list[list[Cell]] = []
    for run in seeds:
        epochs = len(run.history["epoch"])
        best = float(run.history["valid_loss"][run.best - 1]) if 1 <= run.best <= epochs else None
        rows.append([str(run.seed), epochs, run.best, best, f"{run.weights:,}".replace(",", " ")])
    return table(["Seed", "Epochs", "Best epoch", "Its validation loss", "Weights"], rows)
