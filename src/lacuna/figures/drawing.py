"""What all figures share. In: a function's plot on matplotlib axes. Out: `Picture`s, equal bytes for equal input.

matplotlib is used without pyplot, so that no state is shared; ids in SVG files are hashed with a fixed salt and no file
says when it was made.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, MUTED, GRID = "#1d2733", "#66717f", "#e3e7ec"
# Okabe and Ito's colours, told apart by colour-blind readers too; one for each model, seed or series.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d1f", "#56b4e9", "#6a3d9a", "#333333")
MODALITY_COLOURS = {"text": "#0072b2", "audio": "#d55e00", "vision": "#009e73", "image": "#cc79a7"}
SPLIT_COLOURS = {"train": "#0072b2", "valid": "#e69f00", "test": "#009e73", "unlabelled": "#999999"}
LETTERS = 13.5  # of a legend fit into an inch
SMALL, WIDE = (4.6, 2.9), (9.4, 3.4)  # inches: half a page's column, and all of it
STYLE: dict[Any, Any] = {  # matplotlib names the type of its keys in some versions only
    "svg.hashsalt": "lacuna",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # letters that journals' checks accept
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": "#aab3bd",
    "axes.labelcolor": MUTED,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class Picture:
    """A finished figure: its file name without suffix, a title for the page, what it shows, and its forms.

    `raster` asks the page for the PNG, where the SVG would hold a photograph or thousands of points.
    """

    name: str
    title: str
    caption: str
    svg: bytes
    png: bytes
    wide: bool = False
    raster: bool = False
    pdf: bytes = b""  # for papers: vectors, with letters as text


class Drawing:
    """A figure being drawn; `picture` is set when the `with` of `drawing` ends."""

    picture: Picture

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def axes(self, **options: object) -> Axes:
        return self.figure.add_subplot(**options)


@contextmanager
def drawing(
    name: str,
    title: str,
    caption: str,
    size: tuple[float, float] = SMALL,
    raster: bool = False,
    layout: Literal["constrained"] | None = "constrained",
) -> Iterator[Drawing]:
    """Draw inside the `with`; afterwards `.picture` is the finished figure."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout=layout)
        FigureCanvasAgg(figure)
        drawn = Drawing(figure)
        yield drawn
        figure.draw_without_rendering()  # which lays its parts out, once for the three files
        figure.set_layout_engine("none")
        drawn.picture = Picture(
            name,
            title,
            caption,
            _bytes(figure, "svg"),
            _bytes(figure, "png"),
            size[0] > 1.5 * SMALL[0],
            raster,
            _bytes(figure, "pdf"),
        )


def _bytes(figure: Figure, kind: str) -> bytes:
    unstamped = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}[kind]
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=150, metadata=unstamped)
    return file.getvalue()


def legend(axes: Axes, columns: int = 3) -> None:
    """A legend above the axes, where it hides nothing, of as many columns as fit; none where nothing is named."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        fitting = LETTERS * axes.figure.figure.get_figwidth() // (6 + max(map(len, labels)))
        columns = max(1, min(columns, int(fitting)))
        axes.legend(
            handles, labels, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, borderaxespad=0.2,
            columnspacing=1.2, handlelength=1.6,
        )  # fmt: skip


def colour(index: int) -> str:
    """The colour of the i-th series."""
    return SERIES[index % len(SERIES)]


def colours(names: Sequence[str]) -> dict[str, str]:
    """One colour a name, by its place."""
    return {name: colour(i) for i, name in enumerate(names)}
