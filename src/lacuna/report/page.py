"""The page. In: a title, the sections of each data set, how they were made. Out: one HTML file that loads nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from lacuna.figures.html import Cell, Section, code, colours, details, heading, paragraph, table
from lacuna.stages import Cost

LEAD = (
    "What a model of sentiment still knows when parts of a video are lost: what it was given, how it learnt, and how "
    "far it falls."
)
WORDS = (
    (
        "Clip",
        "A few seconds of one person speaking, with the transcript (text), the sound (audio) and the picture (vision).",
    ),
    ("Sentiment", "How negative or positive the clip is, as a score or as a class."),
    ("Missing rate", "The share of frames and words that are taken away before the model is asked."),
    ("Pattern", "How they are taken away: here and there, in stretches, or a whole modality at once."),
    ("Seed", "A number that fixes chance. Runs with several seeds show how much of a score is luck."),
    ("Mean absolute error", "How far the predicted score is from the true one, on average."),
    ("Pearson correlation", "Whether predicted and true scores rise together: 1 at best, 0 for guessing."),
    ("Acc-2, Acc-3, Acc-5, Acc-7", "The share of clips put into the right one of 2, 3, 5 or 7 classes of sentiment."),
    ("F1", "Like accuracy, but each class counts by how well it is found and how rarely it is named wrongly."),
    ("Area", "The area under the curve of a metric against the missing rate (AUILC): one number for robustness."),
    ("Bootstrap 95 % interval", "Where the score would probably lie with other test clips of the same kind."),
)


# What is wider than the screen can be pushed sideways with the keyboard too; what is not is no stop on the way.
REACH = """\
const reach = () => {
  for (const e of document.querySelectorAll(".scroll, pre")) if (e.scrollWidth > e.clientWidth) e.tabIndex = 0;
};
addEventListener("resize", reach); document.addEventListener("toggle", reach, true); reach();
"""


def page(title: str, fragments: Mapping[str, str], making: Section) -> str:
    """`fragments` is {data set: the HTML of its sections}; `making` tells how it all was made."""
    body = "".join(f'<h2 id="{escape(name)}">{escape(name)}</h2>\n{html}' for name, html in fragments.items())
    links = "".join(_links(name, html) for name, html in fragments.items())
    links += f'<b>All</b><a href="#words">Words</a><a href="#{making.id}">{escape(making.title)}</a>'
    style = colours() + files("lacuna.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>\n{style}</style>\n</head>\n<body>\n'
        '<a class="skip" href="#content">To the content</a>\n'
        f'<header class="top"><h1>{escape(title)}</h1><p>{escape(LEAD)}</p></header>\n'
        f'<div class="layout">\n<nav aria-label="Sections">{links}</nav>\n<main id="content">\n{body}'
        f"<h2>Reading and repeating</h2>\n{_words().html()}{making.html()}</main>\n</div>\n"
        f"<script>\n{REACH}</script>\n</body>\n</html>\n"
    )


def _links(name: str, html: str) -> str:
    found = re.findall(r'<section id="([^"]*)">\s*<h3>(.*?)</h3>', html)
    return f"<b>{escape(name)}</b>" + "".join(f'<a href="#{anchor}">{heading}</a>' for anchor, heading in found)


def _words() -> Section:
    rows = "".join(f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in WORDS)
    return Section("words", "Words", f"<dl>{rows}</dl>\n")


def making(facts: Sequence[tuple[str, str]], costs: Sequence[Cost], params: str, commands: str) -> Section:
    """How the page was made: facts (commit, device, versions), what stages cost, the settings, and the commands."""
    body = paragraph("Everything above follows from the raw data, the settings below, and these commands.")
    body += (
        code(commands)
        + table(["What", "Value"], facts, 2)
        + _costs(costs)
        + details("All settings (params.yaml)", code(params))
    )
    return Section("reproduction", "Reproduction", body)


def _costs(costs: Sequence[Cost]) -> str:
    """What the last run of each stage took, together and one by one."""
    if not costs:
        return paragraph("What each stage took is not known here: it is noted where stages run.")
    head = ["Stage", "Device", "Runs", "Time, all runs", "Longest run", "Most memory of a process"]
    rows: list[list[Cell]] = []
    for stage in dict.fromkeys(cost.stage for cost in costs):
        runs = [cost for cost in costs if cost.stage == stage]
        devices = ", ".join(dict.fromkeys(run.device for run in runs))
        seconds = [run.seconds for run in runs]
        most = max((run.memory for run in runs if run.memory), default=None)
        rows.append([stage, devices, len(runs), _time(sum(seconds)), _time(max(seconds)), _size(most)])
    told = paragraph(
        "What the last run of each stage took once Python had started. What a cache gave took less than its making."
    )
    every = [[f"{c.stage} {' '.join(c.words)}", c.device, _time(c.seconds), _size(c.memory)] for c in costs]
    single = table(["Run", "Device", "Time", "Memory"], every, 2)
    return heading("Time and memory") + told + table(head, rows, 2) + details(f"Every run ({len(costs)})", single)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min {rest} s"
        if minutes
        else f"{seconds:.1f} s"
    )


def _size(count: int | None) -> str | None:
    return None if count is None else f"{count / 1e9:.2f} GB"
