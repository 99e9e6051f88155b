"""What models share: text as hidden states from ids or embeddings, a gradient turned round, padding cut and added."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lacuna.compute import linear
from lacuna.data.batches import InputSpec, collate
from lacuna.data.samples import Sample, Samples
from lacuna.data.stores import Room, lay
from lacuna.models.parts.text import TextEncoder, fit_to, pad_to, reverse_gradient
from lacuna.train.states import states_of
from lacuna.types import LOST_TOKEN, TOKEN_COLUMNS, Clip, FeatureSequence

CONFIG = {"model_type": "bert", "vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIG |= {"intermediate_size": 32, "max_position_embeddings": 32}
BERT = {"source": "test", "unknown": 3, "padding": 0, "config": CONFIG}
TOKENS = InputSpec({"text": 3}, {"text": 9}, tokens=True)


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def tokens(length: int, seed: int = 0) -> FeatureSequence:
    ids = np.random.default_rng(seed).integers(5, 50, length)
    values = np.stack([ids, np.ones(length), np.zeros(length)], 1).astype(np.int64)
    return FeatureSequence(values, np.arange(length) / 3, np.ones(length, bool), TOKEN_COLUMNS)


def texts(*sequences: FeatureSequence):
    return collate([Sample(Clip(str(i), "d", "test"), {"text": s}) for i, s in enumerate(sequences)])["text"]


def test_reversed_gradients():
    x = torch.ones(3, requires_grad=True)
    (reverse_gradient(x, 0.5) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [-0.5, -1.0, -1.5]


def test_a_text_encoder_is_rebuilt_without_its_source():
    encoder, text = TextEncoder(TOKENS, BERT).eval(), texts(tokens(4), tokens(9, 1))
    again = TextEncoder(TOKENS, encoder.portable).eval()
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(text), encoder(text))
    assert encoder.width == 24 and not any("pooler" in name for name in encoder.state_dict())


def test_the_embedded_encoder_is_rebuilt_from_plain_json():
    encoder, text = TextEncoder(TOKENS).eval(), texts(tokens(4), tokens(9, 1))
    again = TextEncoder(TOKENS, json.loads(json.dumps(encoder.portable))).eval()
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(text), encoder(text))
    assert encoder.portable["source"] == "embedded" and encoder.portable["unknown"] == 100


def test_lost_words_are_unknown_words_and_padding_is_padding():
    encoder, given = TextEncoder(TOKENS, BERT).eval(), []
    encoder.encoder.register_forward_pre_hook(lambda _, __, kw: given.append(kw), with_kwargs=True)
    short = tokens(5)
    short.values[2, 0] = LOST_TOKEN
    encoder(texts(short, tokens(8, 1)))
    assert given[0]["input_ids"][0, 2] == 3 and given[0]["input_ids"][0, 5:].tolist() == [0, 0, 0]
    assert given[0]["attention_mask"][:, 0, 0].sum(-1).tolist() == [5, 8]  # the place of a lost word stays known


def test_a_frozen_encoder_neither_learns_nor_drops_out():
    text = texts(tokens(4), tokens(9, 1))
    encoder = TextEncoder(TOKENS, BERT, finetune=False).train()
    assert not encoder(text).requires_grad
    torch.testing.assert_close(encoder(text), encoder(text))
    assert not any(p.requires_grad for p in encoder.parameters())
    assert encoder.portable == BERT  # its weights stay with their source


def test_embeddings_pass_through():
    words = FeatureSequence(np.ones((4, 5), np.float32), np.arange(4.0), np.ones(4, bool), tuple("abcde"))
    text, encoder = texts(words), TextEncoder(InputSpec({"text": 5}, {"text": 9}))
    assert encoder(text) is text.values and encoder.width == 5 and not list(encoder.parameters())


def test_padding_added_and_cut():
    text = texts(tokens(4), tokens(6, 1))
    longer = pad_to(text, 9)
    assert longer.values.shape == (2, 9, 3) and (longer.real == (torch.arange(9) < torch.tensor([[4], [6]]))).all()
    back = fit_to(longer, 5)
    assert back.lengths.tolist() == [4, 5] and (back.values == text.values[:, :5]).all()
    assert fit_to(text, 9) is text


# --- products ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", (True, False))
@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize("shape", ((8, 40, 96), (640, 96)))
def test_fast_products_are_torchs_with_the_operator_and_without(bias, shape, operator, monkeypatch):
    monkeypatch.setattr(linear, "SMALL", 0)
    if not operator:
        monkeypatch.setattr(linear, "OPERATOR", "no_such_operator")
    layer, x = torch.nn.Linear(96, 64, bias=bias), torch.randn(shape, requires_grad=True)
    wanted = torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()])
    with linear.fast(x.device):
        got = layer(x)
    torch.testing.assert_close(got, layer(x))
    for ours, theirs in zip(torch.autograd.grad(got.square().sum(), [x, *layer.parameters()]), wanted):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-3)


def test_fast_products_leave_autocast_and_small_ones_alone():
    layer, x = torch.nn.Linear(512, 512), torch.randn(600, 512)
    with linear.fast(x.device), torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with linear.fast(x.device):
        torch.testing.assert_close(layer(x[:1]), layer(x)[:1])


# --- what a frozen encoder says is kept ----------------------------------------------------------------------------


def counted(encoder: TextEncoder) -> list[int]:
    """How many texts each call of the network was given."""
    given: list[int] = []
    hook = lambda _, __, kw: given.append(len(kw["input_ids"]))  # noqa: E731
    encoder.encoder.register_forward_pre_hook(hook, with_kwargs=True)
    return given


def frozen() -> TextEncoder:
    return TextEncoder(TOKENS, BERT, finetune=False)


def test_states_made_beforehand_are_what_the_encoder_gives_and_only_lost_words_are_encoded(tmp_path, monkeypatch):
    monkeypatch.setenv("LACUNA_CACHE", str(tmp_path))
    lossy = tokens(6, 3)
    lossy.values[2, 0], lossy.seen[2] = LOST_TOKEN, False
    encoder, clips = frozen().eval(), [tokens(4), tokens(6, 3), tokens(9, 1)]
    samples = Samples.of([Sample(Clip(str(i), "d", "train"), {"text": s}) for i, s in enumerate(clips)])
    kept = states_of(encoder, samples, torch.device("cpu"), torch.float32)
    states = torch.from_numpy(lay(kept, range(3), None, Room()).values)
    whole, text = texts(*clips), texts(tokens(4), lossy, tokens(9, 1))
    wanted, given = (encoder(whole), encoder(text)), counted(encoder)
    for one, changed, expected in ((whole, [], wanted[0]), (text, [1], wanted[1])):
        told = encoder(replace(one, states=states, changed=torch.tensor(changed, dtype=torch.int64)))
        real = one.real
        torch.testing.assert_close(told[real], expected[real], rtol=1e-5, atol=1e-5)
    assert given == [1]
    again = states_of(encoder, samples, torch.device("cpu"), torch.float32)
    assert given == [1] and np.array_equal(again[1].values, kept[1].values)
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    states_of(encoder, samples, torch.device("cpu"), torch.float32)
    assert given == [1, 3]  # other weights, other states


def test_an_encoder_that_learns_reads_no_states():
    text = replace(texts(tokens(4)), states=torch.zeros(1, 9, 16), changed=torch.arange(0))
    encoder = TextEncoder(TOKENS, BERT).eval()
    torch.testing.assert_close(encoder(text), encoder(texts(tokens(4))))


def test_states_of_padding_are_kept_as_the_encoder_gives_them(tmp_path, monkeypatch):
    monkeypatch.setenv("LACUNA_CACHE", str(tmp_path))
    encoder, text = frozen().eval(), pad_to(texts(tokens(4)), 9)
    samples = Samples.of([Sample(Clip("0", "d", "train"), {"text": tokens(4)})])
    kept = states_of(encoder, samples, torch.device("cpu"), torch.float32)
    states = torch.from_numpy(lay(kept, [0], None, Room()).values)
    torch.testing.assert_close(encoder(replace(text, states=states)), encoder(text), rtol=1e-5, atol=1e-5)
