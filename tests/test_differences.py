"""Differences between models on the page: who errs less and how sure that is, in words and with the due mark."""

from test_comparing import write_scores

from lacuna.evaluate.compare import compare
from lacuna.figures.sections.differences import section


def test_the_better_model_is_named_and_what_was_selected_on_test_is_marked(tmp_path):
    paths = [write_scores(tmp_path, "good", 0.3), write_scores(tmp_path, "bad", 1.5, seed=1, protocol="paper")]
    body = section("d", compare(paths)).body
    assert "<td>good</td><td>bad (selected on test)</td><td>good</td>" in body


def test_what_does_not_differ_is_not_clear(tmp_path):
    same = [write_scores(tmp_path / "a", "one", 0.5), write_scores(tmp_path / "b", "two", 0.5)]
    assert "<td>one</td><td>two</td><td>not clear</td>" in section("d", compare(same)).body


def test_one_model_differs_from_none(tmp_path):
    assert section("d", compare([write_scores(tmp_path, "one", 0.5)])) is None
