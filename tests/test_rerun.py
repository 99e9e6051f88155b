"""What must rerun what: each row of the table in ARCHITECTURE.md, asked of DVC after the change was made."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_project import DATASET, ROOT, changed, settings

from lacuna.source.closure import PACKAGE
from lacuna.storage.files import digest_of_file
from lacuna.storage.runs import Run

UNUSED = "raise ImportError('nothing imports this file')\n"
NEW_PATTERN = {"mask.patterns": ["frames", "modality", "span"], "evaluate.patterns": ["frames", "modality", "span"]}
LIBROSA = {"recipe": "sims33", "hop_length": 1024}


@pytest.fixture(scope="module")
def checkout(project, tmp_path_factory):
    """A copy of the project and of the code, of which DVC knows that every stage is up to date."""
    folder = tmp_path_factory.mktemp("rerun")
    shutil.copytree(project, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".cache"))
    shutil.copytree(PACKAGE, folder / "src" / "lacuna", ignore=shutil.ignore_patterns("__pycache__"))
    dvc(folder, "init", "--no-scm", "-q")
    dvc(folder, "config", "core.analytics", "false")
    source(folder)
    dvc(folder, "commit", "-f", "-q")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """The copy's code, and the Python of these tests, come first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(folder / "src"), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def dvc(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "dvc", *words]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def source(folder: Path) -> None:
    command = [sys.executable, "pipeline/source.py"]
    subprocess.run(command, cwd=folder, env=environment(folder), check=True, capture_output=True)


def rerun(folder: Path) -> set[str]:
    """The stages, without their data set, that DVC would run for another reason than that `source` always runs."""
    source(folder)
    told = json.loads(dvc(folder, "status", "--json"))
    return {name.replace(f"@{DATASET}", "") for name in told} - {"source"}


@pytest.fixture
def change(checkout):
    """Write files of the checkout; after the test they are what they were."""
    before: dict[Path, str | None] = {}

    def write(name: str, edit) -> None:
        path = checkout / name
        before[path] = path.read_text(encoding="utf-8") if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(edit(before[path] or ""), encoding="utf-8")

    yield write
    for path, text in before.items():
        path.unlink() if text is None else path.write_text(text, encoding="utf-8")


def test_nothing_changed_nothing_runs(checkout):
    assert rerun(checkout) == set()


@pytest.mark.parametrize("run", [("train", DATASET, "lnln", "1111"), ("evaluate", DATASET, "lnln")])
def test_what_dvc_has_as_done_is_done(checkout, monkeypatch, run):
    """`lacuna train` reads DVC's own digests, of files and of folders."""
    monkeypatch.chdir(checkout)
    monkeypatch.setattr("lacuna.storage.runs.digest_of_file", counted := Counted())
    assert Run.of(run[0], run[1:]).done() and len(counted.files) >= 6
    other = next(p for p in Run.of(run[0], run[1:]).outs if p.suffix in (".csv", ".json"))
    monkeypatch.setattr(counted, "changed", other)
    assert not Run.of(run[0], run[1:]).done()


class Counted:
    """The digest of a file; of one that is `changed`, another one."""

    def __init__(self) -> None:
        self.files, self.changed = [], None

    def __call__(self, path: Path, algorithm: str) -> str:
        self.files.append(path)
        return "0" * 32 if path == self.changed else digest_of_file(path, algorithm)


def test_a_comment_and_a_docstring_run_nothing(checkout, change):
    for name in ("types.py", "evaluate/metrics.py", "models/lnln.py", "extractors/librosa.py", "storage/features.py"):
        change(f"src/lacuna/{name}", lambda text: '"""Other words.\n' + text.removeprefix('"""') + "\n# a comment\n")
    change("pipeline/train.py", lambda text: text + "# a comment\n")
    assert rerun(checkout) == set()


@pytest.mark.parametrize("room", ["datasets", "extractors", "patterns", "models"])
@pytest.mark.parametrize("where", ["src/lacuna", "plugins"])
def test_an_unused_new_file_in_a_plugin_room_runs_nothing(checkout, change, room, where):
    change(f"{where}/{room}/unused.py", lambda _: UNUSED if room != "datasets" else "def matches(root): return False\n")
    assert rerun(checkout) == set()


@pytest.mark.parametrize("key", ["train.device", "train.track", "train.processes", "workers", "compute.retries"])
def test_what_changes_no_result_runs_nothing(checkout, change, key):
    values = {
        "train.device": "cpu",
        "train.track": ["tensorboard"],
        "train.processes": 2,
        "workers": 2,
        "compute.retries": 3,
    }
    change("params.yaml", lambda _: yaml.safe_dump(changed(settings(), key, values[key])))
    # The page prints params.yaml, so it alone is made again.
    assert rerun(checkout) <= {"report"}


def test_a_new_pattern_never_trains(checkout, change):
    values = settings()
    for key, value in NEW_PATTERN.items():
        values = changed(values, key, value)
    change("params.yaml", lambda _: yaml.safe_dump(values))
    assert rerun(checkout) == {"mask-span", "evaluate-lnln", "figures", "report"}


def test_one_models_file_runs_that_model(checkout, change):
    change("src/lacuna/models/lnln.py", lambda text: text + "\nANOTHER = 1\n")
    assert rerun(checkout) == {"models-lnln"}  # and with its plan, train and evaluate of lnln
    change("src/lacuna/models/misa.py", lambda text: text + "\nANOTHER = 1\n")
    assert rerun(checkout) == {"models-lnln"}


def test_a_training_pattern_runs_the_models_that_train_under_it(checkout, change):
    change("src/lacuna/patterns/mixed.py", lambda text: text + "\nANOTHER = 1\n")
    assert rerun(checkout) == {"models-lnln"}


def test_the_settings_of_an_extractor_run_what_reads_it(checkout, change):
    change("params.yaml", lambda _: yaml.safe_dump(changed(settings(), "extract.librosa", LIBROSA)))
    assert rerun(checkout) == {"extract-librosa", "report"}  # and with its file, all that reads it


def test_the_tokens_settings_run_align_too(checkout, change):
    tokens = {"source": "embedded", "max_length": 7}
    change("params.yaml", lambda _: yaml.safe_dump(changed(settings(), "extract.tokens", tokens)))
    assert rerun(checkout) == {"extract-tokens", "align-librosa", "align-face", "report"}


def test_other_data_sets_than_the_demo_make_no_demo(checkout):
    told = json.loads((checkout / "processed/source/demo.json").read_text(encoding="utf-8"))
    assert told["settings"]["wanted"] is False and not (checkout / "raw/demo/label.csv").exists()
    assert settings()["datasets"] == [DATASET] and (ROOT / "dvc.yaml").is_file()
