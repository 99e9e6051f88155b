"""MMIM: who learns from what, in one step or in epochs of their own; entropy that is never NaN; any modalities."""

from dataclasses import replace

import pytest
import torch
from random_batches import random_batch, random_spec

from lacuna.data.batches import Batch
from lacuna.models import mmim
from lacuna.types import MalformedInput

WIDTHS = {"text": 12, "audio": 5, "vision": 7}
SMALL = mmim.Settings(recurrent=4, fused=8, dropout=0.0)
COUNT = 16


def built(settings: mmim.Settings = SMALL, classes: int = 0, labels: list[float] | None = None) -> tuple:
    torch.manual_seed(0)
    spec = random_spec(WIDTHS, classes=classes)
    lengths = {m: [1 + (7 * i + k) % 9 for i in range(COUNT)] for k, m in enumerate(WIDTHS)}
    batch = random_batch(spec, lengths)
    labels = [(-1.0) ** i for i in range(COUNT)] if labels is None else labels
    return mmim.Model(settings, spec), replace(batch, labels={"M": torch.tensor(labels)})


def gradients(settings: mmim.Settings, epoch: int) -> dict[str, torch.Tensor]:
    model, batch = built(settings)
    model.train().loss(batch, batch, epoch)["loss"].backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_one_step_has_the_gradients_of_both_stages():
    joint = gradients(SMALL, 1)
    apart = [gradients(replace(SMALL, stages="alternating"), epoch) for epoch in (1, 2)]
    assert set(apart[0]) == {name for name in joint if name.startswith("bounds.")}
    assert not set(apart[0]) & set(apart[1]) and set(apart[0]) | set(apart[1]) == set(joint)
    for name, gradient in (apart[0] | apart[1]).items():
        torch.testing.assert_close(joint[name], gradient, msg=name)


def test_the_entropys_projection_learns_unless_published():
    assert any(name.startswith("entropies.") for name in gradients(SMALL, 1))
    assert not any(name.startswith("entropies.") for name in gradients(replace(SMALL, entropy="untrained"), 2))


def told(settings: mmim.Settings, batches: int, labels: list[float]) -> torch.Tensor:
    """The entropy of the last of some equal batches of one epoch."""
    model, batch = built(settings, labels=labels)
    for _ in range(batches):
        losses = model.train().loss(batch, batch, 2)
    losses["loss"].backward()
    assert settings.entropy == "published" or all(
        torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None
    )
    return losses["entropy"]


@pytest.mark.parametrize("positive", [0, 1, 2])
def test_few_samples_of_a_sign_end_a_run_only_as_published(positive):
    """At most 2 of one sign a batch are 4 in two: four numbers have no covariance of full rank."""
    labels = [1.0] * positive + [-1.0] * (COUNT - positive)
    published = told(replace(SMALL, entropy="published", stages="alternating"), 3, labels)
    assert not torch.isfinite(published) or abs(published) > 30
    for entropy in ("guarded", "untrained"):
        assert told(replace(SMALL, entropy=entropy), 3, labels) == 0


def test_enough_samples_have_the_entropy_of_their_covariances():
    model, batch = built()
    model.train().loss(batch, batch, 1)
    told = model.loss(batch, batch, 1)["entropy"]
    expected = 0.0
    for m in ("audio", "vision"):
        x = model.entropies[m](model.vectors(batch)[m])
        for sign in (1, -1):
            rows = x[batch.labels["M"] == sign].repeat(2, 1)  # this batch and the one before, which is equal
            covariance = torch.cov(rows.T, correction=0) + 1e-4 * torch.eye(4)
            expected = expected + 0.25 * torch.logdet(covariance)
    torch.testing.assert_close(told, expected)


def test_published_entropy_counts_from_the_third_batch_of_an_epoch():
    model, batch = built(replace(SMALL, entropy="untrained"))
    told = [float(model.train().loss(batch, batch, epoch)["entropy"].detach()) for epoch in (1, 1, 1, 2, 2, 2)]
    assert [value == 0 for value in told] == [True, True, False] * 2


def test_an_epoch_begins_without_memory():
    """So that a run which is killed between epochs and goes on has the numbers of one that was not."""
    model, batch = built()
    _, other = built(labels=[1.0] * 12 + [-1.0] * 4)
    model.train().loss(other, other, 1)
    after = model.loss(batch, batch, 2)["entropy"]
    fresh, _ = built()
    torch.testing.assert_close(after, fresh.train().loss(batch, batch, 2)["entropy"])


def test_evaluation_tells_the_task_alone_and_leaves_the_memory():
    model, batch = built()
    model.train().loss(batch, batch, 1)
    kept = model.memory._before
    assert set(model.eval().loss(batch, batch, 1)) == {"loss", "task"} and model.memory._before is kept


@pytest.mark.parametrize(("likelihood", "grows"), [("published", True), ("complete", False)])
def test_the_published_likelihood_has_no_greatest_variance(likelihood, grows):
    """y is noise of variance 1: without -½ log σ² a bound learns to say that nothing can be known."""
    torch.manual_seed(0)
    bound = mmim.Bound(3, 4, likelihood)
    optimizer = torch.optim.Adam(bound.parameters(), 1e-2)
    x, y = torch.randn(256, 3), torch.randn(256, 4)
    for _ in range(300):
        optimizer.zero_grad()
        (-bound(x, y)).backward()
        optimizer.step()
    log_variance = float(bound.log_variance(x).mean().detach())
    assert log_variance > 4 if grows else abs(log_variance) < 0.5


def test_contrast_is_the_cross_entropy_of_finding_ones_own():
    model, batch = built()
    vectors = model.vectors(batch)
    _, fused = model.fuse(vectors)
    expected = 0.0
    for m, x in vectors.items():
        guess = model.contrasts[m](fused)
        scores = torch.nn.functional.cosine_similarity(x[:, None], guess[None], dim=-1)
        expected = expected + torch.nn.functional.cross_entropy(scores, torch.arange(COUNT))
    torch.testing.assert_close(model.contrast(vectors, fused), expected)


def test_a_text_that_is_lost_whole_has_a_finite_contrast():
    model, batch = built()
    text = batch["text"]
    gone = replace(text, values=text.values * 0, seen=text.seen & False)
    lost = replace(batch, modalities=batch.modalities | {"text": gone})
    model.train().loss(lost, lost, 1)["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_classes_have_signs_around_their_middle():
    model, batch = built(classes=3, labels=[0.0, 1.0, 2.0, 2.0] * 4)
    assert model._signs(batch).tolist() == [-1.0, 0.0, 1.0, 1.0] * 4


def test_it_learns_a_small_set():
    model, batch = built(replace(SMALL, fused=16))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    history = []
    for _ in range(150):
        losses = model.train().loss(batch, batch, 1)
        history.append(float(losses["task"].detach()))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert history[-1] < 0.3 * history[0]


@pytest.mark.parametrize("change", [{"sizes": {"audio": 3}}, {"stages": "both"}, {"entropy": "none"}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(MalformedInput, match=f"mmim.{next(iter(change))}: expected"):
        replace(SMALL, **change)


def one_modality(m: str) -> tuple[mmim.Model, Batch]:
    spec = random_spec({m: WIDTHS[m]})
    return mmim.Model(SMALL, spec), random_batch(spec)


@pytest.mark.parametrize("stages", ["joint", "alternating"])
def test_one_modality_alone_has_nothing_to_bound(stages):
    model, batch = one_modality("audio")
    model.settings = replace(SMALL, stages=stages)
    told = model.train().loss(batch, batch, 1)
    assert told["likelihood"] == 0 and told["entropy"] == 0 and told["loss"].requires_grad
