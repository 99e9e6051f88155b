"""Models of MMSA 2.2.1 are the reference: outputs, losses and gradients, with its settings of three data sets.

`tests/parity/<model>.py` with a `check_live(dataset)` compares the installed, unedited class with ours.
"""

import importlib
from pathlib import Path

import pytest
import torch
from parity import live

MODELS = sorted(
    path.stem
    for path in (Path(__file__).parent / "parity").glob("[!_]*.py")
    if "def check_live(" in path.read_text(encoding="utf-8")
)


@live.needs_mmsa
@pytest.mark.parametrize("dataset", live.DATASETS)
@pytest.mark.parametrize("model", MODELS)
def test_ours_is_the_published_model(model: str, dataset: str):
    torch.manual_seed(0)
    importlib.import_module(f"parity.{model}").check_live(dataset)


def test_there_are_models():
    assert {"tfn", "lmf", "mult", "self_mm"} <= set(MODELS)
