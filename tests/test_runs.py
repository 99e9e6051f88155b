"""Runs that were done elsewhere: the stage's script finds them, and makes nothing itself; what is stale is refused."""

import importlib
import shutil
from pathlib import Path

import pytest
import yaml
from builders import stage
from small_project import DATASET, changed, paths, settings

from lacuna.cli import app
from lacuna.commands import runs
from lacuna.params import load_params
from lacuna.storage.cache import default_root
from lacuna.storage.runs import Run
from lacuna.types import MalformedInput

SEEDS = (1111, 5)


@pytest.fixture
def copy(project, tmp_path, monkeypatch):
    """The small project without what was trained and judged, and with two seeds; the current folder."""
    shutil.copytree(project, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("models", "scores", "report"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LACUNA_CACHE", raising=False)
    for name in ("scores", "models"):
        shutil.rmtree(tmp_path / "processed" / DATASET / name, ignore_errors=True)
    use(settings(seeds=[*SEEDS]))
    return tmp_path


def use(values):
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    stage("source")


def lacuna(*words):
    app([*words], standalone_mode=False)


def without(monkeypatch, module, name):
    """From here on the function counts its calls and does nothing."""
    calls = []

    def counted(*_, **__):
        calls.append(name)
        raise MalformedInput("nothing is to be made anew")

    monkeypatch.setattr(importlib.import_module(module), name, counted)
    return calls


def content(folder, outs):
    files = (p for out in outs for p in (*(folder / out).rglob("*"), folder / out) if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def outs(name, **item):
    return paths(name, {"dataset": DATASET, "model": "lnln", **item}, "outs")


def test_two_shards_then_the_stage_trains_nothing(copy, project, monkeypatch, capfd):
    for shard in ("2/2", "1/2"):
        lacuna("train", "--shard", shard)
    assert capfd.readouterr().out.count("best epoch") == 2
    made = {seed: content(copy, outs("train", seed=str(seed))) for seed in SEEDS}
    assert made[1111] == content(project, outs("train", seed="1111")) and len(made[1111]) == 4
    shutil.rmtree(copy / "processed" / DATASET / "models")  # as DVC does before it runs a stage
    calls = without(monkeypatch, "lacuna.train.run", "train_model")
    lacuna("train", "--shard", "1/2")
    assert "found in the cache" in capfd.readouterr().out
    for seed in SEEDS:
        stage("train", DATASET, "lnln", str(seed))
        assert content(copy, outs("train", seed=str(seed))) == made[seed]
    assert not calls and capfd.readouterr().out.count("found in the cache") == 2
    kept = next(p for p in default_root().rglob("history.csv") if "/5/" in p.as_posix())
    kept.write_bytes(kept.read_bytes().replace(b"1", b"2", 1))  # a damaged disk: as good as none
    assert not Run.of("train", [DATASET, "lnln", "5"]).place(default_root()) and not kept.exists()
    plan = copy / "processed" / DATASET / "settings" / "lnln.json"
    plan.write_text(plan.read_text(encoding="utf-8") + "\n", encoding="utf-8")  # another content: another run
    with pytest.raises(SystemExit):
        stage("train", DATASET, "lnln", "5")
    assert calls == ["train_model"]


def test_a_judged_model_is_found_too(copy, project, monkeypatch, capfd):
    use(settings())
    shutil.copytree(project / "processed" / DATASET / "models", copy / "processed" / DATASET / "models")
    lacuna("evaluate", DATASET)
    made = content(copy, outs("evaluate"))
    assert made == content(project, outs("evaluate")) and len(made) == 3
    shutil.rmtree(copy / "processed" / DATASET / "scores")
    calls = without(monkeypatch, "lacuna.evaluate.run", "judge")
    stage("evaluate", DATASET, "lnln")
    assert content(copy, outs("evaluate")) == made and not calls
    assert "found in the cache" in capfd.readouterr().out
    weights = copy / "processed" / DATASET / "models" / "lnln" / "1111" / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(SystemExit):
        stage("evaluate", DATASET, "lnln")
    assert calls == ["judge"]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("train.standardize", False, "settings/lnln.json: expected the plan of today's code, settings and features"),
        ("train.lnln", {"model": {"width": 32}}, "settings/lnln.json: expected the plan of today's"),
    ],
)
def test_what_the_plan_does_not_know_is_refused(copy, key, value, told):
    use(changed(settings(), key, value))
    with pytest.raises(MalformedInput, match=told):
        lacuna("train")


def test_code_that_the_source_does_not_know_is_refused(copy):
    source = copy / "processed" / "source" / DATASET / "train.json"
    source.write_text("{}", encoding="utf-8")
    with pytest.raises(MalformedInput, match=r"train.json: expected today's code and settings"):
        lacuna("train", DATASET)


def test_other_features_than_the_plans_are_refused(copy):
    features = copy / "processed" / DATASET / "features" / "librosa.h5"
    features.write_bytes(features.read_bytes() + b" ")
    with pytest.raises(MalformedInput, match="expected the plan of today's"):
        lacuna("train")


def test_a_failed_run_is_told_and_the_others_are_done(copy, capfd):
    use(settings(seeds=[*SEEDS], workers=2))
    script = copy / "pipeline" / "train.py"
    script.write_text(
        "import sys\nfrom lacuna.storage.runs import Run\nfrom lacuna.stages import run_stage\n"
        "def main(*words):\n    if words[2] == '5': sys.exit('train: no such luck')\n"
        "    for out in Run.of('train', words).outs:\n        out.parent.mkdir(parents=True, exist_ok=True)\n"
        "        out.write_text('made')\n    print('made', words[2])\nrun_stage(main)\n"
    )
    stage("source")
    with pytest.raises(MalformedInput, match="1 of 2 runs failed"):
        lacuna("train")
    assert capfd.readouterr().out.splitlines()[-2:] == ["made 1111", "train: no such luck"]
    run = Run.of("train", [DATASET, "lnln", "1111"])
    assert run.place(default_root()) and not Run.of("train", [DATASET, "lnln", "5"]).place(default_root())


def test_runs_that_dvc_yaml_does_not_have(copy):
    assert Run.of("train", ["a", "b"]) is Run.of("none", []) is Run.of("report", []) is None
    run = Run.of("train", ["other", "lnln", "1"])
    assert run.name == "train@other-lnln-1" and not run.done() and not run.place(default_root())
    with pytest.raises(MalformedInput, match=r"processed/source/other/train.json: expected what stage train reads"):
        run.key()


@pytest.mark.parametrize(
    ("device", "engine", "gpu", "workers"),
    [
        ("cpu", "ray", False, 3),
        ("auto", "ray", True, 3),  # Ray gives one where the cluster has any: tests/test_cluster.py
        ("cuda", "ray", True, 3),
        ("cuda:1", "ray", True, 3),
        ("cuda", "local", True, 1),  # one at a time
        ("cpu", "local", False, 3),
    ],
)
def test_a_training_asks_for_a_gpu_unless_it_is_told_the_cpu(tmp_path, monkeypatch, device, engine, gpu, workers):
    monkeypatch.chdir(tmp_path)
    values = changed(settings(workers=3, compute={"engine": engine}), "train.device", device)
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    told = runs._engine(load_params(), [DATASET])
    assert (told.kind, told.gpu, told.workers) == (engine, gpu, workers)
