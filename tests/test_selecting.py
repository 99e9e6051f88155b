"""Protocols: under `validation` training never sees test; under `paper` each metric has the checkpoint best on it."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from report_tree import DATASET, build, judging, plan_of

from lacuna.data.batches import collate_places
from lacuna.data.samples import Samples
from lacuna.evaluate.judged import Judged
from lacuna.evaluate.metrics import lower_is_better
from lacuna.evaluate.protocol import PaperKeeper, Selection, choices, observers_of
from lacuna.evaluate.run import judge
from lacuna.params import plugin, plugin_names
from lacuna.train import checkpoint, feed
from lacuna.train import run as experiments
from lacuna.train.run import read_corpus, train_model
from lacuna.train.trainer import predict
from lacuna.types import MalformedInput

ONE = {"models": ["misa"], "seeds": [1], "mask": {"rates": [0.0, 0.5], "seeds": [1]}}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A small project, trained and judged under `validation`; (root, params)."""
    root = tmp_path_factory.mktemp("tree")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LACUNA_CACHE", str(root / "cache"))
        yield root, build(root, ONE)


def under(params, protocol, **training):
    """The same params under a protocol, with changes to training."""
    train = params.train.model_dump() | {"protocol": protocol}
    train["training"] |= training
    return params.model_copy(update={"train": type(params.train)(**train)})


def test_validation_never_reads_a_test_clip(tree, tmp_path, monkeypatch):
    root, params = tree
    asked = set()

    def noted(samples, places, lengths, room):
        asked.update(samples.clips[i].split for i in places)
        return collate_places(samples, places, lengths, room)

    def noted_alone(samples, modality, place):
        asked.add(samples.clips[place].split)
        return sequence(samples, modality, place)

    sequence = Samples.sequence
    monkeypatch.setattr(feed, "collate_places", noted)
    monkeypatch.setattr(Samples, "sequence", noted_alone)
    train_model(plan_of(params, "misa"), root / "processed" / DATASET, 5, tmp_path / "run")
    assert asked == {"train", "valid"} and not list((tmp_path / "run" / "paper").rglob("*.safetensors"))
    made = plan_of(under(params, "paper"), "misa")
    train_model(made, root / "processed" / DATASET, 5, tmp_path / "other", [PaperKeeper])
    assert asked == {"train", "valid", "test"}


def test_paper_keeps_what_was_best_on_test_and_changes_nothing_else(tree, tmp_path):
    root, params = tree
    processed, params = root / "processed" / DATASET, under(params, "paper", epochs=4, pattern="none")
    seen = {}

    class Noting(PaperKeeper):
        def __call__(self, progress):
            told = predict(self._model, self._test, spec, "cpu")["prediction"]
            for name, value in self._judged.scores(told, self._test.labels).items():
                seen.setdefault(name, []).append(value)
            super().__call__(progress)

    made = plan_of(params, "misa")
    corpus = read_corpus(processed, made.inputs)
    spec = experiments.InputSpec.of(corpus.splits["train"], made.inputs.lengths, 0)
    train_model(made, processed, 1, tmp_path / "paper", [Noting])
    for name, values in seen.items():
        card = checkpoint.read_card(tmp_path / "paper" / "paper" / name)
        best = min(values) if lower_is_better(name) else max(values)
        assert card.chosen_on_test == {name: best} and values.index(best) + 1 == card.best_epoch
        told = predict(checkpoint.load(tmp_path / "paper" / "paper" / name)[0], corpus.splits["test"], spec)
        labels = np.array([s.clip.label for s in corpus.splits["test"]])
        assert Judged.by(corpus.task).scores(told["prediction"], labels)[name] == pytest.approx(best, abs=1e-6)
    train_model(plan_of(under(params, "validation"), "misa"), processed, 1, tmp_path / "plain")
    same = [(tmp_path / kind / "model.safetensors").read_bytes() for kind in ("paper", "plain")]
    assert same[0] == same[1]


def test_a_killed_paper_run_ends_with_the_same_checkpoints(tree, tmp_path, monkeypatch):
    root, params = tree
    processed, made = root / "processed" / DATASET, plan_of(under(params, "paper", epochs=4), "misa")

    class Killed(experiments.Keeper):
        def __call__(self, progress):
            experiments.write_progress(self._path, progress)
            if progress.epoch == 2:
                raise KeyboardInterrupt

    train_model(made, processed, 2, tmp_path / "whole", [PaperKeeper])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(experiments, "Keeper", Killed)
        train_model(made, processed, 2, tmp_path / "again", [PaperKeeper])
    train_model(made, processed, 2, tmp_path / "again", [PaperKeeper])
    files = {p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*.*")}
    assert len(files) > 10 and files == {p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*.*")}
    for file in files:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


def test_each_metric_is_told_by_its_own_checkpoint(tree, monkeypatch):
    root, params = tree
    processed, params = root / "processed" / DATASET, under(params, "paper", epochs=4)
    made, settings = plan_of(params, "misa"), judging(params)
    plain = json.loads((processed / "scores" / "misa.json").read_text())
    with pytest.raises(MalformedInput, match=r"paper: expected checkpoints chosen on test.*dvc repro train"):
        judge(made, processed, settings)
    train_model(made, processed, 1, processed / "models" / "misa" / "1", [PaperKeeper])
    record = judge(made, processed, settings)
    assert record.protocol == "paper" and plain["protocol"] == "validation"
    assert set(record.patterns["frames"]["0.0"]) == set(plain["patterns"]["frames"]["0.0"])
    for choice in choices(processed / "models" / "misa" / "1", "paper"):
        with monkeypatch.context() as patch:
            patch.setattr(
                "lacuna.evaluate.run.choices", lambda *_, alone=choice: [replace(alone, taken=frozenset(), leads=True)]
            )
            alone = judge(made, processed, settings)
        for name in choice.metrics:
            for pattern, levels in record.patterns.items():
                for level, scores in levels.items():
                    assert scores[name] == alone.patterns[pattern][level][name]
                    assert record.intervals[pattern][level][name] == alone.intervals[pattern][level][name]


@pytest.mark.parametrize(("metric", "better"), [("mae", min), ("corr", max)])
def test_a_named_metric_of_validation_chooses_the_epoch(tree, tmp_path, metric, better):
    root, params = tree
    processed = root / "processed" / DATASET
    made = plan_of(under(params, "validation", epochs=4, select=metric), "misa")
    watched = []

    class Noting(Selection):
        def measure(self, model):
            told = [self._score(model, rate) for rate in (0.0, 0.3, 0.6, 0.9)]
            watched.append(float(np.mean(told)))
            return super().measure(model)

    assert observers_of(made) == [Selection]
    card, history = train_model(made, processed, 1, tmp_path / "run", [Noting])
    assert card.best_epoch == 1 + watched.index(better(watched)) and len(history.rows) == 4


SELECTED = [name for name in plugin_names("models") if "select" in plugin("models", name).TRAINING]


@pytest.mark.parametrize("name", SELECTED)
@pytest.mark.parametrize(("task", "metric"), [("regression", "mae"), ("polarity", "accuracy")])
def test_what_a_model_is_selected_by_is_known_of_every_task(tree, task, metric, name):
    root, params = tree
    train = params.train.model_dump() | {"task": task, "training": {"epochs": 1}}
    made = plan_of(params.model_copy(update={"train": type(params.train)(**train)}), name)
    corpus = read_corpus(root / "processed" / DATASET, made.inputs)
    card = SimpleNamespace(training=asdict(made.training), seed=1, spec=None)
    told = Selection(SimpleNamespace(corpus=corpus, card=card))
    assert observers_of(made) == [Selection] and told._metric == metric


def test_an_unknown_metric_is_named(tree, tmp_path):
    root, params = tree
    with pytest.raises(MalformedInput, match=r"training.select: expected loss, main or one of .*mae.*; got 'mea'"):
        made = plan_of(under(params, "validation", select="mea"), "misa")
        train_model(made, root / "processed" / DATASET, 1, tmp_path, [Selection])
