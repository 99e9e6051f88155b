"""Text + image models: any modalities, padding and batch mates never felt, the published form named for what it is."""

from __future__ import annotations

import importlib
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from random_batches import TINY_BERT, random_batch, random_spec, rows
from torch import nn

from lacuna.data.batches import Batch
from lacuna.models.parts import image_text as parts
from lacuna.types import MalformedInput

WIDTHS = {"text": 12, "audio": 5, "vision": 7, "image": 9}
MODELS = ["concat", "gated", "single_stream", "dual_stream", "text_only", "image_only"]
STREAMS = ["single_stream", "dual_stream"]
PAIR = ("text", "image")


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"lacuna.models.{name}")


def _small(name: str, **changes: object) -> object:
    values = {"size": 8} | ({} if name == "image_only" else {"encoder": TINY_BERT}) | changes
    return _module(name).Settings(**values)


def _built(
    name: str, subset: tuple[str, ...] = PAIR, changes: dict | None = None, **spec: int
) -> tuple[nn.Module, Batch]:
    torch.manual_seed(0)
    spec = random_spec({m: WIDTHS[m] for m in subset}, **spec)
    return _module(name).Model(_small(name, **changes or {}), spec).eval(), random_batch(spec)


@pytest.mark.parametrize("name", STREAMS)
def test_the_published_form_does_depend_on_its_batch(name: str) -> None:
    model, batch = _built(name, changes={"published": True}, classes=3)
    together = model(batch)["prediction"]
    alone = torch.cat([model(rows(batch, [i]))["prediction"] for i in range(4)])
    assert (together - alone).abs().max() > 1e-3
    trained = {n for n, _ in model.named_parameters()}
    assert not any("norm" in n for n in trained)  # its layer norms are made anew at each call


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("gone", PAIR)
def test_a_modality_that_is_gone_is_borne(name: str, gone: str) -> None:
    """All regions unseen, or no word left: finite, and the same whatever stood there."""
    model, batch = _built(name, classes=3)
    lost = batch[gone]
    emptied = replace(lost, values=torch.zeros_like(lost.values), seen=torch.zeros_like(lost.seen))
    other = replace(batch, modalities=batch.modalities | {gone: emptied})
    told = model(other)["prediction"]
    assert torch.isfinite(told).all()
    rubbish = replace(emptied, values=torch.full_like(lost.values, 9.0))
    again = model(replace(batch, modalities=batch.modalities | {gone: rubbish}))["prediction"]
    torch.testing.assert_close(again, told)


def test_single_stream_tells_what_it_looked_at() -> None:
    model, batch = _built("single_stream", classes=3)
    told = model(batch)
    for m in PAIR:
        assert told[f"attention_{m}"].shape == batch[m].seen.shape
        assert not told[f"attention_{m}"][~batch[m].seen].any()


def test_dual_stream_returns_its_co_attention() -> None:
    model, batch = _built("dual_stream", classes=3)
    told = model(batch)
    text, image = batch["text"].seen.shape[1], batch["image"].seen.shape[1]
    assert told["attention_text_image"].shape == (4, text, image)
    assert told["attention_image_text"].shape == (4, image, text)
    assert told["summary_text_image"].shape == (4, image)
    unseen = ~batch["image"].seen
    assert not told["attention_text_image"].transpose(1, 2)[unseen].any()
    assert (told["summary_text_image"].sum(1) <= 1 + 1e-5).all()


def test_either_gate() -> None:
    for gate in PAIR:
        model, batch = _built("gated", changes={"gate": gate}, classes=3)
        assert model.gate == gate and model.gated == [m for m in PAIR if m != gate]
        assert ((model(batch)["gate"] > 0) & (model(batch)["gate"] < 1)).all()
    assert _built("gated", ("audio", "vision"))[0].gate == "vision"


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("concat", {"text_pool": "max"}, "text_pool"),
        ("gated", {"gate": "smell"}, "gate"),
        ("single_stream", {"size": 10, "heads": 4}, "heads"),
        ("dual_stream", {"balance": "smote"}, "balance"),
        ("text_only", {"size": 0}, "size"),
    ],
)
def test_nonsense_is_refused(name: str, changes: dict, named: str) -> None:
    with pytest.raises(MalformedInput, match=named):
        _module(name).Settings(**changes)


def test_weights_make_rare_classes_count_as_much() -> None:
    """With even logits the gradient of the weighted loss pulls to no class; of the plain one, to the common class."""
    spec = random_spec({"image": 4}, classes=3)
    labels = torch.tensor([0.0] * 60 + [1.0] * 10 + [2.0] * 30)
    pulls = {}
    for balance in ("none", "weights"):
        task = parts.Task(spec, balance).train()
        outputs = torch.zeros(100, 3, requires_grad=True)
        for _ in range(200):
            loss = task.loss(outputs, labels)
        loss.backward()
        pulls[balance] = outputs.grad.sum(0)
    assert pulls["weights"].abs().max() < 0.01 < pulls["none"].abs().max()


def test_focal_loss_is_lin_et_al() -> None:
    spec, outputs = random_spec({"image": 4}, classes=3), torch.randn(5, 3)
    labels = torch.tensor([0.0, 1.0, 2.0, 1.0, float("nan")])
    p = outputs.softmax(-1)[range(4), [0, 1, 2, 1]]
    expected = (-((1 - p) ** 2) * p.log()).mean()
    torch.testing.assert_close(parts.Task(spec, "focal", 2.0).loss(outputs, labels), expected)


@pytest.mark.parametrize("name", MODELS)
def test_no_label_no_loss(name: str) -> None:
    model, batch = _built(name, classes=3)
    unlabelled = replace(batch, labels={"M": torch.full((4,), float("nan"))})
    assert model.loss(unlabelled, unlabelled, 1)["loss"] == 0
