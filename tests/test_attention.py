"""Attention and recurrences as models run them on a CPU, against the plain form of each."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lacuna.models.parts.attention import attention
from lacuna.models.parts.recurrent import both_ways

LONG, SHORT = 150, 70  # more than two groups of queries, and two


def plain(q, k, v, allowed, rate):
    """The whole table, in double precision; a weight is lost where its byte of torch's random numbers is too small."""
    scores = (q.double() @ k.double().transpose(-1, -2)) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    lost, range_ = round(256 * rate), torch.iinfo(torch.int64)
    numbers = torch.randint(range_.min, range_.max, (weights.numel() // 8 + 1,))
    kept = numbers.view(torch.uint8)[: weights.numel()].view(weights.shape) >= lost
    return ((weights * kept if lost else weights) * (256 / (256 - lost))) @ v.double()


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("width", [5, 64])
@pytest.mark.parametrize(
    ("queries", "keys", "ahead"), [(LONG, LONG, 0), (SHORT, LONG, 80), (LONG, SHORT, 80), (1, LONG, None), (3, 2, None)]
)
@pytest.mark.parametrize("heads_differ", [False, True])
def test_attention_is_the_plain_one(rate, width, queries, keys, ahead, heads_differ):
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, n, width, requires_grad=True) for n in (queries, keys, keys))
    allowed = torch.rand(3, 2 if heads_differ else 1, queries, keys) > 0.3
    allowed[..., 0] = True
    if ahead is not None:
        allowed &= torch.arange(keys) - torch.arange(queries)[:, None] <= ahead
    torch.manual_seed(1)
    wanted = plain(q, k, v, allowed, rate)
    torch.manual_seed(1)
    got = attention(q, k, v, allowed, rate, ahead)
    came = torch.randn(got.shape)
    pairs = zip(torch.autograd.grad(got, (q, k, v), came), torch.autograd.grad(wanted, (q, k, v), came.double()))
    for ours, theirs in [(got, wanted), *pairs]:
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("width", [5, 64])
def test_without_a_mask_each_query_reads_up_to_its_place(rate, width):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, LONG, width) for _ in range(3))
    before = torch.ones(LONG, LONG, dtype=torch.bool).tril().expand(2, 1, -1, -1)
    torch.manual_seed(1)
    wanted = plain(q, k, v, before, rate)
    torch.manual_seed(1)
    torch.testing.assert_close(attention(q, k, v, None, rate).double(), wanted, rtol=1e-5, atol=1e-5)


def test_under_autocast_weights_keep_their_digits():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 2, SHORT, 5, requires_grad=True) for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        told = attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), None, 0.2)
    assert told.dtype == torch.float32
    told.sum().backward()
    assert q.grad is not None and q.grad.isfinite().all()


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("lengths", [[7, 7, 7], [1, 7, 4]])
def test_both_ways_are_a_packed_bidirectional_layer(cell, lengths):
    torch.manual_seed(0)
    layer, x, count = cell(5, 4, bidirectional=True, batch_first=True), torch.randn(3, 7, 5), torch.tensor(lengths)
    packed, told = layer(pack_padded_sequence(x, count, batch_first=True, enforce_sorted=False))
    wanted, _ = pad_packed_sequence(packed, batch_first=True)
    last = told[0] if isinstance(told, tuple) else told
    got, final = both_ways(layer, x, count)
    real = (torch.arange(7) < count[:, None])[..., None]
    torch.testing.assert_close(got * real, wanted)
    torch.testing.assert_close(final, torch.cat(list(last), -1))
    weights = list(layer.parameters())
    for ours, theirs in zip(torch.autograd.grad(final.sum(), weights), torch.autograd.grad(last.sum(), weights)):
        torch.testing.assert_close(ours, theirs)


def test_reading_a_layer_draws_no_random_number():
    layer, x = nn.LSTM(5, 4, bidirectional=True, batch_first=True), torch.randn(3, 7, 5)
    state = torch.get_rng_state()
    both_ways(layer, x, torch.tensor([3, 7, 1]))
    assert torch.equal(state, torch.get_rng_state())
