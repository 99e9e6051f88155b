"""The section that lists clips. In: clips and what models said of them. Out: a table to sort and filter, with players.

The table works without a script (all rows, worst first); with one it is sorted by any column and filtered by split, by
mouse or keyboard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from lacuna.evaluate.names import SPLITS
from lacuna.figures.html import Section, details, paragraph
from lacuna.figures.overlay import player
from lacuna.types import Clip

SCRIPT = """
document.currentScript.parentElement.querySelectorAll(".clips").forEach(box => {
  const body = box.querySelector("tbody"), said = box.querySelector("[role=status]"), rows = [...body.rows];
  const value = (row, i) => {
    const told = row.cells[i].dataset.v ?? row.cells[i].textContent;
    return isNaN(told) || told === "" ? told : +told;
  };
  const order = (x, y) => (x > y ? 1 : x < y ? -1 : 0);
  const sort = (button, i) => {
    const down = button.parentElement.getAttribute("aria-sort") !== "descending";
    box.querySelectorAll("th").forEach(th => th.removeAttribute("aria-sort"));
    button.parentElement.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows.sort((a, b) => order(value(a, i), value(b, i)) * (down ? -1 : 1));
    body.append(...rows);
  };
  box.querySelectorAll("th button").forEach((button, i) => button.addEventListener("click", () => sort(button, i)));
  box.querySelector("select").addEventListener("change", event => {
    rows.forEach(row => { row.hidden = event.target.value !== "" && row.dataset.split !== event.target.value; });
    said.textContent = rows.filter(row => !row.hidden).length + " clips shown";
  });
});
"""


@dataclass(frozen=True)
class Told:
    """What one model said of a clip: its answer by missing rate, the means over seeds and draws of the loss."""

    model: str
    answers: Mapping[str, float]

    @property
    def complete(self) -> float:
        return next(iter(self.answers.values()))


@dataclass(frozen=True)
class Shown:
    """A clip of the list: what was said of it (nothing, where it was not asked), and an MP4 and its still to play."""

    clip: Clip
    told: Sequence[Told] = ()
    mp4: bytes | None = None
    still: bytes = b""

    @property
    def error(self) -> float:
        """The mean over models of how far the answer to the complete clip is from the label; NaN where none is."""
        errors = [abs(one.complete - self.clip.label) for one in self.told]
        return float(np.mean(errors)) if errors else float("nan")


def section(dataset: str, listed: Sequence[Shown], left_out: int) -> Section:
    """The clips, those that models are most wrong about first."""
    order = sorted(listed, key=lambda one: -one.error if np.isfinite(one.error) else np.inf)
    models = list(dict.fromkeys(told.model for one in listed for told in one.told))
    rest = f" {left_out} more clips are in clips.jsonl and scores/*.npz." if left_out else ""
    body = paragraph(
        "Every clip with its label, and what each model said of it as it is and as ever more of it was lost. Choose a "
        f"split, or press a column's name to sort by it.{rest}"
    )
    return Section(f"{dataset}-clips", "Clips", body + _table(order, models) + f"<script>{SCRIPT}</script>\n")


def _table(order: Sequence[Shown], models: Sequence[str]) -> str:
    head = ["Clip", "Split", "Label", "Error", *models]
    heads = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in head)
    splits = dict.fromkeys(one.clip.split for one in order)
    choices = "".join(f'<option value="{split}">{SPLITS.get(split, split)}</option>' for split in splits)
    rows = "".join(_row(one, models) for one in order)
    return (
        f'<div class="clips"><label>Split <select><option value="">all</option>{choices}</select></label> '
        f'<span role="status" aria-live="polite">{len(order)} clips shown</span>\n<div class="scroll" tabindex="0">'
        f"<table><caption>Clips, largest error first</caption><thead><tr>{heads}</tr></thead>\n"
        f"<tbody>{rows}</tbody></table></div></div>\n"
    )


def _row(one: Shown, models: Sequence[str]) -> str:
    told = {t.model: t for t in one.told}
    label, error = one.clip.label, one.error
    cells = [_cell(label, f"{label:+.2f}"), _cell(error, f"{error:.2f}")]
    cells += [_answers(told.get(model)) for model in models]
    inside = f"<blockquote>{escape(one.clip.text)}</blockquote>" if one.clip.text else ""
    if one.mp4:
        inside += player(one.mp4, one.still, f"{one.clip.id}, with its sound.", None)
    name = details(one.clip.id, inside) if inside else escape(one.clip.id)
    split = SPLITS.get(one.clip.split, one.clip.split)
    first = f'<th scope="row" data-v="{escape(one.clip.id)}">{name}</th><td>{split}</td>'
    return f'<tr data-split="{one.clip.split}">{first}{"".join(cells)}</tr>\n'


def _cell(value: float, shown: str) -> str:
    known = np.isfinite(value)
    return f'<td class="n" data-v="{value if known else -9:.4f}">{shown if known else "–"}</td>'


def _answers(told: Told | None) -> str:
    """The answer to the complete clip, and those under loss, small."""
    if told is None:
        return _cell(float("nan"), "")
    lost = list(told.answers.items())[1:]
    under = "".join(f"<small>{escape(rate)}: {answer:+.2f}</small> " for rate, answer in lost)
    return f'<td class="n" data-v="{told.complete:.4f}">{told.complete:+.2f}<br>{under}</td>'
