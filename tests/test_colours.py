"""The colours that report and serve share: both pages have them, and words can be read on them in either theme."""

from __future__ import annotations

import re
from itertools import product

import pytest

from lacuna.figures.html import Section, colours
from lacuna.report.page import page

LEAST = 4.5  # WCAG 2.2, 1.4.3, of a word and what lies behind it


def _named() -> dict[str, dict[str, str]]:
    light, dark = colours().split("@media")
    found = {"light": dict(re.findall(r"--(\w+): (#\w+);", light))}
    found["dark"] = found["light"] | dict(re.findall(r"--(\w+): (#\w+);", dark))
    return found


def _light(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear))


def _contrast(word: str, behind: str) -> float:
    low, high = sorted((_light(word), _light(behind)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_as_wcag_has_it() -> None:
    assert _contrast("#000", "#ffffff") == pytest.approx(21) and _contrast("#777", "#fff") == pytest.approx(
        4.48, abs=0.01
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_can_be_read(theme: str) -> None:
    named = _named()[theme]
    pairs = [*product(("ink", "muted", "accent"), ("page", "soft")), ("ink", "note")]
    told = {pair: _contrast(named[pair[0]], named[pair[1]]) for pair in pairs}
    told["white", "banner"] = _contrast("#fff", named["banner"])
    assert {pair: ratio for pair, ratio in told.items() if ratio < LEAST} == {}


def test_the_dark_theme_names_every_colour_that_the_light_one_does() -> None:
    named = _named()
    same = {name for name in named["light"] if named["light"][name] == named["dark"][name]}
    assert same == {"banner"}  # white words stand on it in both


def test_the_report_has_the_colours_once() -> None:
    told = page("Lacuna", {"demo": ""}, Section("making", "Reproduction", ""))
    assert told.count(colours()) == 1 and told.count("--ink:") == 2
