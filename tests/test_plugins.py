"""Plug-ins of one's own: a file plugins/<room>/<name>.py in the project's folder is found like one of the package."""

import os
import subprocess
import sys
from pathlib import Path

import examples
import pytest

from lacuna.source.closure import PACKAGE

ASK = """
from lacuna.commands.doctor import examine
from lacuna.extract.cached import Extraction
from lacuna.params import plugin, plugin_names
from lacuna.source.reads import Source
from pathlib import Path
print({rooms!r}, [plugin(room, name).__name__ for room, name in {rooms!r}])
print(dict(examine()["Plug-ins of this project"]))
origin = Extraction("loudness", {{}}, Path("cache")).origin
print("code", origin.versions["code"])
print(sorted(Source("mask", {{}}, (("patterns", "late"),)).values()["code"]))
"""
ROOMS = [tuple(name.removesuffix(".py").split("/")) for name in examples.FILES]


@pytest.fixture
def project(tmp_path):
    """A folder with the examples of docs/extending.md in plugins/."""
    for name, content in examples.FILES.items():
        path = tmp_path / "plugins" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/mask.py").write_text("import lacuna\n")
    return tmp_path


def run(folder: Path, code: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


def told(folder: Path) -> list[str]:
    done = run(folder, ASK.format(rooms=ROOMS))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-4:]  # libraries may have said something first


def test_they_are_found_named_and_digested(project):
    lines = told(project)
    assert all(f"lacuna.{room}.{name}" in lines[0] for room, name in ROOMS)
    assert all(f"'{room}': '{name}'" in lines[1] for room, name in ROOMS)
    assert "patterns/late.py" in lines[3]


def test_changed_code_gives_another_cache_key_and_a_comment_does_not(project):
    path, before = project / "plugins/extractors/loudness.py", told(project)[2]
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\n# a comment\n", encoding="utf-8")
    assert told(project)[2] == before
    path.write_text(text + "\nANOTHER = 1\n", encoding="utf-8")
    assert told(project)[2] != before


@pytest.mark.parametrize(("room", "name"), [("models", "lnln"), ("patterns", "frames"), ("extractors", "face")])
def test_a_name_that_the_package_has_is_refused(project, room, name):
    (project / f"plugins/{room}/{name}.py").write_text("raise SystemExit('never imported')\n")
    done = run(project, f"from lacuna.params import plugin; plugin({room!r}, {name!r})")
    assert f"plugins/{room}/{name}.py: expected a name that lacuna/{room} does not have" in done.stderr
    assert "never imported" not in done.stderr
