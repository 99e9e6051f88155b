"""Live metrics: they are there epoch by epoch, and neither Git nor DVC sees a change."""

import json
import subprocess
import sys
from pathlib import Path

from lacuna.train.track import ROOT, Live
from lacuna.train.trainer import History, Progress

PROJECT = Path(__file__).parents[1]


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def progress(*losses: float) -> Progress:
    rows = [{"epoch": i, "learning_rate": 0.5, "valid_loss": x} for i, x in enumerate(losses, 1)]
    return Progress(len(rows), History(rows, 1), {}, {}, {}, {})


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

    live = Live(ROOT / "mine" / "lnln" / "1")
    live(progress(3.0))
    live(progress(3.0, 2.0))

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
    live = Live(Path("here"))
    live(progress(3.0))
    Live(Path("here"))(progress(3.0, 2.0, 1.0))
    rows = Path("here/plots/metrics/valid/loss.tsv").read_text().splitlines()
    assert [row.split()[0] for row in rows[1:]] == ["1", "2", "3"]
