"""dvc.yaml is true: stage = script = section of params.yaml = room, and each stage's deps are all that it reads."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from builders import stage
from small_project import DATASET, ROOT, STAGES, changed, paths, runs, settings

from lacuna.params import Params

NO_SECTION = {"source"}  # there is nothing to set
RUNS = [run for run in runs(settings()) if run[0] != "source"]


def test_stage_is_script_is_section_is_room():
    scripts = {path.stem for path in (ROOT / "pipeline").glob("*.py")}
    rooms = {path.name for path in (ROOT / "src/lacuna").iterdir() if path.is_dir()}
    assert scripts == set(STAGES) <= rooms and scripts - NO_SECTION <= set(Params.model_fields)


@pytest.mark.parametrize("name", STAGES)
def test_no_stage_names_a_module_or_a_setting(name):
    told = STAGES[name]
    assert not any(dep.startswith(("src", "pipeline", "plugins")) for dep in told.get("deps", ()))
    sources = [Path(dep) for dep in told.get("deps", ()) if dep.startswith("processed/source")]
    assert name == "source" or ("params" not in told and [s.name.split(".")[0] for s in sources] == [name])


def test_dvc_keeps_the_scores():
    """Git ignores processed/: a metric that DVC did not cache either would be in no experiment."""
    metrics = [entry for stage in STAGES.values() for entry in stage.get("metrics", [])]
    assert metrics and all(isinstance(entry, str) for entry in metrics)


# Another value for much of params.yaml. A run whose source a change leaves alone must give the same bytes under it.
CHANGES = {
    "workers": 2,
    "seeds": [1111, 5],
    "demo.size": 160,
    "prepare.label_range": [-4, 4],
    "prepare.max_rejects": 0.5,
    "extract.tokens": {"source": "embedded", "max_length": 7},
    "extract.bert": {"source": "embedded", "max_length": 7},
    "extract.librosa": {"recipe": "sims33", "hop_length": 1024},
    "extract.face": {"backend": "mesh", "fps": 5},
    "align.words": "ctc",
    "mask.rates": [0.3],
    "mask.seeds": [7],
    "export.lengths": {"text": 9, "audio": 9, "vision": 9},
    "export.features": ["bert", "librosa"],
    "export.incomplete": [],
    "train.features": ["tokens", "face"],
    "train.lengths": {"text": 5},
    "train.standardize": False,
    "train.device": "cpu",
    "train.lnln": {"model": {"width": 32}},
    "train.protocol": "paper",
    "evaluate.bootstrap": 3,
    "evaluate.patterns": ["modality"],
    "figures.frames": 2,
    "report.title": "Another",
}


def sources(values: dict) -> dict[str, str]:
    """What stage source writes of these params, by file, in the current folder."""
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    stage("source")
    return {p.as_posix(): p.read_text(encoding="utf-8") for p in Path("processed/source").rglob("*.json")}


@pytest.fixture(scope="module")
def unread(project, tmp_path_factory):
    """{source file: the changes of params.yaml that leave it as it is}."""
    folder, left = tmp_path_factory.mktemp("unread"), {}
    for name in ("raw", "pipeline"):
        shutil.copytree(project / name, folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        usual = sources(settings())
        for key, value in CHANGES.items():
            for file, told in sources(changed(settings(), key, value)).items():
                if usual.get(file) == told:
                    left.setdefault(file, []).append(key)
    return left


@pytest.mark.parametrize("run", RUNS, ids=lambda run: "-".join([run[0], *run[1].values()]))
def test_a_run_reads_what_its_deps_say_and_nothing_else(project, unread, run, tmp_path, monkeypatch):
    """In a folder that holds its deps alone, under params that differ in all that its source does not say."""
    name, item = run
    needed = paths(name, item, "deps")
    files = [dep for dep in needed if dep.startswith("processed/source")]
    plans = [dep for dep in needed if "/settings/" in dep]
    if plans:  # a plan tells the settings of the model, and which features it reads, by their digests
        files.append(f"processed/source/{DATASET}/models.{item['model']}.json")
        read = json.loads((project / plans[0]).read_text(encoding="utf-8"))["read"]
        needed += [f"processed/{DATASET}/features/{feature}.h5" for feature in read if name == "train"]
    for dep in needed:
        target = tmp_path / dep
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(project / dep, target) if (project / dep).is_dir() else shutil.copy(project / dep, target)
    values = settings()
    for key in (key for key in CHANGES if name != "report" and all(key in unread[file] for file in files)):
        values = changed(values, key, CHANGES[key])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LACUNA_CACHE", str(project / ".cache" / "lacuna"))
    stage(name, *item.values())
    for out in paths(name, item, "outs"):
        made = sorted(p for p in (tmp_path / out).rglob("*") if p.is_file()) or [tmp_path / out]
        for file in made:
            if name != "report" or file.suffix != ".html":  # the page tells what stages cost
                assert file.read_bytes() == (project / file.relative_to(tmp_path)).read_bytes(), file
