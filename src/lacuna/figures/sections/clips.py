"""The section that lists clips. In: clips and what models said of them. Out: a table to sort and filter, with players.

The table works without a script (all rows, worst first); with one it is sorted by any column and filtered by split, by
mouse or keyboard, and begins with the split of the worst clip, which is the one that models were asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from lacuna.evaluate.names import SPLITS
from lacuna.figures.html import Section, details, paragraph, table
from lacuna.figures.overlay import player
from lacuna.types import Clip, counted

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
  const chosen = box.querySelector("select");
  const filter = () => {
    rows.forEach(row => { row.hidden = chosen.value !== "" && row.dataset.split !== chosen.value; });
    const clips = rows.length === 1 ? " clip" : " clips";
    said.textContent = rows.filter(row => !row.hidden).length + " of " + rows.length + clips + " shown";
  };
  chosen.addEventListener("change", filter);
  chosen.value = rows[0].dataset.split;
  filter();
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
        "Every clip with its label and what each model said of it. The small curve is its answer as more and more of "
        "the clip is lost, from left to right; the dotted line is the label. Open a clip for its words, the numbers of "
        f"the curve and, for those with the largest errors, the video. Press a column's name to sort by it.{rest}"
    )
    return Section(f"{dataset}-clips", "Clips", body + _table(order, models) + f"<script>{SCRIPT}</script>\n")


def _table(order: Sequence[Shown], models: Sequence[str]) -> str:
    head = ["Clip", "Split", "Label", "Error", *models]
    heads = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in head)
    splits = dict.fromkeys(one.clip.split for one in order)
    choices = "".join(f'<option value="{split}">{SPLITS.get(split, split)}</option>' for split in splits)
    largest = max([1.0, *(abs(answer) for one in order for told in one.told for answer in told.answers.values())])
    rows, shown = "".join(_row(one, models, largest) for one in order), counted(len(order), "clip")
    return (
        f'<div class="clips"><label>Split <select><option value="">all</option>{choices}</select></label> '
        f'<span role="status" aria-live="polite">{shown} shown</span>\n<div class="scroll" tabindex="0">'
        f"<table><caption>Clips, largest error first</caption><thead><tr>{heads}</tr></thead>\n"
        f"<tbody>{rows}</tbody></table></div></div>\n"
    )


def _row(one: Shown, models: Sequence[str], largest: float) -> str:
    told = {t.model: t for t in one.told}
    label, error = one.clip.label, one.error
    cells = [_cell(label, f"{label:+.2f}"), _cell(error, f"{error:.2f}")]
    cells += [_answer(told.get(model), label, largest) for model in models]
    inside = _inside(one)
    name = details(one.clip.id, inside) if inside else escape(one.clip.id)
    split = SPLITS.get(one.clip.split, one.clip.split)
    first = f'<th scope="row" data-v="{escape(one.clip.id)}">{name}</th><td>{split}</td>'
    return f'<tr data-split="{one.clip.split}">{first}{"".join(cells)}</tr>\n'


def _inside(one: Shown) -> str:
    """What is seen of a clip once it is opened: words, video, and every answer by missing rate."""
    inside = f"<blockquote>{escape(one.clip.text)}</blockquote>" if one.clip.text else ""
    if one.mp4:
        inside += player(one.mp4, one.still, f"{one.clip.id}, with its sound.", None)
    if one.told:
        rates = list(one.told[0].answers)
        rows = [[rate, *(_signed(t.answers.get(rate)) for t in one.told)] for rate in rates]
        inside += table(["lost", *(t.model for t in one.told)], rows)
    return inside


def _signed(answer: float | None) -> str | None:
    return None if answer is None else f"{answer:+.2f}"


def _cell(value: float, shown: str) -> str:
    known = np.isfinite(value)
    return f'<td class="n" data-v="{value if known else -9:.4f}">{shown if known else "–"}</td>'


def _answer(told: Told | None, label: float, largest: float) -> str:
    """The answer to the complete clip, and the curve of those under loss."""
    if told is None:
        return _cell(float("nan"), "")
    return f'<td class="n" data-v="{told.complete:.4f}">{_curve(told, label, largest)} {told.complete:+.2f}</td>'


def _curve(told: Told, label: float, largest: float) -> str:
    """The answers from -largest (bottom) to largest, as a drawing of 60 × 20 px; numbers are in the opened clip."""
    answers = list(told.answers.values())
    step = 60 / max(1, len(answers) - 1)
    points = " ".join(f"{i * step:.0f},{10 - 9 * answer / largest:.1f}" for i, answer in enumerate(answers))
    height = 10 - 9 * float(np.clip(label / largest, -1, 1)) if np.isfinite(label) else None
    truth = "" if height is None else f'<path d="M0 {height:.1f}H60"/>'
    return f'<svg viewBox="0 0 60 20" aria-hidden="true">{truth}<polyline points="{points}"/></svg>'
