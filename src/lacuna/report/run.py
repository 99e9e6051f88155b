"""The page of all data sets. In: processed/figures/*. Out: processed/report/index.html and report/figures/."""

from __future__ import annotations

import shutil
from pathlib import Path

from lacuna.figures.html import FRAGMENT
from lacuna.params import Params
from lacuna.report.page import making, page
from lacuna.report.provenance import facts
from lacuna.stages import LOG, read_costs
from lacuna.storage.features import replacing
from lacuna.types import MalformedInput

COMMANDS = """\
git checkout <commit>     # the one named below
make repro                # or, in an environment of your own: pip install -e . && dvc repro
"""


def publish(params: Params, settings: Path, figures: Path, out: Path) -> Path:
    """Join the fragments of `params.datasets` into one page; returns its path."""
    fragments = {}
    for dataset in params.datasets:
        fragment = figures / dataset / FRAGMENT
        if not fragment.is_file():
            raise MalformedInput(f"{fragment}: expected the figures of {dataset}, found none (run `dvc repro figures`)")
        fragments[dataset] = fragment.read_text(encoding="utf-8")
    costs = read_costs(figures.parent / LOG.name, _words(params))
    told = making(facts(), costs, settings.read_text(encoding="utf-8"), COMMANDS)
    with replacing(out / "index.html") as temporary:
        temporary.write_text(page(params.report.title, fragments, told), encoding="utf-8")
    for dataset in params.datasets:
        target = out / "figures" / dataset
        if target.is_dir():
            shutil.rmtree(target)
        shutil.copytree(figures / dataset, target, ignore=shutil.ignore_patterns(FRAGMENT))
    return out / "index.html"


def _words(params: Params) -> set[str]:
    """All that may follow a stage's name."""
    plugins = [*params.models, *params.extract.extractors, *params.mask.patterns]
    return {*params.datasets, *plugins, *map(str, params.seeds)}
