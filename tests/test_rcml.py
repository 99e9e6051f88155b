"""RCML and what it rests on: evidence by hand, order-free fusion, lost views, padding, and refusals."""

from dataclasses import replace

import pytest
import torch
from random_batches import TINY_BERT, random_batch, random_spec

from lacuna.data.batches import Batch, InputSpec, Padded
from lacuna.models import rcml
from lacuna.models.parts import evidence as ev
from lacuna.types import MalformedInput

WIDTHS = {"text": 12, "audio": 5, "vision": 7, "image": 9}
SUBSETS = [("text",), ("image",), ("text", "image"), ("text", "audio", "vision"), tuple(WIDTHS)]


SMALL = rcml.Settings(encoder=TINY_BERT)


def built(settings=SMALL, subset=("text", "audio", "vision"), tokens=False):
    torch.manual_seed(0)
    spec = random_spec({m: WIDTHS[m] for m in subset}, tokens=tokens, classes=3)
    return rcml.Model(settings, spec).eval(), random_batch(spec)


def views(arrays: list[list[list[float]]], labels: list[int]) -> Batch:
    """A batch of multi-view rows: any names, one frame each."""
    tensors = {f"view{v}": torch.tensor(a)[:, None] for v, a in enumerate(arrays)}
    count = len(labels)
    ones = torch.ones(count, 1, dtype=torch.bool)
    modalities = {n: Padded(x, torch.zeros(count, 1), ones, torch.ones(count).long()) for n, x in tensors.items()}
    return Batch(tuple(map(str, range(count))), modalities, {"M": torch.tensor(labels).float()})


def test_views_may_have_any_name():
    batch = views([[[1.0, 0.0]], [[0.5]]], [1])
    model = rcml.Model(rcml.Settings(), InputSpec({"view0": 2, "view1": 1}, {"view0": 1, "view1": 1}, classes=2))
    assert set(model(batch)) == {"prediction", "uncertainty", "conflict", "evidence_view0", "evidence_view1"}


def test_a_score_has_no_evidence():
    with pytest.raises(MalformedInput, match="rcml: expected a task with at least 2 classes, got 0"):
        rcml.Model(rcml.Settings(), InputSpec({"audio": 2}, {"audio": 1}))
    with pytest.raises(MalformedInput, match="expected a class for each"):
        model, batch = built()
        model.loss(replace(batch, labels={"M": torch.full((4,), torch.nan)}), batch, 1)


@pytest.mark.parametrize("setting", ["fusion", "unseen", "form"])
def test_refuses_words_that_name_nothing(setting):
    with pytest.raises(MalformedInput, match=f"rcml.{setting}: expected one of"):
        rcml.Settings(**{setting: "other"})


def test_opinions_by_hand():
    evidence = torch.tensor([[3.0, 0.0]])  # α = 4, 1
    assert ev.expected(evidence).tolist() == [[pytest.approx(0.8), pytest.approx(0.2)]]
    assert ev.uncertainty(evidence).item() == pytest.approx(0.4)
    assert ev.uncertainty(torch.zeros(1, 2)).item() == 1.0


def test_conflict_by_hand():
    # Two views, sure of opposite classes: |.8-.2|·2/2 = .6, certainty .6 each, counted in both directions, V-1 = 1.
    assert ev.conflict(torch.tensor([[[3.0, 0.0]], [[0.0, 3.0]]])).item() == pytest.approx(2 * 0.6 * 0.36)
    assert ev.conflict(torch.tensor([[[3.0, 0.0]], [[3.0, 0.0]]])).item() == 0
    assert ev.conflict(torch.tensor([[[3.0, 0.0]], [[0.0, 0.0]]])).item() == 0  # who knows nothing contradicts nobody
    assert ev.conflict(torch.tensor([[[3.0, 0.0]]])).item() == 0


def test_evidential_losses_by_hand():
    evidence, target = torch.tensor([[1.0, 0.0]]), torch.tensor([0])  # α = 2, 1; S = 3
    assert ev.edl_loss(evidence, target, "log", 0).item() == pytest.approx(0.405465, abs=1e-5)  # log 3/2
    assert ev.edl_loss(evidence, target, "digamma", 0).item() == pytest.approx(0.5)  # ψ(3) - ψ(2) = 1/2
    assert ev.edl_loss(evidence, target, "mse", 0).item() == pytest.approx(2 / 9 + 2 * 2 / 36)
    assert ev.edl_loss(evidence, target, "log", 1).item() == pytest.approx(0.405465, abs=1e-5)  # no wrong evidence
    # KL(Dir(1, 2) ‖ Dir(1, 1)) = log 2 + ψ(2) - ψ(3) = log 2 - 1/2
    assert ev.kl_to_uniform(torch.tensor([[1.0, 2.0]])).item() == pytest.approx(0.193147, abs=1e-5)
    assert ev.annealing(5, 50) == 0.1 and ev.annealing(80, 50) == 1.0


def test_mean_fusion_is_order_free_and_sequential_is_not():
    evidence = torch.tensor([[[4.0, 0.0]], [[0.0, 2.0]], [[0.0, 1.0]]])
    assert ev.fuse(evidence, "mean").tolist() == ev.fuse(evidence.flip(0), "mean").tolist()
    assert ev.fuse(evidence, "sequential").tolist() == [[1.0, 1.0]]
    assert ev.fuse(evidence.flip(0), "sequential").tolist() == [[2.0, 0.75]]


def test_a_lost_view_is_vacuous_or_read():
    model, batch = built()
    lost = replace(
        batch,
        modalities=batch.modalities | {"audio": replace(batch["audio"], seen=torch.zeros_like(batch["audio"].seen))},
    )
    told = model(lost)
    assert not told["evidence_audio"].any() and (told["uncertainty"] > model(batch)["uncertainty"] - 1e-6).all()
    read, _ = built(rcml.Settings(unseen="read"))
    assert read(lost)["evidence_audio"].any()
    only_special, batch = built(tokens=True)
    ends = torch.arange(batch["text"].seen.shape[1]) % (batch["text"].lengths[:, None] - 1).clamp(min=1) == 0
    silent = replace(
        batch, modalities=batch.modalities | {"text": replace(batch["text"], seen=ends & batch["text"].real)}
    )
    assert not only_special(silent)["evidence_text"].any()


def test_losing_everything_leaves_no_opinion():
    model, batch = built()
    nothing = {m: replace(p, seen=torch.zeros_like(p.seen)) for m, p in batch.modalities.items()}
    told = model(replace(batch, modalities=nothing))
    assert torch.allclose(told["prediction"], torch.full((4, 3), 1 / 3)) and torch.allclose(
        told["uncertainty"], torch.ones(4)
    )


def test_views_learn_their_own_labels_where_asked():
    _, batch = built()
    own = replace(batch, labels={"M": torch.zeros(4), "A": torch.tensor([1.0, torch.nan, 1.0, 1.0])})
    assert ev.targets(own, ["audio", "image"], unimodal=True).tolist() == [[1, 0, 1, 1], [0] * 4, [0] * 4]
    assert not ev.targets(own, ["audio", "image"], unimodal=False).any()


def test_validation_losses_of_epochs_can_be_compared():
    model, batch = built()
    assert model.loss(batch, batch, 1)["loss"] == model.loss(batch, batch, 60)["loss"]
    assert model.train().loss(batch, batch, 1)["loss"] < model.loss(batch, batch, 60)["loss"]
