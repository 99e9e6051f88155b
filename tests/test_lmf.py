"""LMF: the low-rank sum written out, and weights of the ranks that learn where the published ones do not."""

from dataclasses import replace

import pytest
import torch
from builders import samples

from lacuna.data.batches import InputSpec
from lacuna.models import lmf
from lacuna.train.trainer import Data, Settings, fit


def test_low_rank_is_a_weighted_sum_of_products():
    torch.manual_seed(0)
    widths, rank, outputs = {"audio": 3, "vision": 4, "text": 5}, 4, 2
    fusion = lmf.LowRank(widths, rank, outputs)
    fusion.bias.data.normal_()
    vectors = {m: torch.randn(6, width) for m, width in widths.items()}
    told = fusion(vectors)
    for b in range(6):
        for k in range(outputs):
            expected = fusion.bias[0, k].clone()
            for r in range(rank):
                product = fusion.weights[0, r]
                for m, x_BH in vectors.items():
                    factor = fusion.factors[m][r, :, k]
                    product = product * (factor[0] + x_BH[b] @ factor[1:])
                expected = expected + product
            torch.testing.assert_close(told[b, k], expected)


@pytest.mark.parametrize(("reading", "moves"), [("learnt", True), ("drawn", False)])
def test_the_weights_of_the_ranks_learn(reading, moves):
    torch.manual_seed(0)
    train = samples(16)
    spec = InputSpec.of(train, {})
    model = lmf.Model(replace(lmf.Settings(), rank_weights=reading), spec)
    before = {name: p.detach().clone() for name, p in model.fusion.named_parameters()}
    fit(model, Data(train, samples(4, "valid"), spec), Settings(epochs=1, batch_size=16, learning_rate=0.01), seed=1)
    for name, parameter in model.fusion.named_parameters():
        stays = not moves and name in ("weights", "bias")
        assert torch.equal(parameter, before[name]) == stays, name


def test_factors_start_as_published():
    """Xavier normal of the three-dimensional shape: fan-in 1 + H, fan-out the rank."""
    torch.manual_seed(0)
    factor = lmf.LowRank({"text": 63}, 64, 1).factors["text"]
    assert float(factor.std()) == pytest.approx((2 / (64 + 64)) ** 0.5, rel=0.05)
