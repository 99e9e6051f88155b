"""ALMT: each setting does what it says, and other depths than the fixture's are those of the plain published form."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from parity import harness
from random_batches import benchmark, random_batch, random_spec

from lacuna.commands.published import almt as convert
from lacuna.data.batches import InputSpec
from lacuna.models import almt
from lacuna.models.parts.lnln_blocks import HyperLayer
from lacuna.models.parts.text import pad_to
from lacuna.types import MalformedInput

WIDTHS = {"text": 12, "audio": 5, "vision": 7}
SMALL = almt.Settings(width=16, tokens=3, heads=2, hidden=16, hyper_head=8)
LETTERS = {"l": "text", "a": "audio", "v": "vision"}


def built(settings: almt.Settings = SMALL, seed: int = 0, **spec: int) -> tuple:
    torch.manual_seed(seed)
    spec = random_spec(WIDTHS, **spec)
    return almt.Model(settings, spec), random_batch(spec)


def gradient_norms(settings: almt.Settings) -> dict[str, float]:
    model, batch = built(settings)
    model.loss(batch, batch, 1)["loss"].backward()
    return {name: float(p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None}


def test_a_start_of_ones_blows_its_gradient_up_and_stops_that_of_its_norm():
    wide = almt.Settings()
    ones, drawn = (gradient_norms(replace(wide, hyper_start=start)) for start in ("ones", "drawn"))
    assert ones["hyper"] > 5 * drawn["hyper"]
    assert ones["hyper_layers.0.norm_hyper.weight"] == 0 < drawn["hyper_layers.0.norm_hyper.weight"]


def test_what_the_hyper_modality_is_added_to():
    torch.manual_seed(0)
    normed = HyperLayer(["audio"], 16, 2, 8)
    plain = HyperLayer(["audio"], 16, 2, 8, normed=False)
    plain.load_state_dict(normed.state_dict(), strict=False)
    hyper, guide, audio = torch.randn(3, 2, 4, 16)
    told, added = (layer(hyper, guide, {"audio": audio}) for layer in (normed, plain))
    torch.testing.assert_close(added - hyper, told - normed.norm_hyper(hyper))


def test_the_token_reads_the_hyper_modality_alone_and_the_mean_the_guide_too():
    model, batch = built()
    hypers, states = model.hypers(model.embed(batch))
    fusion, source = model.fusion, hypers[-1]
    beside = torch.cat([fusion.token.expand(len(source), -1, -1), states[-1]], 1) + fusion.target_positions
    torch.testing.assert_close(fusion.at_token(source), fusion._read(source, beside)[:, 0])
    assert not torch.equal(fusion(source, states[-1]), fusion(source, states[-1] + 1))


@pytest.mark.parametrize("readout", ["token", "mean"])
@pytest.mark.parametrize("residual", ["normalised", "plain"])
def test_it_learns_a_small_set(readout, residual):
    model, batch = built(replace(SMALL, readout=readout, residual=residual))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    history = []
    for _ in range(60):
        loss = model.loss(batch, batch, 1)["loss"]
        history.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert history[-1] < 0.1 * history[0]


def test_reading_padding_depends_on_it():
    told = []
    for padding in ("masked", "read"):
        model, batch = built(replace(SMALL, padding=padding))
        told.append(model.eval()(batch)["prediction"])
    assert (told[0] - told[1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    "change", [{"guide": "smell"}, {"hyper_start": "zeros"}, {"readout": "last"}, {"hyper_depth": 0}, {"tokens": 0}]
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(MalformedInput, match=f"almt.{next(iter(change))}: expected"):
        almt.Settings(**change)


@pytest.mark.parametrize(("hyper", "fusion"), [(3, 4), (2, 2), (4, 1)])
@pytest.mark.parametrize("longest", [14, 20])
def test_published_settings_are_the_plain_form_at_any_depth_and_length(hyper, fusion, longest, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "benchmarks"), *sys.path])
    torch.manual_seed(0)
    widths = {letter: WIDTHS[m] for letter, m in LETTERS.items()}
    plain = benchmark("plain_almt").ALMT(widths, dict.fromkeys(widths, longest), hyper, fusion)
    for parameter in plain.parameters():  # tokens start at 0 and norms at 1: a mistake there would not show
        torch.nn.init.normal_(parameter, std=0.1)
    described, spec = convert.describe(plain.state_dict())
    assert (described["hyper_depth"], described["fusion_depth"]) == (hyper, fusion)
    ours = almt.Model(replace(almt.PUBLISHED, **described), InputSpec(**spec))
    ours.load_state_dict(convert.rename(plain.state_dict()))
    batch = random_batch(random_spec(WIDTHS, longest=longest))
    inputs = {letter: pad_to(batch[m], longest).values for letter, m in LETTERS.items()}
    theirs, told = plain.loss(inputs, batch.labels["M"]), ours.loss(batch, batch, 1)
    harness.close_losses(told, {"loss": theirs["loss"].item()})
    theirs["loss"].backward(), told["loss"].backward()
    gradients = convert.rename({name: p.grad for name, p in plain.named_parameters()})
    harness.close_gradients(ours, gradients, {name: float(g.norm()) for name, g in gradients.items()})
