"""TFN and the sub-networks it shares with LMF: the product's order, the score's limits, and each erratum's switch."""

from dataclasses import replace

import pytest
import torch
from random_batches import padded_longer, random_batch, random_spec

from lacuna.data.batches import InputSpec
from lacuna.models import lmf, tfn
from lacuna.models.parts.subnets import Averaged, Recurrent

WIDTHS = {"text": 12, "audio": 5, "vision": 7}
SMALL = {"hidden": {"text": 8, "audio": 4, "vision": 6}, "text_out": 3}
PLAIN = {"dropout": {}}
MODULES = {"tfn": tfn, "lmf": lmf}


def built(name: str, base: object = None, **changes: object):
    torch.manual_seed(0)
    module, spec = MODULES[name], random_spec(WIDTHS)
    return module.Model(replace(base or module.Settings(), **SMALL | changes), spec), random_batch(spec)


def test_the_product_stands_in_the_published_order():
    a, v, t = torch.randn(2, 3), torch.randn(2, 4), torch.randn(2, 5)
    product = tfn.tensor_product([a, v, t])
    a, v, t = (torch.cat([torch.ones(2, 1), x], 1) for x in (a, v, t))
    for i in range(4):
        for j in range(5):
            for k in range(6):
                torch.testing.assert_close(product[:, (i * 5 + j) * 6 + k], a[:, i] * v[:, j] * t[:, k])


@pytest.mark.parametrize(
    ("settings", "spec", "millions"),
    [
        ({}, {"text": 768, "audio": 5, "vision": 20}, 9.5),
        ({"hidden": {"text": 128, "audio": 16, "vision": 128}, "text_out": 128, "fusion": 16}, {"text": 768}, 5.0),
        ({"text_out": 256, "fusion": 32}, {"text": 768, "audio": 33, "vision": 709}, 35.6),
    ],
)
def test_it_has_as_many_weights_as_published(settings, spec, millions):
    widths = {"text": 768, "audio": 74, "vision": 35} | spec
    model = tfn.Model(replace(tfn.PUBLISHED, **settings), InputSpec(widths, dict.fromkeys(widths, 50)))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(("low", "high"), [(-3.0, 3.0), (-1.0, 1.0), (0.0, 10.0)])
def test_scores_stay_within_the_labels(low, high):
    spec = replace(random_spec(WIDTHS), low=low, high=high)
    model, batch = tfn.Model(tfn.Settings(**SMALL), spec).eval(), random_batch(spec)
    for weight, limit in ((1e4, high), (-1e4, low)):
        model.out.weight.data.zero_(), model.out.bias.data.fill_(weight)
        torch.testing.assert_close(model(batch)["prediction"], torch.full((4,), limit))
    published = tfn.Model(tfn.Settings(**SMALL, limits="published"), spec)
    assert (published.low, published.high) == (-3, 3)


@pytest.mark.parametrize("name", MODULES)
def test_published_padding_is_read(name):
    model, batch = built(name, padding="read", **PLAIN)
    told, other = (model.eval()(b) for b in (batch, padded_longer(batch)))
    for m in WIDTHS:
        assert not torch.allclose(told[f"vector_{m}"], other[f"vector_{m}"]), m
    model, batch = built(name, **PLAIN)
    told, other = (model.eval()(b) for b in (batch, padded_longer(batch)))
    for m in WIDTHS:
        torch.testing.assert_close(told[f"vector_{m}"], other[f"vector_{m}"])


@pytest.mark.parametrize(("name", "rate"), [("tfn", 0.3), ("lmf", 0.3)])
def test_the_texts_dropout_is_applied(name, rate):
    """In the published code it is given to an LSTM of one layer, which has none between layers."""
    for base, drawn in ((None, rate), (MODULES[name].PUBLISHED, 0.0)):
        model, batch = built(name, base)
        assert model.subnets["text"].dropout.p == drawn
        one, other = (model.train().vectors(batch)["text"] for _ in range(2))
        assert torch.equal(one, other) == (drawn == 0)


def test_a_recurrent_text_is_read_to_its_own_end():
    torch.manual_seed(0)
    model, batch = built("tfn", **PLAIN)
    net: Recurrent = model.subnets["text"]
    told = model.vectors(batch)["text"]
    for i, length in enumerate(batch["text"].lengths.tolist()):
        _, (state, _) = net.rnn(batch["text"].values[i : i + 1, :length])
        torch.testing.assert_close(told[i], net.out(state[0, 0]))


def test_one_clip_is_normed_by_the_running_statistics():
    net = Averaged(3, 2, 0.0)
    net.norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0])), net.norm.running_var.fill_(4.0)
    x = torch.tensor([[3.0, 2.0, -1.0]])
    expected = torch.tensor([[1.0, 0.0, -2.0]]) / (1 + net.norm.eps / 4) ** 0.5
    torch.testing.assert_close(net.train().norm(x), expected)
    assert net.norm.running_mean.tolist() == [1, 2, 3]
