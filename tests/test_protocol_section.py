"""The report's section on protocols: it tells what records hold, and is left out where they hold none of it."""

from dataclasses import replace

import pytest

from lacuna.evaluate.scores import Corrected, Scores
from lacuna.figures.sections import protocols, robustness

SCORES = {"mae": {"mean": 0.5, "std": None}, "corr": {"mean": None, "std": None}}
RECORD = Scores(
    dataset="tiny",
    model="quorum",
    protocol="validation",
    task="regression",
    scale="mosi",
    clips={"test": 40},
    seeds={"train": [1], "mask": [1]},
    patterns={"frames": {"0.0": SCORES, "0.5": SCORES}},
    over_rates={"frames": {"mae": {"mean": 0.5, "auilc": 0.25}}},
)
MORE = {
    "calibrated": Corrected("both", {"frames": {}}, {"frames": {"mae": {"mean": 0.4321}}}),
    "indices": {"frames": {"mae": {"lnln_mean": 0.617, "emt_area": None, "imbalanced_mean": None, "equity": 0.831}}},
    "coverage": {"frames": {"0.5": {"0.9": {"stated": 0.711, "calibrated": 0.905, "width": 2.125}}}},
}


def test_records_of_before_have_no_such_section():
    assert protocols.section("tiny", [RECORD]) is None


@pytest.mark.parametrize(
    ("key", "told"),
    [("calibrated", ["0.432", "0.500"]), ("indices", ["0.617", "0.831"]), ("coverage", ["0.711", "0.905", "2.125"])],
)
def test_each_part_is_told_where_it_is(key, told):
    body = protocols.section("tiny", [replace(RECORD, **{key: MORE[key]})]).body
    assert all(value in body for value in told)


def test_rates_by_modality_have_a_table_and_are_no_subsets():
    record = replace(RECORD, patterns={"frames": {"0.0": SCORES, "text=0.2+audio=0.6": SCORES}})
    assert "text 20% lost, audio 60% lost" in protocols.section("tiny", [record]).body
    assert "text=0.2" not in robustness.section("tiny", [record]).body


def test_what_leaks_is_said_beside_the_scores():
    body = robustness.section("tiny", [replace(RECORD, notes=["text: hidden states"])]).body
    assert "Scores under loss are too good: text: hidden states." in body
