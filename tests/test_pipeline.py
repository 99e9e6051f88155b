"""The whole way on a few synthetic clips: every stage runs, and again to the same bytes, or from the cache."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from builders import stage
from small_project import CLIPS, ROOT, extract_all, results, settings

from lacuna import demo
from lacuna.data.samples import read_clips
from lacuna.export.pickle import load
from lacuna.params import load_params
from lacuna.stages import read_costs
from lacuna.storage.features import FeatureFile


@pytest.fixture
def copy(project, tmp_path, monkeypatch):
    """A copy of the project's raw data and cache to change at will; returns its folder."""
    for name in ("raw", ".cache", "pipeline"):
        shutil.copytree(project / name, tmp_path / name)
    shutil.copy(project / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cached(folder: Path) -> set[Path]:
    return {p.relative_to(folder) for p in (folder / ".cache").rglob("*.npz")}


def test_every_stage_left_what_others_rely_on(project):
    out = project / "processed" / "small"
    for name in (
        *("clips.jsonl", "rejects.csv", "variants/frames.h5", "variants/modality.h5", "mmsa/unaligned.pkl"),
        *("mmsa/aligned.pkl", "mmsa/incomplete/frames-0.3-1.pkl", "models/lnln/1111/model.safetensors"),
        *("models/lnln/1111/model.json", "models/lnln/1111/history.csv", "scores/lnln.json", "features/face.h5"),
    ):
        assert (out / name).stat().st_size, name
    assert (project / "processed" / "report" / "index.html").stat().st_size > 10_000
    assert not list(project.rglob("*.tmp"))


def test_what_each_stage_cost_is_noted_and_shown(project):
    params = load_params(project / "params.yaml")
    known = {"small", "lnln", "1111", *params.extract.extractors, *params.mask.patterns}
    costs = read_costs(project / "processed" / "stages.jsonl", known)
    ran = {(cost.stage, *cost.words) for cost in costs}
    assert {("prepare", "small"), ("extract", "small", "face"), ("train", "small", "lnln", "1111"), ("report",)} <= ran
    assert len(ran) == len(costs) and all(0 <= cost.seconds < 600 and cost.memory > 1e7 for cost in costs)
    page = (project / "processed/report/index.html").read_text(encoding="utf-8")
    assert "Time and memory" in page and "extract small face" in page


def test_features_are_of_every_clip_and_finite(project):
    clips = read_clips(project / "processed/small/clips.jsonl")
    assert len(clips) == CLIPS
    widths = {"tokens": 3, "bert": 384, "librosa": 33, "face": 709}
    for name, width in widths.items():
        with FeatureFile(project / f"processed/small/features/{name}.h5") as file:
            assert list(file.ids) == [c.id for c in clips] and len(file.origin.columns) == width
            assert file.lengths().min() > 0
            assert all(np.isfinite(file[c.id].values).all() for c in clips)


def test_scores_hold_every_level_and_the_baselines(project):
    scores = json.loads((project / "processed/small/scores/lnln.json").read_text())
    assert set(scores["patterns"]["frames"]) == {"0.0", "0.5"}
    assert len(scores["patterns"]["modality"]) == 2 + 7
    assert scores["patterns"]["frames"]["0.0"]["mae"] == scores["patterns"]["modality"]["audio+text+vision"]["mae"]
    assert {"majority", "text_linear"} <= set(scores["baselines"])
    low, high = scores["intervals"]["frames"]["0.0"]["mae"]
    assert low <= scores["patterns"]["frames"]["0.0"]["mae"]["mean"] <= high


def test_the_incomplete_pickle_tells_what_is_lost(project):
    incomplete = load(project / "processed/small/mmsa/incomplete/frames-0.3-1.pkl").splits["train"]
    whole = load(project / "processed/small/mmsa/unaligned.pkl").splits["train"]
    lost = incomplete["audio_missing_mask"] == 0
    assert not incomplete["audio"][lost].any() and lost.mean() > 0.1
    kept = incomplete["text_bert"][:, 0] != 100
    np.testing.assert_array_equal(incomplete["text_bert"][:, 0][kept], whole["text_bert"][:, 0][kept])
    np.testing.assert_array_equal(incomplete["text_bert"][:, 1], whole["text_bert"][:, 1])


def test_from_scratch_with_two_workers_gives_the_same_bytes(project, copy):
    shutil.rmtree(copy / ".cache")
    Path("params.yaml").write_text(yaml.safe_dump(settings(workers=2)))
    extract_all()
    stage("align", "small", "librosa")
    stage("align", "small", "face")
    for pattern in ("frames", "modality"):
        stage("mask", "small", pattern)
    stage("export", "small")
    wanted, made = results(project / "processed/small"), results(copy / "processed/small")
    assert set(made) == {name for name in wanted if not name.startswith(("models", "scores"))}
    assert [name for name in made if made[name] != wanted[name]] == []


def test_a_replaced_video_is_extracted_again_and_nothing_else(project, copy):
    before = cached(copy)
    videos = sorted(copy.glob("raw/small/Raw/*/*.mp4"))
    shutil.copy(videos[0], videos[-1])  # another's bytes: known by content, so even this costs nothing
    extract_all()
    assert cached(copy) == before
    demo.make(copy / "other", demo.Settings(clips=3, seconds=1.0, size=96, seed=99))
    shutil.copy(next((copy / "other").glob("Raw/*/*.mp4")), videos[-1])
    extract_all()
    new = cached(copy) - before
    assert sorted(p.parts[2] for p in new) == ["face", "librosa"]


def test_a_changed_label_and_a_deleted_row_cost_nothing(project, copy):
    before, table = cached(copy), copy / "raw/small/label.csv"
    rows = pd.read_csv(table, dtype=str)
    rows.loc[0, "label"] = "2.5"
    rows.drop(index=3).to_csv(table, index=False)
    extract_all()
    clips = read_clips(copy / "processed/small/clips.jsonl")
    assert len(clips) == CLIPS - 1 and clips[0].label == 2.5
    assert cached(copy) == before


def test_a_killed_extraction_loses_nothing_and_leaves_nothing_half_written(copy):
    shutil.rmtree(copy / ".cache")
    stage("prepare", "small")
    command = [sys.executable, str(ROOT / "pipeline/extract.py"), "small", "face"]
    process = subprocess.Popen(command, cwd=copy, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(cached(copy)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = cached(copy)
    assert len(kept) >= 3 and not (copy / "processed/small/features/face.h5").exists()
    stage("extract", "small", "face")
    assert kept <= cached(copy) and len(cached(copy)) == CLIPS


def test_an_error_is_one_line_that_names_the_matter(copy):
    (copy / "raw/small/label.csv").unlink()
    with pytest.raises(SystemExit) as error:
        stage("prepare", "small")
    assert "raw/small" in str(error.value) and "\n" not in str(error.value)
