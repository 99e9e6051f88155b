"""Files that people look for are true: the schema is the code's, workflows parse, and what they name is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lacuna import __version__
from lacuna.cli import app
from lacuna.commands.init import init
from lacuna.commands.schema import params_schema

jsonschema = pytest.importorskip("jsonschema", reason="SKIPPED FOR WANT OF JSONSCHEMA: pip install 'lacuna[test]'")
ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
STORED = ROOT / "docs/params.schema.json"


def errors(values: dict) -> list[str]:
    validator = jsonschema.Draft202012Validator(params_schema())
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(values)]


def test_the_schema_is_the_codes_and_params_keeps_it() -> None:
    # In a process of its own: here the rooms also hold the documentation's examples.
    told = subprocess.run([sys.executable, "-m", "lacuna.cli", "docs", "schema"], capture_output=True, check=True)
    assert json.loads(STORED.read_text(encoding="utf-8")) == json.loads(told.stdout)
    jsonschema.Draft202012Validator.check_schema(params_schema())
    assert errors(yaml.safe_load((ROOT / "params.yaml").read_text())) == []


def test_editors_find_the_schema_in_the_clone_and_in_a_new_project(tmp_path: Path) -> None:
    assert {"params.yaml", "params.schema.json"} <= set(init(tmp_path / "mine"))
    for folder in (ROOT, tmp_path / "mine"):
        first = (folder / "params.yaml").read_text(encoding="utf-8").splitlines()[0]
        assert (folder / first.removeprefix("# yaml-language-server: $schema=")).read_bytes() == STORED.read_bytes()


@pytest.mark.parametrize("place", ["", "own", "inside", "without"])
def test_a_new_project_is_under_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """So that `dvc exp` works, and nothing of DVC's cache or of the data is ever added."""
    folder = tmp_path / "repository" / "mine"
    if place in ("own", "inside"):
        subprocess.run(["git", "init", "-q", folder if place == "own" else folder.parent], check=True)
    with monkeypatch.context() as without:
        if place == "without":
            without.setattr("shutil.which", lambda name: None)
        init(folder)
    assert (folder / ".git").exists() is (place in ("", "own"))
    assert ("no_scm" in (folder / ".dvc/config").read_text()) is (place == "without")
    for file in ("raw/mine/label.csv", ".dvc/cache/files/md5/00/1", ".dvc/tmp/lock", "processed/mine/clips.jsonl"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
    subprocess.run(["git", "init", "-q", folder], check=True)  # by hand, later
    subprocess.run(["git", "-C", folder, "add", "-A"], check=True)
    told = subprocess.check_output(["git", "-C", folder, "ls-files"], text=True).split()
    assert {f.split("/")[0] for f in told} == {
        *(".dvc", ".dvcignore", ".gitignore", "README.md", "dvc.yaml", "params.schema.json", "params.yaml", "pipeline")
    }
    assert {f for f in told if f.startswith(".dvc/")} == {".dvc/.gitignore", ".dvc/config"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("datasetz",), []),
        (("extract", "librosa"), {"raet": 16000}),
        (("extract", "image"), {"output": "pixels"}),
        (("train", "lnln"), {"model": {"widht": 3}}),
        (("train", "lnln"), {"training": {"epochs": "many"}}),
        (("train", "mine"), {"like": "lnln", "models": {}}),
        (("transcribe",), {"engine": "kaldi"}),
        (("evaluate",), {"bootstrap": -1}),
    ],
)
def test_what_an_editor_underlines(path: tuple[str, ...], value: object) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert len(errors(values)) == 1 and errors(values)[0].startswith(".".join(path[:-1]))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("train", "mine"), {"like": "lnln", "training": {"epochs": 3}, "features": ["bert"]}),
        (("extract", "bert", "per_dataset"), {"sims": {"max_length": 39}}),
        (("extract", "face", "fps"), None),
        (("prepare", "per_dataset"), {"sims": {"label_range": [-1, 1]}}),
    ],
)
def test_what_it_does_not(path: tuple[str, ...], value: object) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert errors(values) == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_is_there(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    makefile = (ROOT / "Makefile").read_text()
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert re.fullmatch(r"[\w-]+/[\w-]+@[\w./-]+", step.get("uses", "a/b@v1"))
            for target in re.findall(r"\bmake (\w+)", step.get("run", "")):
                assert f"\n{target}:" in makefile, f"make {target}"


def test_versions_that_are_tried_are_those_that_are_named() -> None:
    matrix = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]["strategy"]["matrix"]
    project = (ROOT / "pyproject.toml").read_text()
    assert matrix["python"] == re.findall(r"Python :: (3\.\d+)", project)
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    torch = re.search(r"^torch==\S+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[0]
    assert all(torch in p.read_text() for p in WORKFLOWS if "install torch" in p.read_text())


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_issue_forms(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert path.stem == "config" or ({"name", "description", "body"} <= set(form) and len(form["body"]) >= 2)


def test_version() -> None:
    told = CliRunner().invoke(app, ["--version"])
    assert (told.exit_code, told.output) == (0, f"lacuna {__version__}\n")


@pytest.mark.parametrize("word", ["params", "schema"])
def test_pages_from_the_code(word: str) -> None:
    told = CliRunner().invoke(app, ["docs", word])
    assert told.exit_code == 0 and "librosa" in told.output


def test_pages_of_the_site_are_there() -> None:
    text = re.sub(r"!!python\S*", "", (ROOT / "mkdocs.yml").read_text())
    for entry in yaml.safe_load(text)["nav"]:
        for page in entry.values():
            assert (ROOT / "docs" / page).is_file(), page
