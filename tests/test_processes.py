"""Two processes that share each batch learn what one learns from it: every model, its published form too."""

import os
import socket
from dataclasses import fields, replace
from unittest.mock import patch

import examples  # noqa: F401 (also where this module is imported by another process)
import pytest
import torch
from builders import samples, tokens
from random_batches import TINY_BERT
from torch import distributed, multiprocessing, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lacuna.compute.distributed import join
from lacuna.data.batches import InputSpec
from lacuna.data.samples import Sample
from lacuna.params import plugin, plugin_names
from lacuna.patterns import frames
from lacuna.train.trainer import Data, Settings, fit
from lacuna.types import MalformedInput

CLASSES = ("rcml", "rcml_misa")  # count evidence for classes
VARIANTS = {"misa": [{"similarity": "adversarial"}], "dmd": [{"orthogonality": "batch"}]}
CASES = [
    (name, form, change)
    for name in plugin_names("models")
    for form, changes in (("mended", [{}, *VARIANTS.get(name, [])]), ("published", [{}]))
    for change in changes
    if form == "mended" or hasattr(plugin("models", name), "PUBLISHED")
    if not hasattr(plugin("models", name).Model, "solve")  # in closed form: there are no gradients
]
# 13 clips in batches of 4: the last batch has one, and nothing is left for the second process.
SETTINGS = Settings(optimizer="adam", batch_size=4, accumulate=2, epochs=2, learning_rate=1e-4, bucket=False)


def made(count: int, split: str, classes: int) -> list[Sample]:
    """Text as token ids, some without a label, where a model takes that."""
    changed = []
    for i, sample in enumerate(samples(count, split, widths={"text": 3, "audio": 4, "image": 5})):
        label = {"M": float(i % classes)} if classes else sample.clip.labels if i % 5 else {}
        words = tokens(*(101 + (7 * i + k) % 90 for k in range(3 + i % 4)))
        changed.append(Sample(replace(sample.clip, labels=label), sample.features | {"text": words}))
    return changed


def without_dropout(model: nn.Module) -> nn.Module:
    """Draws of dropout are each process's own: the rest must be equal."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        elif hasattr(module, "shape"):
            rates = [field.name for field in fields(module.shape) if field.name.endswith("dropout")]
            module.shape = replace(module.shape, **dict.fromkeys(rates, 0.0))
    if hasattr(getattr(model, "settings", None), "text_dropout"):
        model.settings = replace(model.settings, text_dropout=0.0)
    return model


@patch("torch.randn_like", torch.zeros_like)  # as dropout: what a variational model draws is each process's own
def trained(name: str, form: str, change: dict) -> dict:
    """History, predictions and the gradients of the first step."""
    module, classes = plugin("models", name), 3 if name in CLASSES else 0
    train, valid = made(13, "train", classes), made(5, "valid", classes)
    spec = InputSpec.of(train, {}, classes)
    settings = module.PUBLISHED if form == "published" else module.Settings()
    encoder = {"encoder": TINY_BERT} if hasattr(settings, "encoder") else {}
    torch.manual_seed(1)
    model = without_dropout(module.Model(replace(settings, **encoder, **change), spec))
    first: dict[str, torch.Tensor] = {}

    def keep(optimizer, args, kwargs):
        if not first:
            first.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})

    hook = register_optimizer_step_pre_hook(keep)
    history = fit(model, Data(train, valid, spec, frames), SETTINGS, seed=1)
    hook.remove()
    return {"rows": history.rows, "gradients": first}


def one_of_two(rank: int, port: int, out: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    told = [trained(*case) for case in CASES]
    torch.save(told, f"{out}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    out = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(one_of_two, (port, str(out)), nprocs=2)
    return [torch.load(out / f"{rank}.pt") for rank in range(2)]


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MalformedInput, match=r"processes.*1 GPUs, got 2"):
        join(torch.device("cuda"))


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda i: "-".join(map(str, CASES[i])))
def test_two_processes_learn_what_one_learns(by_two, index):
    wanted = trained(*CASES[index])
    for told in (by_two[0][index], by_two[1][index]):
        assert told["gradients"].keys() == wanted["gradients"].keys()
        whole = torch.cat([g.flatten() for g in wanted["gradients"].values()]).norm()
        for name, gradient in wanted["gradients"].items():
            error = float((told["gradients"][name] - gradient).norm())
            assert error <= 1e-4 * float(gradient.norm()) + 5e-6 * float(whole), name
        for row, expected in zip(told["rows"], wanted["rows"], strict=True):
            assert row == pytest.approx(expected, rel=1e-3, abs=1e-4)
