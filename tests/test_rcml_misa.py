"""RCML-MISA: any views, lost ones, padding, batches of one, every setting by name, and the prototype's errors."""

from dataclasses import replace

import pytest
import torch
from random_batches import TINY_BERT, random_batch, random_spec

from lacuna.data.batches import InputSpec
from lacuna.models import rcml_misa
from lacuna.models.parts import evidence as ev
from lacuna.types import MalformedInput

WIDTHS = {"text": 12, "audio": 5, "vision": 7, "image": 9}
SUBSETS = [("text",), ("text", "image"), ("text", "audio", "vision"), tuple(WIDTHS)]
SMALL = rcml_misa.Settings(size=8, feed=16, encoder=TINY_BERT)
PROTOTYPE = replace(rcml_misa.PUBLISHED, size=8, feed=16, encoder=TINY_BERT)


def built(settings=SMALL, subset=("text", "audio", "vision"), tokens=False):
    torch.manual_seed(0)
    spec = random_spec({m: WIDTHS[m] for m in subset}, tokens=tokens, classes=3)
    return rcml_misa.Model(settings, spec).eval(), random_batch(spec)


@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
@pytest.mark.parametrize("settings", [SMALL, PROTOTYPE], ids=["mended", "prototype"])
def test_any_views_train_and_predict(subset, settings):
    model, batch = built(settings, subset, tokens="text" in subset)
    told = model(batch)
    assert told["prediction"].shape == (4, 3) and torch.allclose(told["prediction"].sum(1), torch.ones(4))
    assert told["uncertainty"].shape == told["conflict"].shape == (4,)
    assert told["attention"].shape == (4, 2 * len(subset), 2 * len(subset))
    assert {f"{part}_{m}" for part in ("evidence", "private", "shared") for m in subset} <= set(told)
    losses = model.train().loss(batch, batch, epoch=1)
    assert set(losses) == {"loss", "evidential", "conflict", "sim", "diff", "recon", "task"}
    losses["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_every_word_of_every_setting_runs():
    for change in (
        {"projection": "relu_norm"}, {"activation": "sigmoid"}, {"batch_norm": False}, {"shared": "each"},
        {"fused": "prototype"}, {"private": "fused"}, {"unseen": "read"}, {"form": "log"},
        {"form": "mse"}, {"unimodal_labels": True},
    ):  # fmt: skip
        model, batch = built(replace(SMALL, **change))
        assert torch.isfinite(model.train().loss(batch, batch, 3)["loss"])


def test_the_prototypes_fusion_never_reads_the_shared_opinion():
    evidence = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]], [[9.0, 9.0]]])  # two views, and what they share
    opinions = rcml_misa._prototype(evidence, 2)
    assert opinions[0].tolist() == [[4.0, 6.0]]  # the running sum in the first view's place
    assert opinions[-1].tolist() == [[4.0, 6.0]]  # twice the private average
    model, batch = built()
    read = model.read(batch)
    assert torch.equal(model.opinions(read)[-1], ev.fuse(read.evidence_OBK))


def test_a_view_reaches_the_private_opinions_of_others_only_through_fusion():
    for private, alike in (("own", True), ("fused", False)):
        model, batch = built(replace(SMALL, private=private))
        louder = replace(batch["audio"], values=batch["audio"].values * 3)
        told = model(replace(batch, modalities=batch.modalities | {"audio": louder}))
        assert torch.equal(told["evidence_text"], model(batch)["evidence_text"]) == alike


def test_a_lost_view_is_vacuous_and_tells_nothing():
    model, batch = built()
    lost = replace(batch["audio"], seen=torch.zeros_like(batch["audio"].seen))
    silent = replace(batch, modalities=batch.modalities | {"audio": lost})
    rubbish = replace(batch, modalities=batch.modalities | {"audio": replace(lost, values=lost.values + 3)})
    told = model(silent)
    assert not told["evidence_audio"].any()
    torch.testing.assert_close(told["prediction"], model(rubbish)["prediction"])
    nothing = {m: replace(p, seen=torch.zeros_like(p.seen)) for m, p in batch.modalities.items()}
    assert torch.allclose(model(replace(batch, modalities=nothing))["uncertainty"], torch.ones(4))


def test_refusals():
    with pytest.raises(MalformedInput, match="rcml_misa: expected a task with at least 2 classes"):
        rcml_misa.Model(SMALL, InputSpec({"audio": 2}, {"audio": 1}))
    with pytest.raises(MalformedInput, match=r"rcml_misa\.activation: expected one of none, sigmoid"):
        rcml_misa.Settings(activation="relu")
    with pytest.raises(MalformedInput, match="multiple of heads"):
        rcml_misa.Settings(size=9)
