"""P-RMF: its Gaussians are torch's, its weights the published ones that never overflow, each switch does its own."""

from dataclasses import replace

import pytest
import torch
from random_batches import random_batch, random_spec
from torch.distributions import Normal, kl_divergence

from lacuna.models import p_rmf
from lacuna.types import MalformedInput

WIDTHS = {"text": 12, "audio": 5, "vision": 7}
SMALL = p_rmf.Settings(width=16, tokens=3, heads=2, hidden=16, dropout=0.0)


def built(settings: p_rmf.Settings = SMALL, **spec: int) -> tuple:
    torch.manual_seed(0)
    spec = random_spec(WIDTHS, **spec)
    return p_rmf.Model(settings, spec), random_batch(spec)


def gaussian(seed: int) -> tuple[p_rmf.Gaussian, Normal]:
    mean, log_variance = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(seed))
    return p_rmf.Gaussian(mean, log_variance), Normal(mean, (0.5 * log_variance).exp())


def test_divergence_is_that_of_torch():
    (ours, theirs), (other, others) = gaussian(1), gaussian(2)
    torch.testing.assert_close(ours.divergence(other), kl_divergence(theirs, others).mean((1, 2)))


def weights(log_variance: torch.Tensor) -> torch.Tensor:
    """(M, …) shares of the proxy, from log variances (M, B, K, D)."""
    model, _ = built()
    gaussians = {m: p_rmf.Gaussian(torch.zeros_like(v), v) for m, v in zip(model.modalities, log_variance)}
    features = dict.fromkeys(model.modalities, torch.zeros_like(log_variance[0]))
    return torch.stack(list(model._fuse(features, gaussians)[1].values()))


def test_weights_are_the_copied_ones_where_those_do_not_overflow():
    log_variance = torch.randn(3, 2, 3, 16)
    raised = (1 / (0.5 * log_variance).exp()).exp()
    torch.testing.assert_close(weights(log_variance), raised / raised.sum(0))
    log_variance[0] = -9.2  # exp(1/σ) is infinite
    assert not torch.isfinite((1 / (0.5 * log_variance).exp()).exp()).all()
    torch.testing.assert_close(weights(log_variance)[0], torch.ones(2, 3, 16))


def test_reversal_turns_the_gradient_of_what_makes_the_proxy_and_of_nothing_else():
    norms = {}
    for reversal in ("none", "proxy"):
        model, batch = built(replace(SMALL, reversal=reversal, reconstruction_weight=0.0, gaussian_weight=0.0))
        model.loss(batch, batch, 1)["loss"].backward()
        norms[reversal] = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    for name, part in (("variational.audio.mean.weight", -1), ("head.0.weight", 1)):
        torch.testing.assert_close(norms["proxy"][name], part * norms["none"][name])


@pytest.mark.parametrize(("target", "moves"), [("fixed", False), ("learnt", True)])
def test_a_fixed_target_has_no_gradient(target, moves):
    """Where the lossy view's tokens are cut off, only a target that learns moves the embedding."""
    model, batch = built(replace(SMALL, target=target))
    embed, views = model.embed, []

    def cut(view):
        views.append(view)
        told = embed(view)
        return {m: h.detach() for m, h in told.items()} if len(views) == 1 else told

    model.embed = cut
    model.loss(batch, batch, 1)["reconstruction"].backward()
    gradient = model.embeddings["text"].project.weight.grad
    assert len(views) == 2 and (gradient is not None and bool(gradient.any())) == moves


def test_fusion_layers_are_one_or_four():
    models = [built(replace(SMALL, layers=kind))[0] for kind in ("own", "shared")]
    own, shared = (sum(p.numel() for p in model.layers.parameters()) for model in models)
    assert own == 4 * shared


def test_it_learns_a_small_set():
    model, batch = built()
    optimizer, history = torch.optim.AdamW(model.parameters(), 3e-3), []
    for _ in range(60):
        loss = model.loss(batch, batch, 1)
        history.append(float(loss["task"].detach()))
        optimizer.zero_grad()
        loss["loss"].backward()
        optimizer.step()
    assert history[-1] < 0.1 * history[0]


def test_reading_padding_depends_on_it():
    told = [
        built(replace(SMALL, padding=padding))[0].eval()(built()[1])["prediction"] for padding in ("masked", "read")
    ]
    assert (told[0] - told[1]).abs().max() > 1e-4


@pytest.mark.parametrize("change", [{"reversal": "all"}, {"layers": "two"}, {"tokens": 0}, {"fusion_depth": 0}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(MalformedInput, match=f"p_rmf.{next(iter(change))}: expected"):
        p_rmf.Settings(**change)
