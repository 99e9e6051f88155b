"""LNLN: any modalities, widths and tasks; padding and company change nothing; each setting does what it says."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lacuna.commands.published import lnln as convert
from lacuna.data.batches import Batch, InputSpec, collate
from lacuna.data.samples import LOST_TOKEN, TOKEN_COLUMNS, Sample
from lacuna.mask.mask import mask
from lacuna.models.lnln import PUBLISHED, Model, Settings
from lacuna.models.parts import lnln_blocks
from lacuna.models.parts.text import pad_to
from lacuna.patterns import frames
from lacuna.storage import pretrained
from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence

SMALL = Settings(width=16, tokens=3, heads=2, hidden=16, discriminator_hidden=8)
WIDTHS = {"text": 5, "audio": 4, "vision": 6, "image": 7}
LENGTHS = {"text": 9, "audio": 14, "vision": 20, "image": 1}
BERT = {
    "source": "test",
    "unknown": 3,
    "padding": 0,
    "config": {
        "model_type": "bert",
        "vocab_size": 50,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    },
}


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def sequence(rng: np.random.Generator, length: int, width: int, tokens: bool = False) -> FeatureSequence:
    times, seen = np.arange(length) / 25, np.ones(length, bool)
    if tokens:
        ids = rng.integers(5, 50, length)
        values = np.stack([ids, np.ones(length), np.zeros(length)], 1).astype(np.int64)
        return FeatureSequence(values, times, seen, TOKEN_COLUMNS)
    columns = tuple(f"c{i}" for i in range(width))
    return FeatureSequence(rng.normal(size=(length, width)).astype(np.float32), times, seen, columns)


def samples(count: int, modalities: tuple[str, ...], tokens: bool = False, classes: int = 0, seed: int = 0):
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        label = float(rng.integers(classes)) if classes else float(rng.normal())
        features = {
            m: sequence(
                rng, int(rng.integers(2, LENGTHS[m] + 1)) if LENGTHS[m] > 1 else 1, WIDTHS[m], tokens and m == "text"
            )
            for m in modalities
        }
        made.append(Sample(Clip(f"v$_${i}", "demo", "train", "", {"M": label}), features))
    return made


def spec_of(modalities: tuple[str, ...], tokens: bool = False, classes: int = 0) -> InputSpec:
    widths = {m: 3 if tokens and m == "text" else WIDTHS[m] for m in modalities}
    return InputSpec(widths, {m: LENGTHS[m] for m in modalities}, tokens, classes)


def lossy(complete: list[Sample], rate: float = 0.5) -> Batch:
    return collate([mask(s, frames, rate, 0) for s in complete])


def test_every_loss_term_is_told():
    complete = samples(5, ("text", "audio"))
    model = Model(SMALL, spec_of(("text", "audio")))
    assert model(lossy(complete))["completeness"].shape == (5,)
    assert set(model.loss(lossy(complete), collate(complete), 1)) == {"loss", "sp", "cc", "adv", "rec"}


@pytest.mark.parametrize("changes", [{}, {"completeness": "counted"}, {"judged": "proxy"}, {"dominant": "audio"}])
def test_it_learns_a_small_set(changes):
    complete = samples(8, ("text", "audio", "vision"))
    model = Model(replace(SMALL, **changes), spec_of(("text", "audio", "vision")))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    batch, whole = lossy(complete, 0.3), collate(complete)
    first = float(model.loss(batch, whole, 1)["sp"].detach())
    for _ in range(40):
        optimizer.zero_grad()
        model.loss(batch, whole, 1)["loss"].backward()
        optimizer.step()
    assert float(model.loss(batch, whole, 1)["sp"].detach()) < 0.4 * first


def test_a_missing_modality_of_a_clip_is_one_lost_frame():
    names = ("text", "audio", "vision")
    members = samples(2, names, tokens=True)
    nothing = {"text": empty_sequence(TOKEN_COLUMNS, np.int64), "audio": empty_sequence(("c0", "c1", "c2", "c3"))}
    members[1] = replace(members[1], features=members[1].features | nothing)
    model = Model(replace(SMALL, encoder=BERT), spec_of(names, tokens=True))
    assert torch.isfinite(model(collate(members))["prediction"]).all()
    assert model.true_completeness(collate(members)).flatten().tolist() == [1.0, 0.0]


def test_unlabelled_clips_do_not_count():
    complete = samples(4, ("text", "audio"))
    model = Model(SMALL, spec_of(("text", "audio"))).eval()
    three, whole = model.loss(collate(complete[:3]), collate(complete[:3]), 1), collate(complete)
    whole.labels["M"][3] = float("nan")
    assert float(model.loss(whole, whole, 1)["sp"].detach()) == pytest.approx(float(three["sp"].detach()), rel=1e-5)


def test_completeness_is_the_seen_part_of_what_can_be_lost():
    model = Model(replace(SMALL, encoder=BERT, completeness="counted"), spec_of(("text", "audio"), tokens=True))
    text = sequence(np.random.default_rng(0), 8, 0, tokens=True)
    text = replace(text, seen=np.array([1, 1, 0, 0, 0, 1, 1, 1], bool))
    batch = collate([Sample(Clip("a", "d", "test"), {"text": text, "audio": sequence(np.random.default_rng(1), 3, 4)})])
    assert model(batch)["completeness"].tolist() == [0.5]  # 3 of 6: [CLS] and [SEP] are never lost
    assert "cc" not in model.loss(batch, batch, 1)


def gradients(model: Model, batch: Batch, whole: Batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model.loss(batch, whole, 1)["loss"].backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_published_sentiment_gradients_are_reversed_and_mended_ones_are_not():
    complete = samples(4, ("text", "audio"))
    batch, whole = lossy(complete), collate(complete)
    only_sentiment = replace(SMALL, alpha=0.0, beta=0.0, gamma=0.0)
    mended = Model(only_sentiment, spec_of(("text", "audio")))
    published = Model(replace(only_sentiment, reversal="proxy"), spec_of(("text", "audio")))
    published.load_state_dict(mended.state_dict())
    ours, theirs = gradients(mended, batch, whole), gradients(published, batch, whole)
    name = "proxy.layers.1.feed.3.weight"
    torch.testing.assert_close(theirs[name], -ours[name])
    torch.testing.assert_close(theirs["head.weight"], ours["head.weight"])


def test_the_discriminator_path_is_reversed_in_both():
    complete = samples(4, ("text", "audio"))
    batch, whole = lossy(complete), collate(complete)
    only_adversary = replace(SMALL, alpha=0.0, gamma=0.0, delta=0.0)
    mended = Model(only_adversary, spec_of(("text", "audio")))
    published = Model(replace(only_adversary, reversal="proxy"), spec_of(("text", "audio")))
    published.load_state_dict(mended.state_dict())
    ours, theirs = gradients(mended, batch, whole), gradients(published, batch, whole)
    for name, gradient in ours.items():
        torch.testing.assert_close(theirs[name], gradient, msg=name)


def test_constant_hyper_start_blows_its_gradient_up():
    complete = samples(6, ("text", "audio", "vision"))
    norms = {}
    for start in ("ones", "random"):
        torch.manual_seed(1)
        model = Model(Settings(hyper_start=start), spec_of(("text", "audio", "vision")))
        norms[start] = float(gradients(model, lossy(complete), collate(complete))["hyper"].norm())
    assert norms["ones"] > 50 * norms["random"]


def test_reading_padding_depends_on_it():
    complete = samples(3, ("text", "audio", "vision"))
    short, long = spec_of(("text", "audio", "vision")), spec_of(("text", "audio", "vision"))
    long = replace(long, lengths={m: n + 5 for m, n in long.lengths.items()})
    read = Model(replace(SMALL, padding="read"), long).eval()
    masked = Model(SMALL, long).eval()
    masked.load_state_dict(read.state_dict())
    batch = collate(complete, short.lengths)
    assert (read(batch)["prediction"] - masked(batch)["prediction"]).abs().max() > 1e-4


def test_what_lost_nothing_is_encoded_once():
    complete = samples(6, ("text", "audio"))
    half = collate([mask(s, frames, 0.9, 0) if i % 2 else s for i, s in enumerate(complete)])
    model, sizes = Model(SMALL, spec_of(("text", "audio"))).eval(), []
    model.embeddings["audio"].register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    features, targets = model.embed_both(half, collate(complete))
    assert sizes == [6 + 3]
    _, apart = model.embed_both(collate(complete), collate(complete))
    torch.testing.assert_close(targets["audio"], apart["audio"])
    torch.testing.assert_close(features["audio"][::2], targets["audio"][::2])


@pytest.mark.parametrize("change", [{"judged": "both"}, {"dominant": "smell"}, {"hyper_depth": 4}, {"width": 30}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(MalformedInput, match=f"lnln.{next(iter(change))}: expected"):
        replace(Settings(), **change)


def test_published_settings_are_the_authors():
    s = PUBLISHED
    assert (s.padding, s.reversal, s.hyper_start, s.judged, s.completeness) == (
        "read",
        "proxy",
        "ones",
        "corrected",
        "predicted",
    )
    assert (s.alpha, s.beta, s.gamma, s.delta) == (0.9, 0.8, 0.1, 1.0)


# --- blocks -----------------------------------------------------------------------------------------------------


@given(keep=st.integers(1, 9), frames_=st.integers(1, 9), masked=st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_first_outputs_are_those_of_the_whole(keep, frames_, masked):
    block = lnln_blocks.Transformer(frames_, 2, 16, 2, 16, 2)
    nn.init.normal_(block.tokens)
    x, real = torch.randn(2, frames_, 16), None
    if masked:
        real = torch.arange(frames_) < torch.tensor([[1], [frames_]])
    keep = min(keep, frames_ + 2)
    torch.testing.assert_close(block(x, keep, real), block(x, frames_ + 2, real)[:, :keep], atol=1e-5, rtol=1e-5)


def test_folded_norms_are_norm_then_projection():
    norm, projection, x = nn.LayerNorm(6), nn.Linear(6, 8, bias=False), torch.randn(3, 6)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    folded = lnln_blocks.projected(lnln_blocks.normalised(x), norm, projection)
    torch.testing.assert_close(folded, projection(norm(x)))


# --- the plain published form --------------------------------------------------------------------------------------

TINY_BERT = BERT["config"] | {"hidden_size": 64, "num_attention_heads": 1, "hidden_dropout_prob": 0.0}
TINY_BERT |= {"attention_probs_dropout_prob": 0.0}
LETTERS = {"l": "text", "v": "vision", "a": "audio"}


def plain(cross_depth: int) -> nn.Module:
    """benchmarks/plain_lnln.py with a small BERT in it, whose pooler is there but unread."""
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "plain_lnln.py"
    spec = importlib.util.spec_from_file_location("plain_lnln", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    transformers = pretrained.import_transformers()
    bert = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**TINY_BERT))
    widths, lengths = {"l": 64, "v": 6, "a": 4}, {letter: LENGTHS[m] for letter, m in LETTERS.items()}
    return module.LNLN(widths, lengths, bert, cross_depth)


@pytest.mark.parametrize("cross_depth", (1, 4))
def test_the_plain_form_with_bert_gives_the_same_losses_and_gradients(cross_depth):
    """A whole checkpoint, BERT included, is described, renamed and computes what it did: fixtures leave BERT out."""
    reference = plain(cross_depth)
    described, spec = convert.describe(reference.state_dict())
    described["encoder"]["config"] |= TINY_BERT
    described["encoder"]["unknown"] = 49
    model = Model(replace(PUBLISHED, **described), InputSpec(**spec))
    model.load_state_dict(convert.rename(reference.state_dict()))
    complete = samples(4, tuple(LETTERS.values()), tokens=True)
    batch, whole = (collate(s, LENGTHS) for s in ([mask(s, frames, 0.5, 0) for s in complete], complete))

    ours = model.loss(batch, whole, 1)
    given_ = (published_inputs(batch), published_inputs(whole))
    theirs = reference.loss(*given_, batch.labels["M"], model.true_completeness(batch).squeeze(1))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6)
    ours["loss"].backward(), theirs["loss"].backward()
    expected = convert.rename({n: p.grad for n, p in reference.named_parameters() if p.grad is not None})
    for name, parameter in model.named_parameters():
        error = float((parameter.grad - expected[name]).norm())
        assert error <= 1e-4 * float(expected[name].norm()) + 1e-6, name


def published_inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """Everything padded to the full lengths; text as (B, 3, T), lost words as the [UNK] of published code."""
    padded = {letter: pad_to(batch[m], LENGTHS[m]) for letter, m in LETTERS.items()}
    inputs = {letter: p.values for letter, p in padded.items()}
    inputs["l"] = inputs["l"].transpose(1, 2).clone()
    inputs["l"][:, 1] = padded["l"].real
    inputs["l"][inputs["l"] == LOST_TOKEN] = 49  # as `unknown` below: the small vocabulary has no 100
    return inputs
