"""A folder acts as the hub: what is pushed there is loaded again, two files of it and nothing more."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from builders import sequence
from safetensors.torch import load_file
from small_checkpoint import write_checkpoint
from typer.testing import CliRunner

import lacuna
from lacuna.cli import app
from lacuna.commands.share.card import _protocol
from lacuna.commands.share.hub import MODEL_FILES, fetched, push
from lacuna.data.samples import write_clips
from lacuna.storage.cache import digest_of
from lacuna.storage.features import Origin, write_features
from lacuna.train.checkpoint import read_card
from lacuna.types import Clip, MalformedInput


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LACUNA_HUB", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint where training leaves it, with scores beside it."""
    folder = write_checkpoint(tmp_path / "processed/made/models/lnln/1111")
    scores = {"dataset": "made", "model": "lnln", "protocol": "validation", "task": "regression", "scale": "mosi"}
    scores |= {"clips": {"test": 32}, "over_rates": {}}
    scores["patterns"] = {"frames": {r: {"mae": {"mean": 0.5 + float(r), "std": 0.1}} for r in ("0.0", "0.5")}}
    path = tmp_path / "processed/made/scores/lnln.json"
    path.parent.mkdir()
    path.write_text(json.dumps(scores))
    return folder


def test_a_model_goes_there_and_back(hub: Path, checkpoint: Path) -> None:
    told = CliRunner().invoke(app, ["push", str(checkpoint), "me/my-model"])
    assert told.exit_code == 0 and "me/my-model: README.md, model.json, model.safetensors" in told.output
    model = lacuna.load("hf://me/my-model")
    assert model.card.model == "lnln"
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (checkpoint, hub / "me/my-model"))
    assert ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in ours)


def test_the_card_says_what_it_is(hub: Path, checkpoint: Path) -> None:
    push(checkpoint, "me/my-model")
    card = (hub / "me/my-model/README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["library_name"] == "lacuna" and {"text", "audio"} <= set(front["tags"])
    assert "| text | `bert` | 384 |" in card and "Selected on the validation split" in card
    assert "| frames | 0.5 | 1.000 |" in card and "32 test clips" in card and "## Limits" in card


def test_weights_chosen_on_test_say_so(hub: Path, checkpoint: Path) -> None:
    record = json.loads((checkpoint / "model.json").read_text()) | {"chosen_on_test": {"mae": 0.7}}
    del record["digest"]
    (checkpoint / "model.json").write_text(json.dumps(record | {"digest": digest_of(record)}))
    push(checkpoint, "me/chosen")
    assert "**Selected on the test split** (mae 0.7000)" in (hub / "me/chosen/README.md").read_text()


def test_classes_are_told_by_name(checkpoint: Path) -> None:
    card = read_card(checkpoint)
    assert "labels from -3 to 3; task: regression" in next(_protocol(card))
    named = replace(card, task="class", spec=replace(card.spec, classes=2), classes=("calm", "cross"))
    assert "classes: calm, cross; task: class" in next(_protocol(named))


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "weights.pkl"])
def test_a_pickle_in_any_files_clothes_is_never_opened(
    hub: Path, checkpoint: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    push(checkpoint, "me/bad")
    (hub / "me/bad" / name).write_bytes(pickle.dumps(Bomb()))
    try:
        lacuna.load("hf://me/bad")
        assert name not in MODEL_FILES
    except Exception as error:  # whichever it is, the pickle must not have run
        assert name in MODEL_FILES, error
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["alone", "a/b/c", "../up", "a/../b", "", "a/-b c"])
def test_names_that_are_none(hub: Path, checkpoint: Path, name: str) -> None:
    with pytest.raises(MalformedInput, match="repository: expected <organisation>/<name>"):
        push(checkpoint, name)


def test_what_is_neither_model_nor_features(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(MalformedInput, match="found neither"):
        push(tmp_path, "me/nothing")


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LACUNA_HUB", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MalformedInput, match="hf://no/such-model: expected a model of the hub"):
        lacuna.load("hf://no/such-model")


def test_folders_are_what_they_are() -> None:
    assert fetched("processed/demo/models/lnln/1111") == Path("processed/demo/models/lnln/1111")


def test_features_as_parquet(hub: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="SKIPPED FOR WANT OF PYARROW: pip install 'lacuna[hub]'")
    folder, rng = tmp_path / "processed/made", np.random.default_rng(0)
    splits = ("train", "train", "valid", "test")
    clips = [Clip(f"v$_${i}", "made", split, f"词 {i}", {"M": i / 2}) for i, split in enumerate(splits)]
    clips.append(Clip("v$_$9", "made", "test"))
    kept = {clip.id: sequence(rng.normal(size=(3 + i, 2))) for i, clip in enumerate(clips[:-1])}
    write_clips(folder / "clips.jsonl", clips)
    write_features(folder / "features/rms.h5", Origin("rms", "audio", ("c0", "c1"), {"rate": 1}, {}), kept.items())
    files = push(folder, "me/made")
    assert files == ["README.md", "rms/test.parquet", "rms/train.parquet", "rms/validation.parquet"]
    table = parquet.read_table(hub / "me/made/rms/train.parquet")
    assert json.loads(table.schema.metadata[b"lacuna"])["columns"] == ["c0", "c1"]
    for row in table.to_pylist():
        np.testing.assert_array_equal(np.array(row["values"], np.float32), kept[row["id"]].values)
        np.testing.assert_array_equal(row["times"], kept[row["id"]].times)
        assert all(row["seen"]) and row["text"].startswith("词")
    last = parquet.read_table(hub / "me/made/rms/test.parquet").to_pylist()[-1]
    assert last == {"id": "v$_$9", "text": "", "label": None, "times": [], "seen": [], "values": []}
    front = yaml.safe_load((hub / "me/made/README.md").read_text().split("---\n")[1])
    assert front["configs"][0]["data_files"][1] == {"split": "validation", "path": "rms/validation.parquet"}
