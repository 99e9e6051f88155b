"""What models share: text as hidden states from ids or embeddings, a gradient turned round, padding cut and added."""

import json

import numpy as np
import pytest
import torch

from lacuna.compute import linear
from lacuna.data.batches import InputSpec, collate
from lacuna.data.samples import LOST_TOKEN, TOKEN_COLUMNS, Sample
from lacuna.models.parts.text import GradientReversal, TextEncoder, fit_to, pad_to, reverse_gradient
from lacuna.types import Clip, FeatureSequence

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
    assert GradientReversal()(x).tolist() == [1.0, 1.0, 1.0]


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
    assert given[0]["attention_mask"].sum(1).tolist() == [5, 8]  # the place of a lost word stays known


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


@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize("shape", ((8, 40, 96), (640, 96)))
def test_fast_products_are_torchs(bias, shape, monkeypatch):
    monkeypatch.setattr(linear, "_SMALL", 0)
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


def test_a_complete_text_is_encoded_once_while_a_frozen_encoder_trains():
    encoder, lossy = frozen(), tokens(6, 3)
    lossy.values[2, 0], lossy.seen[2] = LOST_TOKEN, False
    batches = [texts(tokens(4), lossy, tokens(9, 1)), texts(tokens(9, 1), tokens(4)), texts(tokens(4))]
    wanted = [encoder.eval()(text) for text in batches]
    given = counted(encoder.train())
    for text, states in zip(batches * 2, wanted * 2):
        torch.testing.assert_close(encoder(text), states, rtol=1e-5, atol=1e-5)
    assert given == [1, 1, 1, 1]  # two texts alone, and twice the one that lost a word


def test_kept_states_do_not_depend_on_the_batch_they_came_in():
    first, second = frozen(), frozen()
    second.load_state_dict(first.state_dict())
    first.train()(texts(tokens(4), tokens(9, 1)))
    text = texts(tokens(4), tokens(5, 2))
    torch.testing.assert_close(first(text), second.train()(text), rtol=0, atol=0)


def test_no_more_is_kept_than_the_limit(monkeypatch):
    encoder = frozen().train()
    monkeypatch.setattr("lacuna.models.parts.text._Kept.LIMIT", 1)
    given, text = counted(encoder), texts(*(tokens(5, seed) for seed in range(4)))
    states = [encoder(text), encoder(text)]
    assert given == [1, 3, 3]
    torch.testing.assert_close(states[0], states[1])


def test_nothing_is_kept_of_an_encoder_that_learns_or_only_answers():
    text = texts(tokens(4))
    for encoder in (TextEncoder(TOKENS, BERT).train(), frozen().eval()):
        given = counted(encoder)
        encoder(text), encoder(text)
        assert given == [1, 1]


def test_states_of_padding_are_kept_as_the_encoder_gives_them():
    encoder, text = frozen(), pad_to(texts(tokens(4)), 9)
    torch.testing.assert_close(encoder.eval()(text), encoder.train()(text), rtol=1e-5, atol=1e-5)
