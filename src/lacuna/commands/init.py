"""A new project. In: a folder. Out: params.yaml, dvc.yaml, pipeline/, raw/, processed/, plugins/ and a README in it.

The files are those of Lacuna's own repository, which the wheel carries in lacuna/project.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lacuna.params.plugins import ROOMS
from lacuna.types import MalformedInput

PACKAGE = Path(__file__).parents[1]
FILES = ("params.yaml", "dvc.yaml", ".dvcignore", "pipeline")
SCHEMA = "docs/params.schema.json"  # what params.yaml's first line names; a project has it beside that file
README = """# {name}

A Lacuna project. Run the pipeline with `dvc repro`.

- `raw/`: your data sets, one folder each. `lacuna check <dataset>` lists what would be refused.
- `params.yaml`: every setting. `datasets: [demo]` makes synthetic clips; name the folders of `raw/` instead.
- `params.schema.json`: by it editors check and complete `params.yaml`.
- `plugins/<room>/<name>.py`: your own extractors, patterns, models and layouts.
- `processed/`: features, masks, pickles for MMSA, models, scores and `report/index.html`.
- `pipeline/`, `dvc.yaml`: the stages. You need not change them.
"""
DVC_IGNORED = "/config.local\n/tmp\n/cache\n"
IGNORED = "/raw/*\n/processed/*\n/live/\n/.cache/\n"


def init(folder: Path) -> list[str]:
    """Write a project into a new or empty folder; what was written. MalformedInput where the folder holds something."""
    if folder.exists() and (not folder.is_dir() or any(p.name != ".git" for p in folder.iterdir())):
        raise MalformedInput(f"{folder}: expected a new or empty folder, found something in it")
    for name in ("raw", "processed", *(f"plugins/{room}" for room in ROOMS)):
        (folder / name).mkdir(parents=True)
    source = project_files()
    for name in FILES:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source / name, folder / name)
    shutil.copyfile(source / SCHEMA, folder / Path(SCHEMA).name)
    params = (folder / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(params.replace(SCHEMA, Path(SCHEMA).name), encoding="utf-8")
    (folder / "README.md").write_text(README.format(name=folder.resolve().name), encoding="utf-8")
    (folder / ".gitignore").write_text(IGNORED, encoding="utf-8")
    _init_dvc(folder)
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def project_files() -> Path:
    """The folder of the files that a project starts with: in the wheel, or the repository this code lies in."""
    installed = PACKAGE / "project"
    return installed if installed.is_dir() else PACKAGE.parents[1]


def _init_dvc(folder: Path) -> None:
    from dvc.repo import Repo  # takes a second to import

    git = _under_git(folder)
    with (
        Repo.init(str(folder), no_scm=not git, subdir=git and not (folder / ".git").exists()) as repo,
        repo.config.edit("repo") as config,
    ):
        config["core"] |= {"analytics": False, "check_update": False}
        if git:
            config["core"]["autostage"] = True
    (folder / ".dvc/.gitignore").write_text(DVC_IGNORED, encoding="utf-8")  # DVC writes it only under git


def _under_git(folder: Path) -> bool:
    """Whether the folder is in a git repository, its own one if it was in none; `dvc exp` works in no other folder."""
    if shutil.which("git") is None:
        return False
    git = ("git", "-C", str(folder))
    if subprocess.run([*git, "rev-parse", "--git-dir"], capture_output=True).returncode:
        subprocess.run([*git, "init", "--quiet"], check=True)
    return True
