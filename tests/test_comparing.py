"""Comparing models: paired tests on the same clips, tables and LaTeX that say what they hold."""

import json

import numpy as np
import pytest

from lacuna.evaluate import metrics
from lacuna.evaluate.compare import cells, compare, differences, latex
from lacuna.evaluate.judged import Judged
from lacuna.evaluate.matrix import matrix
from lacuna.evaluate.under_loss import Run, over_rates, summary
from lacuna.types import MalformedInput

CLIPS, RATES, SEEDS, DRAWS = 60, (0.0, 0.5), (1, 2), (1, 2)


def write_scores(folder, model, noise, dataset="tiny", task="regression", seed=0, protocol="validation"):
    """scores/<model>.json and .npz of a model that errs by `noise`."""
    rng, labels = np.random.default_rng(5), np.random.default_rng(1).uniform(-3, 3, CLIPS)
    labels = labels if task == "regression" else np.round((labels + 3) / 3).clip(0, 2)
    rng = np.random.default_rng(seed)
    judged = Judged(task, "mosi" if task == "regression" else "", 0 if task == "regression" else 3)
    arrays, runs = {"ids": np.array([str(i) for i in range(CLIPS)]), "labels": labels}, []
    for rate in RATES:
        for draw in DRAWS:
            for train in SEEDS:
                error = rng.normal(0, noise, (CLIPS,) if task == "regression" else (CLIPS, 3))
                prediction = labels + error if task == "regression" else np.eye(3)[labels.astype(int)] + error
                arrays[f"frames/{rate}/{draw}/{train}/prediction"] = prediction
                runs.append(Run("frames", rate, draw, train, judged.scores(prediction, labels)))
    patterns = summary(runs)
    over = {name: over_rates(levels) for name, levels in patterns.items()}
    record = {"dataset": dataset, "model": model, "protocol": protocol, "task": task, "scale": judged.scale}
    record |= {"patterns": patterns, "over_rates": over, "seeds": {"train": list(SEEDS)}}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{model}.npz", **arrays)
    (folder / f"{model}.json").write_text(json.dumps(record))
    return folder / f"{model}.json"


@pytest.fixture
def pair(tmp_path):
    return [write_scores(tmp_path, "good", 0.3), write_scores(tmp_path, "bad_one", 1.5, seed=1)]


def test_the_better_model_is_found(pair):
    (table,) = compare(pair)
    (verdict,) = table.verdicts
    assert verdict.ours == "good" and verdict.difference < -0.5 and verdict.high < 0 and verdict.p < 0.01
    assert verdict.mcnemar < 0.05 and differences(table)[0][:3] == ["good", "bad_one", "good"]


def test_a_model_does_not_differ_from_itself(tmp_path):
    same = [write_scores(tmp_path / "a", "one", 0.5), write_scores(tmp_path / "b", "two", 0.5)]
    (verdict,) = compare(same)[0].verdicts
    assert verdict.difference == 0 and verdict.p == 1 and verdict.mcnemar == 1


def test_the_table_holds_complete_and_mean_scores(pair):
    head, rows = cells(compare(pair, ["mae"])[0])
    assert head == ["Model", "Lost", "MAE"]
    assert [row[:2] for row in rows[::2]] == [["good †", "nothing"], ["bad_one", "nothing"]]
    assert 0.2 < float(rows[0][2].split(" ± ")[0]) < 0.3 < 1 < float(rows[3][2])


def test_one_seed_has_no_deviation(tmp_path, pair):
    path = write_scores(tmp_path, "alone", 0.3)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seeds": {"train": [1]}}))
    shown = {
        row[0].removesuffix(" †"): row[2] for row in cells(compare([path, *pair], ["mae"])[0])[1] if row[1] == "nothing"
    }
    assert [name for name, value in shown.items() if "±" in value] == ["good", "bad_one"] and len(shown) == 3


def test_latex_marks_the_best_and_escapes(pair):
    text = latex(compare(pair, ["mae", "corr"]))
    good, bad = (next(line for line in text.splitlines() if line.startswith(name)) for name in ("good", r"bad\_one"))
    assert good.count(r"\textbf") == 4 and r"\textbf" not in bad
    assert (
        good.count("&") == bad.count("&") == 4 and text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    )


def test_classes_are_compared_too(tmp_path):
    paths = [write_scores(tmp_path, n, e, task="polarity", seed=k) for k, (n, e) in enumerate([("a", 0.2), ("b", 2.0)])]
    (table,) = compare(paths)
    assert table.metrics[0] == "accuracy" and table.verdicts[0].difference < 0


def test_published_numbers_stand_apart(tmp_path):
    (table,) = compare([write_scores(tmp_path, "lnln", 0.5, dataset="mosi")])
    assert [row.published for row in table.rows] == [False, True, True, True, True]
    text = latex([table])
    assert "test-selected" in text and text.count(r"\midrule") == 2
    assert not compare([write_scores(tmp_path, "lnln", 0.5)])[0].rows[0].published


def test_what_was_selected_on_test_says_so(tmp_path):
    paths = [write_scores(tmp_path, "good", 0.3), write_scores(tmp_path, "rosy", 0.2, protocol="paper")]
    paths.append(write_scores(tmp_path, "weak", 0.9))
    (table,) = compare(paths)
    names = ["good", "weak", "rosy (test-selected, one checkpoint per metric)"]
    assert [row[0].removesuffix(" †") for row in cells(table)[1][::2]] == names
    lines = [line for line in latex([table]).splitlines() if " & 0." in line or r"\textbf" in line]
    assert [line.split(" & ")[0].removesuffix(r"$^\dagger$") for line in lines] == names
    assert [r"\textbf" in line for line in lines] == [True, False, False]  # rosy is better, and does not compete


def test_what_cannot_be_paired_is_refused(tmp_path, pair):
    with pytest.raises(MalformedInput, match="expected files such as"):
        compare([])
    with pytest.raises(MalformedInput, match=r"expected scores/<model>.json"):
        compare([tmp_path / "none.json"])
    with pytest.raises(MalformedInput, match=r"expected a metric among .*got 'mea'"):
        compare(pair, ["mea"])
    with np.load(tmp_path / "good.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "good.npz", **(arrays | {"labels": arrays["labels"] + 1}))
    with pytest.raises(MalformedInput, match=r"bad_one.json: expected the labels of .*good.json, got others"):
        compare(pair)
    (tmp_path / "good.npz").unlink()
    with pytest.raises(MalformedInput, match="expected the predictions beside"):
        compare(pair)


def test_models_are_ranked_and_the_best_ones_rivals_marked(tmp_path):
    paths = [write_scores(tmp_path, name, noise, seed=k) for k, (name, noise) in enumerate(
        [("weak", 1.5), ("best", 0.30), ("rival", 0.30)]
    )]  # fmt: skip
    (table,) = compare(paths)
    assert [row.name for row in table.rows][2] == "weak"
    assert [row.rivals_best for row in table.rows] == [True, True, False]
    assert latex([table]).count(r"$^\dagger$") == 2
    assert [row[0].endswith("†") for row in cells(table)[1][::2]] == [True, True, False]
    assert len(differences(table)) == 3
    assert all(table.rows[0].name in row[:2] for row in differences(table, every=False))
    assert all(verdict.adjusted >= verdict.p for verdict in table.verdicts)


def test_a_folder_of_a_dataset_stands_for_its_scores(tmp_path):
    for name in ("one", "two"):
        write_scores(tmp_path / "scores", name, 0.5)
    assert len(compare([tmp_path])[0].rows) == 2


def test_a_seed_that_is_an_outlier_makes_a_difference_less_sure():
    """200 clips on which ours is better by far with one seed, and worse by a little with the others."""
    ours, other = np.ones((3, 200)), np.ones((3, 200))
    ours[0] -= 0.3
    ours[1:] += 0.05
    ours += np.random.default_rng(0).normal(0, 0.1, ours.shape)
    alone = metrics.paired_bootstrap(ours.mean(0), other.mean(0))
    both = metrics.paired_bootstrap(ours, other)
    assert alone["p"] < 0.01 < 0.2 < both["p"] and both["difference"] == pytest.approx(alone["difference"])


def test_holm_by_hand():
    """The least of three times 3, the next times 2, never falling: .01·3, .02·2, max(.04, .04·1)."""
    assert metrics.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert metrics.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0]) and metrics.holm([]) == []


def test_the_matrix_of_train_and_test_rates(tmp_path):
    paths = []
    for name, pattern, level in (("b", "frames", 0.7), ("a", "frames", 0.3), ("c", "mixed", 0.5)):
        path = write_scores(tmp_path, name, 0.5)
        record = json.loads(path.read_text()) | {"learnt_under": {"pattern": pattern, "level": level}}
        path.write_text(json.dumps(record))
        paths.append(path)
    head, rows = matrix(paths, "mae")
    assert head == ["Model", "Learnt under", "0 % lost", "50 % lost", "Mean"]
    assert [row[:2] for row in rows] == [["a", "frames 0.3"], ["b", "frames 0.7"], ["c", "mixed"]]
    assert float(rows[0][4]) == pytest.approx((float(rows[0][2]) + float(rows[0][3])) / 2, abs=1e-3)
