"""What a stage's run cost: noted where DVC does not look, the last run of each told."""

import json
import subprocess
import sys

import pytest

from lacuna.report.page import making
from lacuna.stages import Cost, read_costs, run_stage
from lacuna.types import MalformedInput

SCRIPT = """
from lacuna.stages import run_stage

def main(dataset):
    held = bytearray(300_000_000)
    held[:: 4096] = b"x" * len(held[:: 4096])

run_stage(main)
"""


def test_a_run_notes_its_words_time_and_memory(tmp_path):
    (tmp_path / "hold.py").write_text(SCRIPT)
    for _ in range(2):
        subprocess.run([sys.executable, "hold.py", "demo"], cwd=tmp_path, check=True)
    assert len((tmp_path / "processed" / "stages.jsonl").read_text().splitlines()) == 2
    (cost,) = read_costs(tmp_path / "processed" / "stages.jsonl", ["demo"])
    assert (cost.stage, cost.words, cost.device) == ("hold", ("demo",), "CPU")
    assert 0.3e9 < cost.memory < 30e9 and 0 < cost.seconds < 60


def test_a_run_that_fails_notes_nothing(tmp_path, monkeypatch):
    def main() -> None:
        raise MalformedInput("label.csv: expected a table")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pipeline/prepare.py"])
    with pytest.raises(SystemExit, match=r"^prepare: label\.csv: expected a table$"):
        run_stage(main)
    assert not (tmp_path / "processed").exists()


def test_the_last_run_counts_and_what_is_gone_does_not(tmp_path):
    lines = [("train", "demo", 9.0), ("report", None, 1.0), ("train", "demo", 4.0), ("train", "other", 5.0)]
    records = [{"stage": s, "words": [w] if w else [], "seconds": t, "memory": 1, "device": "CPU"} for s, w, t in lines]
    (tmp_path / "log").write_text("".join(json.dumps(record) + "\n" for record in records))
    told = read_costs(tmp_path / "log", ["demo"])
    assert [(cost.stage, cost.seconds) for cost in told] == [("train", 4.0), ("report", 1.0)]
    assert read_costs(tmp_path / "none", []) == []


def test_costs_are_told_in_words():
    costs = [Cost("train", ("demo", str(k)), seconds, 2_500_000_000, "CPU") for k, seconds in enumerate((3599.7, 61.0))]
    html = making([], costs, "", "").body
    assert "1 h 1 min" in html and "1 h 0 min" in html and "1 min 1 s" in html and "2.50 GB" in html
    assert "not known here" in making([], [], "", "").body
