"""Two at once, in one folder or on one cache: equal bytes, no crash, nothing left. Slow: `python -m pytest -m slow`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_project import DATASET, paths, runs, settings

pytestmark = pytest.mark.slow
EXTRACTORS = ("tokens", "librosa")
TRAIN = next(tuple(item.values()) for name, item in runs(settings()) if name == "train")
EXPORT = next(tuple(item.values()) for name, item in runs(settings()) if name == "export")


@pytest.fixture
def folder(project, tmp_path):
    """A copy of the small project, in which every stage has run once."""
    return shutil.copytree(project, tmp_path / "one", symlinks=True)


def environment(**more: str) -> dict[str, str]:
    """The Python of these tests comes first, for what DVC starts too."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {k: v for k, v in os.environ.items() if k != "LACUNA_CACHE"} | {"PATH": path} | more


def at_once(*jobs: tuple[Path, list[str]], **more: str) -> list[tuple[int, str]]:
    """(exit status, what was said) of commands (folder, words) that are started together."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": environment(**more)}
    started = [subprocess.Popen([sys.executable, *words], cwd=folder, **options) for folder, words in jobs]
    said = [process.communicate(timeout=1200)[0] for process in started]
    assert not any("Traceback" in text for text in said), said
    return [(process.returncode, text) for process, text in zip(started, said)]


def written(folder: Path, name: str, *values: str) -> dict[str, bytes]:
    """What a run wrote, by path."""
    item = next(item for other, item in runs(settings()) if (other, *item.values()) == (name, *values))
    found = {}
    for place in paths(name, item, "outs"):
        files = [folder / place] if (folder / place).is_file() else sorted((folder / place).rglob("*"))
        found |= {p.relative_to(folder).as_posix(): p.read_bytes() for p in files if p.is_file()}
    return found


def forget(folder: Path) -> None:
    """What extraction wrote, and its cache."""
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    for name in EXTRACTORS:
        for path in written(folder, "extract", DATASET, name):
            (folder / path).unlink()


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".lacuna-*")]


def test_two_repros_in_one_folder(folder):
    """DVC lets one in, or both after each other; the other is told so in DVC's own words."""
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=folder, check=True, env=environment())
    before = {name: written(folder, "extract", DATASET, name) for name in EXTRACTORS}
    forget(folder)
    words = ["-m", "dvc", "repro", "--single-item", *(f"extract@{DATASET}-{name}" for name in EXTRACTORS)]
    done = at_once((folder, words), (folder, words))
    assert 0 in [status for status, _ in done], done
    for status, said in done:
        assert not status or "Unable to acquire lock" in said or "is busy, it is being blocked by" in said, said
    assert {name: written(folder, "extract", DATASET, name) for name in EXTRACTORS} == before
    assert leftovers(folder) == []


def test_two_extracts_of_one_dataset(folder):
    before = {name: written(folder, "extract", DATASET, name) for name in EXTRACTORS}
    forget(folder)
    words = ["-m", "lacuna.cli", "extract", DATASET, *EXTRACTORS]
    assert [status for status, _ in at_once((folder, words), (folder, words))] == [0, 0]
    assert {name: written(folder, "extract", DATASET, name) for name in EXTRACTORS} == before
    assert leftovers(folder) == []


def test_extract_beside_train(folder):
    """The files that are trained on are written anew meanwhile."""
    before = written(folder, "train", *TRAIN), written(folder, "extract", DATASET, "librosa")
    shutil.rmtree(folder / ".cache/lacuna/librosa")
    done = at_once(
        (folder, ["pipeline/train.py", *TRAIN]),
        (folder, ["pipeline/extract.py", DATASET, "librosa"]),
        (folder, ["pipeline/extract.py", DATASET, "tokens"]),
    )
    assert [status for status, _ in done] == [0, 0, 0], done
    assert (written(folder, "train", *TRAIN), written(folder, "extract", DATASET, "librosa")) == before
    assert leftovers(folder) == []


def test_two_clones_share_a_cache(folder, tmp_path):
    other, shared = shutil.copytree(folder, tmp_path / "two", symlinks=True), tmp_path / "shared"
    before = [written(folder, "extract", DATASET, name) for name in EXTRACTORS]
    before.append(written(folder, "export", *EXPORT))
    for clone in (folder, other):
        forget(clone)
    for words in (["-m", "lacuna.cli", "extract", DATASET, *EXTRACTORS], ["pipeline/export.py", *EXPORT]):
        done = at_once((folder, words), (other, words), LACUNA_CACHE=str(shared))
        assert [status for status, _ in done] == [0, 0], done
    for clone in (folder, other):
        now = [written(clone, "extract", DATASET, name) for name in EXTRACTORS]
        assert [*now, written(clone, "export", *EXPORT)] == before
        assert leftovers(clone) == [] and not (clone / ".cache").exists()
    assert leftovers(shared) == []
