"""What is counted of a model's answers: calibration by hand arithmetic, over runs taken together."""

import numpy as np
import pytest

from lacuna.evaluate.judged import Judged

CLASSES = Judged("polarity", "", 3)
LABELS = np.array([0.0, 1.0, 2.0, np.nan])


def answers(*sure: float) -> np.ndarray:
    """(N, 3) probabilities that always name class 0, with this confidence."""
    return np.array([[p, (1 - p) / 2, (1 - p) / 2] for p in sure])


def test_confidence_is_held_against_truth():
    scores = CLASSES.scores(answers(0.9, 0.9, 0.9, 0.9), LABELS)
    assert scores["accuracy"] == pytest.approx(1 / 3)
    assert scores["ece"] == pytest.approx(0.9 - 1 / 3)  # one bin; the unlabelled clip does not count


def test_runs_are_taken_together():
    first = {"prediction": answers(0.9, 0.5, 0.9, 0.9), "uncertainty": np.array([0.1, 0.8, 0.2, 0.0])}
    second = {"prediction": answers(0.9, 0.5, 0.5, 0.9), "uncertainty": np.array([0.3, 0.7, 0.9, 0.0])}
    told = CLASSES.calibration([first, second], LABELS)
    assert told["reliability"] == [
        {"confidence": 0.5, "accuracy": 0.0, "count": 3},
        {"confidence": pytest.approx(0.9), "accuracy": pytest.approx(2 / 3), "count": 3},
    ]
    # Right answers state .1 and .3, wrong ones .8, .2, .7, .9: of the eight pairs one (.3 against .2) is the wrong way.
    assert told["uncertainty"]["auroc"] == pytest.approx(7 / 8)
    assert "uncertainty" not in CLASSES.calibration([{"prediction": first["prediction"]}], LABELS)


def test_scores_state_no_confidence():
    judged = Judged("regression", "mosi", 0)
    assert judged.calibration([{"prediction": np.zeros(4)}], LABELS) == {}
    assert "ece" not in judged.scores(np.zeros(4), LABELS)
