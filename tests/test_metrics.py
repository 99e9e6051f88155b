"""Scores by hand arithmetic, the undefined ones, the published code's fixture, and the tests of difference."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from lacuna.evaluate import metrics

ROOT = Path(__file__).resolve().parents[1]
FIXTURE = Path(os.environ.get("LACUNA_FIXTURES", ROOT / "../shared/fixtures")) / "lnln" / "metrics.json"


def test_mosi_scores_by_hand():
    scores = metrics.regression([-2.6, 0.2, 0.0, 3.4, -0.4], [-3.0, 0.0, -1.0, 2.0, -0.6])
    assert scores["acc7"] == pytest.approx(2 / 5)  # -3 = -3, 0 = 0; -0 != -1, 3 != 2, -0 != -1
    assert scores["acc5"] == pytest.approx(3 / 5)  # 3.4 is clipped to 2
    assert scores["acc3"] == pytest.approx(3 / 5)
    assert scores["has0_acc2"] == pytest.approx(4 / 5)  # 0.0 against -1 is wrong
    assert scores["non0_acc2"] == 1.0  # a prediction of 0.0 counts as not positive
    assert scores["mae"] == pytest.approx((0.4 + 0.2 + 1 + 1.4 + 0.2) / 5)
    assert scores["non0_f1"] == 1.0
    truth_first = f1_score([0, 1, 0, 1, 0], [0, 1, 1, 1, 0], average="weighted")
    assert scores["has0_f1"] == pytest.approx(truth_first) and truth_first == pytest.approx(0.8)


def test_f1_weights_by_the_truth():
    # One negative told positive: negative F1 0 (support 1), positive F1 6/7 (support 3).
    scores = metrics.regression([1, 1, 1, 1], [-1, 1, 2, 3])
    assert scores["non0_f1"] == pytest.approx(0.75 * 6 / 7)


def test_halves_round_to_even_as_in_mmsa():
    assert metrics.regression([0.5, 1.5, 2.5], [0, 2, 2])["acc7"] == 1.0


def test_sims_classes_are_closed_on_the_right():
    edges = np.array([-0.7, -0.1, 0.0, 0.1, 0.7, 1.0], np.float32)
    inside = [-0.9, -0.5, -0.05, 0.05, 0.4, 0.9]
    scores = metrics.regression(inside, edges, "sims")
    assert scores["acc5"] == 1.0 and scores["acc3"] == 1.0
    assert scores["acc2"] == 1.0


def test_sims_clips_only_in_the_mmsa_form():
    scores = metrics.regression([3.0, -1.0], [1.0, -1.0], "sims")
    assert scores["mae"] == 1.0 and scores["mmsa_mae"] == 0.0


@pytest.mark.parametrize("labels", [[], [1.0], [1.0, 1.0], [0.0, 0.0], [np.nan, 1.0]])
@pytest.mark.parametrize("scale", ["mosi", "sims"])
def test_undefined_is_none_and_never_nan(labels, scale):
    scores = metrics.regression(np.full(len(labels), 0.5), labels, scale)
    assert scores["corr"] is None
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    json.dumps(metrics.regression_intervals(np.full(len(labels), 0.5), labels, scale, draws=20), allow_nan=False)
    json.dumps(metrics.mmsa_regression(np.full(len(labels), 0.5), labels, scale), allow_nan=False)


def test_refuses_what_is_not_a_score():
    with pytest.raises(ValueError, match="finite"):
        metrics.regression([np.nan], [1.0])
    with pytest.raises(ValueError, match="one per label"):
        metrics.regression([[1.0]], [1.0])
    with pytest.raises(ValueError, match="mosi or sims"):
        metrics.regression([1.0], [1.0], "iemocap")
    with pytest.raises(ValueError, match="integers from 0 to 1"):
        metrics.classification([[0.5, 0.5]], [2])


def test_published_metrics_match_exactly():
    if not FIXTURE.is_file():
        pytest.skip(f"LACUNA_FIXTURES: no {FIXTURE}, the published metrics are not compared")
    for scale, case in json.loads(FIXTURE.read_text()).items():
        assert metrics.mmsa_regression(case["preds"], case["labels"], scale) == case["metrics"]


def test_classification_by_hand():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.5, 0.1, 0.4]])
    scores = metrics.classification(probabilities, [0, 1, 2, 2])
    assert scores["accuracy"] == 0.75
    assert scores["recall"] == [1.0, 1.0, 0.5]
    assert scores["confusion"] == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert scores["weighted_f1"] == pytest.approx((2 / 3 + 1 + 4 / 3) / 4)
    assert scores["has0_acc2"] == 0.75 and scores["non0_acc2"] == pytest.approx(2 / 3)
    assert scores["mmsa_has0_acc2"] == 0.5  # the neutral one leans to positive, and MMSA wants it negative


def test_perfect_predictions_score_375_in_mmsas_non0():
    classes = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
    scores = metrics.classification(np.eye(3)[classes], classes)
    assert scores["mmsa_non0_acc2"] == 0.375
    assert scores["non0_acc2"] == scores["has0_acc2"] == scores["accuracy"] == scores["mmsa_has0_acc2"] == 1.0


def test_scores_agree_with_sklearn():
    generator = np.random.default_rng(0)
    probabilities, classes = generator.dirichlet(np.ones(5), 200), generator.integers(0, 5, 200)
    scores = metrics.classification(probabilities, classes)
    told = probabilities.argmax(1)
    assert scores["macro_f1"] == pytest.approx(f1_score(classes, told, average="macro"))
    assert scores["weighted_f1"] == pytest.approx(f1_score(classes, told, average="weighted"))
    x, y = generator.normal(size=(2, 200))
    assert metrics.regression(x, y)["corr"] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-6)


def test_robustness_and_spread():
    assert metrics.auilc([0.0, 0.5, 1.0], [1.0, 0.5, 0.5]) == pytest.approx(0.625)
    assert metrics.auilc([1.0, 0.0], [0.0, 1.0]) == 0.5  # any order
    assert metrics.mean_std([1.0, 3.0, None]) == (2.0, pytest.approx(2**0.5))
    assert metrics.mean_std([1.0]) == (1.0, None)
    assert metrics.mean_std([]) == (None, None)


def test_baselines_use_train_labels_alone():
    train = np.array([2.0, 2.0, 2.0, -1.0, 0.0])
    scores = metrics.baseline_regression(train, np.array([2.0, -1.0]))
    assert scores["mae"] == 1.5 and scores["acc7"] == 0.5 and scores["has0_acc2"] == 0.5 and scores["corr"] is None
    assert metrics.baseline_classification([1, 1, 0], np.array([1, 0, 1, 1]), 3)["accuracy"] == 0.75
    sims = metrics.baseline_regression(np.array([-0.8, -0.9, 0.5]), np.array([-1.0, 0.4]), "sims")
    assert sims["acc5"] == 0.5 and sims["acc2"] == 0.5


def test_intervals_cover_and_repeat():
    generator = np.random.default_rng(0)
    labels = generator.normal(size=400)
    predictions = labels + generator.normal(size=400)
    point, interval = metrics.regression(predictions, labels), metrics.regression_intervals(predictions, labels)
    assert interval == metrics.regression_intervals(predictions, labels)
    for name, value in point.items():
        low, high = interval[name]
        assert low <= value <= high
    spread = np.abs(predictions - labels).std() / 20  # the mean's standard error
    assert np.diff(interval["mae"])[0] == pytest.approx(2 * 1.96 * spread, rel=0.1)
    classes = (labels > 0).astype(int)
    assert metrics.classification_intervals(np.eye(2)[classes], classes)["accuracy"] == (1.0, 1.0)


def test_tests_of_difference():
    assert metrics.mcnemar([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]) == {"only_ours": 5, "only_others": 0, "p": 2 / 32}
    assert metrics.mcnemar([1, 0], [1, 0])["p"] == 1.0
    same = metrics.paired_bootstrap(np.ones(10), np.ones(10))
    assert same["difference"] == 0 and same["p"] == 1.0
    better = metrics.paired_bootstrap(np.arange(20) + 1.0, np.arange(20))
    assert better["difference"] == better["low"] == better["high"] == 1.0 and better["p"] < 0.001


def test_calibration():
    probabilities = np.array([[0.75, 0.25]] * 4)
    assert metrics.calibration(probabilities, [0, 0, 0, 1])["ece"] == pytest.approx(0)
    worst = metrics.calibration(np.array([[1.0, 0.0]]), [1])
    assert worst["ece"] == 1.0 and worst["curve"] == [{"confidence": 1.0, "accuracy": 0.0, "count": 1}]


def test_uncertainty_quality():
    quality = metrics.uncertainty_quality([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], bins=2)
    assert quality["auroc"] == 1.0 and [c["error"] for c in quality["curve"]] == [0.0, 1.0]
    assert metrics.uncertainty_quality([0.1, 0.2], [0, 0])["auroc"] is None


@pytest.mark.parametrize("labels", [[1.0, 2.0, 0.5], [-1.0, -0.2, -3.0], [0.4, 0.4, 0.4]])
@pytest.mark.parametrize("scale", ["mosi", "sims"])
def test_labels_of_one_sign_have_no_score_of_two_classes(labels, scale):
    labels = np.array(labels) / (3 if scale == "sims" else 1)
    two = {"mosi": ("has0_acc2", "has0_f1", "non0_acc2", "non0_f1"), "sims": ("acc2", "f1")}[scale]
    scores, intervals = metrics.regression(labels, labels, scale), metrics.regression_intervals(labels, labels, scale)
    assert all(scores[name] is None and intervals[name] is None for name in two) and scores["mae"] == 0
    mixed = metrics.regression(labels, np.array([-0.5, *labels[1:]]) * [1, 1, -1], scale)
    assert all(mixed[name] is not None for name in two)
    theirs = metrics.mmsa_regression(labels, labels, scale)  # MMSA itself prints a perfect score
    assert {"mosi": theirs.get("Has0_acc_2"), "sims": theirs.get("Mult_acc_2")}[scale] == 1.0


def test_neutral_labels_and_one_pole_leave_negative_against_positive_undefined():
    scores = metrics.regression(np.array([0.1, 1.0, -0.3]), np.array([0.0, 2.0, 0.0]))
    assert scores["non0_acc2"] is None and scores["has0_acc2"] is None
    scores = metrics.regression(np.array([0.1, 1.0, -0.3]), np.array([0.0, -2.0, 0.0]))
    assert scores["non0_acc2"] is None and scores["has0_acc2"] == pytest.approx(1 / 3)
    polar = metrics.classification(np.eye(3)[[1, 2, 2]], np.array([1, 2, 2]))
    assert polar["has0_acc2"] is None and polar["non0_acc2"] is None and polar["accuracy"] == 1
