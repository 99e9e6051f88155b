"""The page of all data sets. In: processed/figures/*. Out: processed/report/index.html and report/figures/."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lacuna import __version__
from lacuna.figures.html import FRAGMENT
from lacuna.report.page import making, page
from lacuna.report.provenance import UNKNOWN, facts
from lacuna.stages import Cost
from lacuna.storage.files import replacing
from lacuna.types import MalformedInput

CHECKOUT = "git checkout <commit>     # the one named below\n"
CLONE = "make repro                # or, in an environment of your own: pip install -e . && dvc repro\n"
PROJECT = f"""\
pip install lacuna=={__version__}
dvc repro                 # with this project's params.yaml, pipeline/ and plugins/
"""


@dataclass(frozen=True)
class Made:
    """How a run was made: params.yaml as text, and what each stage cost."""

    settings: str
    costs: Sequence[Cost]


def commands(commit: str) -> str:
    """What to type to have the page again: in a clone of Lacuna, or in a project with Lacuna installed."""
    return (CHECKOUT if commit != UNKNOWN else "") + (CLONE if Path("src/lacuna").is_dir() else PROJECT)


def publish(title: str, datasets: Sequence[str], figures: Path, out: Path, made: Made) -> Path:
    """Join the fragments of the data sets, which lie under `figures`, into one page; returns its path."""
    fragments = {}
    for dataset in datasets:
        fragment = figures / dataset / FRAGMENT
        if not fragment.is_file():
            raise MalformedInput(f"{fragment}: expected the figures of {dataset}, found none (run `dvc repro figures`)")
        fragments[dataset] = fragment.read_text(encoding="utf-8")
    known = facts()
    told = making(known, made.costs, made.settings, commands(dict(known)["Commit"]))
    with replacing(out / "index.html") as temporary:
        temporary.write_text(page(title, fragments, told), encoding="utf-8")
    for dataset in datasets:
        target = out / "figures" / dataset
        if target.is_dir():
            shutil.rmtree(target)
        shutil.copytree(figures / dataset, target, ignore=shutil.ignore_patterns(FRAGMENT))
    return out / "index.html"
