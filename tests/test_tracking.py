"""Trackers are told every epoch, and neither Git nor DVC sees a change."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from accelerate import tracking as trackers

from lacuna.train.track import REFUSALS, ROOT, Tracking
from lacuna.train.trainer import History, Progress
from lacuna.types import MalformedInput

PROJECT = Path(__file__).parents[1]


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def progress(*losses: float) -> Progress:
    rows = [{"epoch": i, "learning_rate": 0.5, "valid_loss": x} for i, x in enumerate(losses, 1)]
    return Progress(len(rows), History(rows, 1), {}, {}, {}, {})


def tracking(name: str, folder: Path) -> Tracking:
    """A tracker of a run with these settings."""
    fitting = SimpleNamespace(card=SimpleNamespace(training={"epochs": 3, "encoder_learning_rate": None}))
    return Tracking([name], folder, {"scores": "processed/mine/scores/lnln.json"}, fitting)


def test_a_repository_stays_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    run("git", "init", "-q")
    run(sys.executable, "-m", "dvc", "init", "-q")
    pipeline = (PROJECT / "dvc.yaml").read_bytes()
    Path("dvc.yaml").write_bytes(pipeline)
    Path("params.yaml").write_bytes((PROJECT / "params.yaml").read_bytes())
    Path(".gitignore").write_bytes((PROJECT / ".gitignore").read_bytes())
    run("git", "add", "-A")
    run("git", "-c", "user.name=n", "-c", "user.email=e@x", "commit", "-qm", "first")

    live = tracking("dvclive", ROOT / "mine" / "lnln" / "1")
    live(progress(3.0))
    live(progress(3.0, 2.0))
    live.finish(tmp_path)

    assert run("git", "status", "--porcelain") == "" and Path("dvc.yaml").read_bytes() == pipeline
    assert run("git", "for-each-ref", "refs/exps") == ""
    folder = ROOT / "mine" / "lnln" / "1"
    assert json.loads((folder / "metrics.json").read_text()) == {
        "learning_rate": 0.5,
        "valid": {"loss": 2.0},
        "step": 2,
    }
    table = (folder / "plots" / "metrics" / "valid" / "loss.tsv").read_text().split()
    assert table == ["step", "loss", "1", "3.0", "2", "2.0"]


def test_a_run_that_goes_on_has_the_whole_curve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracking("dvclive", Path("here"))(progress(3.0))
    tracking("dvclive", Path("here"))(progress(3.0, 2.0, 1.0))
    rows = Path("here/plots/metrics/valid/loss.tsv").read_text().splitlines()
    assert [row.split()[0] for row in rows[1:]] == ["1", "2", "3"]


def test_tensorboard_has_the_curve_and_where_scores_are(tmp_path):
    pytest.importorskip("tensorboardX", reason="SKIPPED FOR WANT OF TENSORBOARDX: pip install 'lacuna[track]'")
    run = tracking("tensorboard", tmp_path / "mine" / "lnln" / "1")
    run(progress(3.0, 2.0))
    run.finish(tmp_path)
    (events,) = (tmp_path / "mine/lnln/1/tensorboard").glob("events*")
    assert b"valid/loss" in events.read_bytes()
    assert any("processed/mine/scores/lnln.json" in p.read_text() for p in tmp_path.rglob("hparams.yml"))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_trackers_that_are_services(name, tmp_path, monkeypatch):
    """accelerate's own trackers, before a stand-in for the service's client."""
    client = MagicMock()
    client.search_experiments.return_value = []
    for limit in ("MAX_PARAM_VAL_LENGTH", "MAX_PARAMS_TAGS_PER_BATCH"):
        setattr(client.utils.validation, limit, 100)
    monkeypatch.setitem(sys.modules, name, client)
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: [trackers.LoggerType(name)])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = tracking(name, tmp_path / "mine" / "lnln" / "1")
    run(progress(3.0))
    run(progress(3.0, 2.0))
    told = {"learning_rate": 0.5, "valid/loss": 2.0}
    if name == "wandb":
        assert client.init.call_args.kwargs == {"project": "lacuna", "name": "mine/lnln/1"}
        log = client.init.return_value.log.call_args
        assert log.args == (told,) and log.kwargs == {"step": 2}
        assert client.config.update.call_args.args[0]["scores"] == "processed/mine/scores/lnln.json"
    else:
        assert client.log_metrics.call_args.args == (told,) and client.log_metrics.call_args.kwargs == {"step": 2}
        assert client.start_run.call_args.kwargs["run_name"] == "mine/lnln/1"
        assert os.environ["MLFLOW_TRACKING_URI"].startswith("sqlite:///")  # MLflow 3 refuses folders


@pytest.mark.parametrize("name", ["dvclive", "wandb", "mlflow"])
def test_a_tracker_that_cannot_start_says_why_in_one_line(name, tmp_path, monkeypatch):
    """A repository without a commit (really one); nobody logged in; a server that does not answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: list(trackers.LoggerType))
    said = "Empty git repo"
    if name == "dvclive":
        for words in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
            subprocess.run(words, check=True)
    else:
        module, _, kind = REFUSALS[name].rpartition(".")
        refusal, said = type(kind, (Exception,), {}), "No API key configured."
        monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{kind: refusal}))
        broken = MagicMock()
        broken.return_value.start.side_effect = refusal(f"{said}\nUse `wandb login`")
        monkeypatch.setitem(trackers.LOGGER_TYPE_TO_CLASS, name, broken)
    with pytest.raises(MalformedInput, match=f"train.track: expected {name} to start, it said: {said}"):
        tracking(name, tmp_path / "live" / "mine" / "lnln" / "1")


def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: [])
    with pytest.raises(MalformedInput, match=r"train.track: .*pip install mlflow"):
        tracking("mlflow", tmp_path)
