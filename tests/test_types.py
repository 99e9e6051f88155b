"""Records refuse what they must not hold, and say which clip, what was expected and what came."""

import numpy as np
import pytest

from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence

GOOD = {"values": np.zeros((2, 1), np.float32), "times": np.zeros(2), "seen": np.ones(2, bool), "columns": ("mfcc",)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"values": np.zeros((3, 1), np.float32)}, r"\(2, 1\).*\(3, 1\)"),
        ({"values": np.zeros((2, 1), np.float64)}, "float64"),
        ({"values": np.array([[0], [np.nan]], np.float32)}, r"nan in mfcc\[1\]"),
        ({"values": np.array([[np.inf], [0]], np.float32)}, r"inf in mfcc\[0\]"),
        ({"seen": np.ones(2)}, "2 bools"),
        ({"times": np.array([0, np.nan])}, "finite seconds"),
    ],
)
def test_a_bad_sequence_is_refused(change, told):
    with pytest.raises(MalformedInput, match=told):
        FeatureSequence(**(GOOD | change))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": ""}, "expected an id"),
        ({"split": "dev"}, "train, valid, test.*dev"),
        ({"start": -1.0}, "start"),
        ({"start": 2.0, "end": 1.0}, "end > start"),
        ({"labels": {"M": float("nan")}}, "finite labels"),
        ({"labels": {"Q": 1.0}}, "Q"),
    ],
)
def test_a_bad_clip_is_refused(change, told):
    with pytest.raises(MalformedInput, match=told):
        Clip(**({"id": "v$_$1", "dataset": "d", "split": "train"} | change))


def test_nothing_is_a_sequence_too():
    assert len(empty_sequence(("a", "b"))) == 0
