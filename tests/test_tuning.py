"""`lacuna tune`: the search finds what is known to be best, goes on after a stop, and never looks at the test split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from builders import samples
from typer.testing import CliRunner

from lacuna.cli import app
from lacuna.commands.tune.run import Search, like, tune
from lacuna.commands.tune.space import Choice, Range, parse
from lacuna.data.samples import read_clips, write_clips
from lacuna.params import load_params
from lacuna.storage.features import Origin, write_features
from lacuna.types import MalformedInput

optuna = pytest.importorskip("optuna", reason="SKIPPED FOR WANT OF OPTUNA: pip install 'lacuna[tune]'")
FEATURES = {"text": "bert", "audio": "librosa"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with features that a model learns from in a second; the labels of `test` are nonsense."""
    monkeypatch.chdir(tmp_path)
    made = samples(40, "train") + samples(16, "valid", 1)
    clips = [s.clip for s in made] + [s.clip for s in samples(4, "test", 2)]
    folder = tmp_path / "processed/made"
    write_clips(folder / "clips.jsonl", clips)
    for modality, name in FEATURES.items():
        columns = made[0].features[modality].columns
        rows = ((s.clip.id, s.features[modality]) for s in [*made, *samples(4, "test", 2)])
        write_features(folder / f"features/{name}.h5", Origin(name, modality, columns, {}, {}), rows)
    values = {"datasets": ["made"], "models": ["concat"], "seeds": [1], "extract": {"extractors": ["bert", "librosa"]}}
    values |= {"export": {"features": []}}
    values["train"] = {"features": list(FEATURES.values()), "concat": {"training": {"epochs": 4}}}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    return tmp_path


def search(space: Sequence[Choice | Range]) -> Search:
    params = load_params()
    return Search(Path("processed/made"), "concat", space, params.train, params.prepare.label_range, params.seeds)


def test_the_search_finds_the_rate_that_learns(project: Path) -> None:
    """A rate of 1e-9 learns nothing in four epochs, 1e-2 does."""
    space = parse(["training.learning_rate=1e-9,1e-2"])
    study = tune(search(space), 4)
    assert study.best_params == {"training.learning_rate": 1e-2}
    values = [t.value for t in study.trials]
    losses = {t.params["training.learning_rate"]: t.value for t in study.trials}
    assert losses[1e-2] < losses.get(1e-9, math.inf)
    again = tune(search(space), 5)
    assert [t.value for t in again.trials][:-1] == values and len(values) == 4
    assert not Path(".cache").exists()  # nothing of a trial is left


def test_the_test_split_decides_nothing(project: Path) -> None:
    space = parse(["training.learning_rate=1e-3..1e-2"])
    first = tune(search(space), 2)
    (project / "processed/made/tuning/concat.journal").unlink()
    clips = read_clips(project / "processed/made/clips.jsonl")
    write_clips(
        project / "processed/made/clips.jsonl",
        [replace(clip, labels={"M": -clip.label}) if clip.split == "test" else clip for clip in clips],
    )
    second = tune(search(space), 2)
    assert [t.value for t in first.trials] == [t.value for t in second.trials]


def test_the_command_tells_a_block_that_params_takes(project: Path) -> None:
    told = CliRunner().invoke(app, ["tune", "made", "concat", "--trials", "3", "--vary", "training.batch_size=4,8"])
    assert told.exit_code == 0, told.output
    folder = project / "processed/made/tuning"
    block = yaml.safe_load((folder / "concat.yaml").read_text())
    assert block["train"]["concat_tuned"]["like"] == "concat"
    assert set(block["train"]["concat_tuned"]["training"]) == {"epochs", "batch_size"}
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["train"] |= block["train"]
    values["models"] = ["concat", "concat_tuned"]
    Path("params.yaml").write_text(yaml.safe_dump(values))
    settings = load_params().train.training_settings("concat_tuned", "made")
    assert settings["batch_size"] in (4, 8) and settings["epochs"] == 4
    table = pd.read_csv(folder / "concat.csv")
    assert len(table) == 3 and np.isfinite(table["value"]).all()
    assert (folder / "concat.svg").read_bytes().startswith(b"<?xml") and (folder / "concat.png").is_file()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("training.learning_rate=1e-5..1e-3", Range("training.learning_rate", 1e-5, 1e-3)),
        ("model.width=16..64", Range("model.width", 16, 64)),
        ("model.pool=mean,max", Choice("model.pool", ("mean", "max"))),
        ("training.encoder_learning_rate=null,1e-5", Choice("training.encoder_learning_rate", (None, 1e-5))),
        ("model.finetune=true,false", Choice("model.finetune", (True, False))),
    ],
)
def test_words_of_a_space(word: str, expected: Choice | Range) -> None:
    assert parse([word]) == (expected,)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("learning_rate=1..2", "expected training.<setting>"),
        ("data.seed=1", "expected training.<setting>"),
        ("training.=1", "expected training.<setting>"),
        ("training.epochs", "expected training.<setting>"),
        ("training.epochs=9..3", "two numbers"),
        ("training.epochs=a..b", "two numbers"),
    ],
)
def test_words_that_are_none(word: str, told: str) -> None:
    with pytest.raises(MalformedInput, match=told):
        parse([word])


def test_a_setting_twice_or_unknown(project: Path) -> None:
    with pytest.raises(MalformedInput, match="each setting once"):
        parse(["model.a=1,2", "model.a=3,4"])
    with pytest.raises(MalformedInput, match="learning_rat"):
        tune(search(parse(["training.learning_rat=1,2"])), 1)


def test_what_is_like_a_variant_stays_like_its_file(project: Path) -> None:
    train = load_params().train
    train = type(train)(**(train.model_dump() | {"mine": {"like": "concat", "model": {"size": 9}}}))
    found = like(train, "mine", {"training.epochs": 3, "model.dropout": 0.5})
    assert found == {"like": "concat", "training": {"epochs": 3}, "model": {"size": 9, "dropout": 0.5}}


@pytest.mark.parametrize("words", ["model.no_such=1,2", "training.epochz=1..9", "training.learning_rate=a,b"])
def test_a_setting_that_there_is_not_stops_before_the_first_trial(
    project: Path, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = CliRunner().invoke(app, ["tune", "made", "concat", "--trials", "1", "--vary", words])
    assert isinstance(done.exception, MalformedInput) and words.partition("=")[0].partition(".")[2] in str(
        done.exception
    )
    assert not list(project.rglob("*.journal"))
    assert "Traceback" not in capsys.readouterr().err
