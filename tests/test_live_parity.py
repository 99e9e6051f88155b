"""Models of MMSA 2.2.1 are the reference: outputs, losses and gradients, with its settings of three data sets.

`tests/parity/<model>.py` with a `check_live(dataset)` compares the installed, unedited class with ours.
"""

import importlib
from pathlib import Path

import pytest
import torch
from parity import live

from lacuna.commands.convert import Source, convert
from lacuna.train import checkpoint

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


@live.needs_mmsa
@pytest.mark.parametrize("dataset", ["mosi", "sims"])
@pytest.mark.parametrize("model", ["tfn", "lmf", "mult", "self_mm"])
def test_a_checkpoint_of_mmsa_is_converted(tmp_path, model: str, dataset: str):
    theirs = live.build(model, dataset)
    torch.save({f"Model.{name}": tensor for name, tensor in theirs.model.state_dict().items()}, tmp_path / "theirs.pth")
    limit = 1.0 if dataset == "sims" else 3.0
    told = convert(model, Source(tmp_path / "theirs.pth", label_range=(-limit, limit)), tmp_path / "ours")
    ours, card = checkpoint.load(tmp_path / "ours")
    assert model in told[0] and card.published
    assert ours.spec.lengths == {m: frames for m, (frames, _) in theirs.shapes.items()}
    assert (ours.spec.low, ours.spec.high) == (-limit, limit)
    frames, lengths = dict.fromkeys(theirs.shapes, 9), {m: [9, 4] for m in theirs.shapes}
    batch = live.batch_of(theirs, frames, lengths, tokens=ours.spec.tokens)
    assert ours(batch)["prediction"].shape == (2,)


def test_there_are_models():
    assert {"tfn", "lmf", "mult", "self_mm"} <= set(MODELS)
