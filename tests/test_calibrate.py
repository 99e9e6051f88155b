"""Corrections and intervals by hand arithmetic; the numbers that papers quote, and how even modalities contribute."""

import itertools

import numpy as np
import pytest

from lacuna.evaluate.calibrate import Answers, Correction, coverage, fit, quantiles
from lacuna.evaluate.indices import equity, indices

RNG = np.random.default_rng(0)


def scores(count=4000, shift=0.0, shrink=0.0):
    """Answers whose labels are what a correction of this size would say, and noise."""
    kept, told = RNG.uniform(size=count), RNG.normal(0, 1.5, count)
    labels = told + (1 - kept) * (shift + shrink * (0.0 - told)) + RNG.normal(0, 0.1, count)
    return Answers(told, kept, labels)


@pytest.mark.parametrize(("how", "shift", "shrink"), [("shift", 0.4, 0.0), ("shrink", 0.0, 0.6), ("both", 0.4, 0.6)])
def test_the_correction_is_found_again(how, shift, shrink):
    told = scores(shift=shift, shrink=shrink)
    found = fit(how, told)
    # The center is the labels' mean, which moves with the shift: both say the same line.
    at = found.shift + found.shrink * found.center[0]
    assert found.shrink == pytest.approx(shrink, abs=0.03)
    assert (at if how == "both" else found.shift) == pytest.approx(shift, abs=0.03)
    assert np.abs(found(told.prediction, told.kept) - told.labels).mean() < 0.1


@pytest.mark.parametrize("how", ["shift", "shrink", "both"])
@pytest.mark.parametrize("spread", [1e-4, 0.01, 1.0])
def test_no_correction_within_the_bounds_is_better(how, spread):
    """Three clips whose answers hardly differ, as of a model that learnt little: a grid finds nothing better, and test
    answers stay where labels are."""
    kept, told = np.repeat([1.0, 0.7, 0.3], 3), 0.5 + spread * np.tile([1.0, 0.2, -1.0], 3)
    answers = Answers(told, kept, np.tile([-1.5, 1.0, 2.0], 3))
    found = fit(how, answers)

    def error(correction):
        return ((correction(told, kept) - answers.labels) ** 2).sum()

    shifts, shrinks = np.linspace(-4, 4, 81) * (how != "shrink"), np.linspace(0, 1, 21) * (how != "shift")
    best = min(error(Correction(shift, shrink, found.center)) for shift in shifts for shrink in shrinks)
    assert error(found) <= best + 1e-9 and 0 <= found.shrink <= 1
    assert np.abs(found(np.array([0.4, 0.6]), np.zeros(2))).max() < 3


def test_what_lost_nothing_is_never_moved():
    told = np.array([1.0, -2.0])
    assert Correction(0.5, 0.9, (0.3,))(told, np.ones(2)).tolist() == told.tolist()
    assert Correction(0.5, 0.5, (1.0,))(np.array([3.0]), np.array([0.5])).tolist() == [3 + 0.5 * (0.5 - 1.0)]
    assert fit("none", scores(shift=1.0))(told, np.zeros(2)).tolist() == told.tolist()


def test_probabilities_go_to_the_shares_of_classes():
    """Sure answers that are noise where all is lost: they go to the shares all the way, and stay probabilities."""
    kept = np.repeat([1.0, 0.0], 500)
    labels = RNG.choice(3, 1000, p=[0.5, 0.3, 0.2]).astype(float)
    told = np.full((1000, 3), 0.01)
    told[np.arange(1000), np.where(kept > 0, labels, RNG.integers(0, 3, 1000)).astype(int)] = 0.98
    found = fit("both", Answers(told, kept, labels))
    assert found.shrink > 0.9 and found.center == pytest.approx([(labels == k).mean() for k in range(3)])
    moved = found(told, kept)
    np.testing.assert_allclose(moved.sum(1), 1)
    np.testing.assert_array_equal(moved[kept > 0], told[kept > 0])


def test_unlabelled_clips_do_not_count():
    told = scores(50)
    labels = np.append(told.labels, np.nan)
    more = Answers.joined([Answers(np.append(told.prediction, 99.0), np.append(told.kept, 0.0), labels)])
    assert fit("both", more) == fit("both", told)


def test_scaled_intervals_hold_what_a_stated_variance_does_not():
    """Errors twice as large as stated: ±1.645 stated deviations hold 59 % (2 Φ(.822) - 1), scaled ones 90 %."""

    def told(count):
        return Answers(np.zeros(count), np.ones(count), RNG.normal(0, 2, count), np.ones(count))

    found = coverage(told(20000), quantiles(told(20000)))["0.9"]
    assert found["stated"] == pytest.approx(0.589, abs=0.02) and found["calibrated"] == pytest.approx(0.9, abs=0.01)
    assert found["width"] == pytest.approx(2 * 2 * 1.645, rel=0.03)


def test_conformal_quantiles_by_hand():
    """Nine errors 1 … 9 of deviation 1: the 5th for .5 (⌈10 · .5⌉), the 9th for .9, and no more than there are."""
    told = Answers(np.zeros(9), np.ones(9), np.arange(1.0, 10.0), np.ones(9))
    assert quantiles(told) == {0.5: 5.0, 0.8: 8.0, 0.9: 9.0, 0.95: 9.0}


def levels(values):
    return {str(level): {"mae": {"mean": value, "std": None}} for level, value in values.items()}


def test_indices_by_name():
    tenths = {k / 10: 1.0 + k / 10 for k in range(11)}
    told = indices(levels(tenths | {"text=0.2+audio=0.6": 1.5, "text=0.6+audio=0.2": 2.5}))["mae"]
    assert told["lnln_mean"] == pytest.approx(1.45) and told["emt_area"] == pytest.approx(1.5)
    assert told["imbalanced_mean"] == 2.0 and told["equity"] is None
    del tenths[1.0]
    assert indices(levels(tenths))["mae"]["emt_area"] is None
    assert indices(levels({0.0: 1.0}))["mae"]["lnln_mean"] is None


def worth(**alone):
    """The error of each subset when contributions add up."""
    names = sorted(alone)
    subsets = [frozenset(c) for k in range(1, len(names) + 1) for c in itertools.combinations(names, k)]
    return {subset: 3.0 - sum(alone[m] for m in subset) for subset in subsets}


def test_equity_is_one_where_all_contribute_alike_and_falls_with_one_that_rules():
    """Additive contributions: nothing counts as the worst subset, so the least one's is less by that."""
    even, skewed = equity(worth(a=0.5, b=0.5, c=0.5), True), equity(worth(a=1.5, b=0.1, c=0.1), True)
    assert even == pytest.approx(1.0) and skewed < 0.5
    assert equity({frozenset({"a"}): 1.0, frozenset({"b"}): 1.0}, True) is None
