"""MISA: any modalities, no NaN, nothing learnt from padding or batch mates, and its variants by name."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from random_batches import (
    TINY_BERT,
    assert_same,
    benchmark,
    padded_longer,
    random_batch,
    random_spec,
    rows,
    trimmed,
)

from lacuna.commands.published import misa as convert
from lacuna.data.batches import InputSpec
from lacuna.models import misa
from lacuna.models.parts import subspaces
from lacuna.models.parts.text import pad_to
from lacuna.types import MalformedInput

WIDTHS = {"text": 12, "audio": 5, "vision": 7, "image": 9}
SUBSETS = [
    ("text",),
    ("audio",),
    ("image",),
    ("text", "image"),
    ("audio", "vision"),
    ("text", "audio", "vision"),
    tuple(WIDTHS),
]
SMALL = misa.Settings(size=8, encoder=TINY_BERT)


def built(settings: misa.Settings = SMALL, subset: tuple[str, ...] = ("text", "audio", "vision"), **spec: int):
    torch.manual_seed(0)
    spec = random_spec({m: WIDTHS[m] for m in subset}, **spec)
    return misa.Model(settings, spec).eval(), random_batch(spec)


@pytest.mark.parametrize(
    "settings",
    [replace(SMALL, cell="gru", recurrent=("text", "audio", "vision")), replace(SMALL, lengths="text")],
)
@pytest.mark.parametrize("tokens", [False, True])
def test_predictions_depend_on_neither_padding_nor_batch_mates(settings, tokens):
    model, batch = built(settings, tokens=tokens)
    alone = torch.cat([model(trimmed(rows(batch, [i])))["prediction"] for i in range(4)])
    for other in (batch, padded_longer(batch)):
        torch.testing.assert_close(model(other)["prediction"], alone, atol=1e-5, rtol=1e-5)


def test_own_lengths_read_frames_after_the_texts_end_and_published_lengths_do_not():
    for lengths, felt in (("own", True), ("text", False)):
        model, batch = built(replace(SMALL, lengths=lengths))
        audio = batch["audio"]
        after = torch.arange(audio.values.shape[1]) >= batch["text"].lengths[:, None]
        changed = replace(audio, values=torch.where((after & audio.real)[..., None], 1e6, audio.values))
        other = replace(batch, modalities=batch.modalities | {"audio": changed})
        assert torch.equal(model(other)["prediction"], model(batch)["prediction"]) != felt


@pytest.mark.parametrize("variant", ["full", "base", "inv", "sfusion", "ifusion"])
@pytest.mark.parametrize("similarity", ["cmd", "adversarial"])
def test_variants(variant, similarity):
    model, batch = built(replace(SMALL, variant=variant, similarity=similarity))
    vectors = 6 if variant == "full" else 3
    assert model(batch)["attention"].shape == (4, vectors, vectors)
    losses = model.train().loss(batch, batch, epoch=1)
    terms = {"base": set(), "inv": {"sim", "recon"}}.get(variant, {"sim", "recon", "diff"})
    assert set(losses) == {"loss", "task"} | terms
    losses["loss"].backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None}
    assert not {name for name in idle if not name.startswith("text_encoder")}, idle


def test_each_loss_can_be_left_out():
    for name in ("sim", "diff", "recon"):
        model, batch = built(replace(SMALL, **{f"{name}_weight": 0.0}))
        losses = model.train().loss(batch, batch, epoch=1)
        kept = sum(getattr(SMALL, f"{n}_weight") * losses[n] for n in ("sim", "diff", "recon") if n != name)
        torch.testing.assert_close(losses["loss"], losses["task"] + kept)


@pytest.mark.parametrize("similarity", ["cmd", "adversarial"])
def test_a_batch_of_one_and_equal_modalities_have_finite_gradients(similarity):
    model, batch = built(replace(SMALL, similarity=similarity))
    model.train().loss(rows(batch, [0]), rows(batch, [0]), epoch=1)["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    same = torch.ones(3, 4, 8, requires_grad=True)
    subspaces.central_moment_discrepancy(same).backward()
    assert torch.equal(same.grad, torch.zeros_like(same))


def test_samples_without_label_teach_the_other_terms_only():
    model, batch = built()
    labels = batch.labels["M"].clone()
    labels[1:] = torch.nan
    some = model.loss(replace(batch, labels={"M": labels}), batch, epoch=1)
    first = (model(batch)["prediction"][0] - labels[0]).square()
    torch.testing.assert_close(some["task"], first)
    none = model.loss(replace(batch, labels={"M": labels * torch.nan}), batch, epoch=1)
    assert torch.isfinite(none["loss"]) and none["task"] == 0


def plain_difference(x, y):
    """The difference loss as the paper writes it: squared entries of the (D, D) product."""
    x, y = ((z - z.mean(0)) / ((z - z.mean(0)).norm(dim=1, keepdim=True) + 1e-6) for z in (x, y))
    return (x.T @ y).square().mean()


def plain_discrepancy(x, y, moments=5):
    total = (x.mean(0) - y.mean(0)).norm()
    for k in range(2, moments + 1):
        total = total + (((x - x.mean(0)) ** k).mean(0) - ((y - y.mean(0)) ** k).mean(0)).norm()
    return total


@pytest.mark.parametrize(("modalities", "samples"), list(product([2, 3, 4], [2, 16])))
def test_losses_are_those_of_the_paper(modalities, samples):
    torch.manual_seed(modalities)
    private, shared = torch.rand(2, modalities, samples, 8)
    pairs = [(i, j) for i in range(modalities) for j in range(i)]
    expected = sum(plain_difference(p, s) for p, s in zip(private, shared))
    expected = expected + sum(plain_difference(private[i], private[j]) for i, j in pairs)
    torch.testing.assert_close(subspaces.difference(private, shared), expected)
    expected = torch.stack([plain_discrepancy(shared[i], shared[j]) for i, j in pairs]).mean()
    torch.testing.assert_close(subspaces.central_moment_discrepancy(shared), expected)


def test_recurrent_weights_start_orthogonal():
    weight = built()[0].recurrence["audio"].first.weight_hh_l0
    torch.testing.assert_close(weight.T @ weight, torch.eye(WIDTHS["audio"]), atol=1e-5, rtol=0)


def test_a_fixed_seed_learns_its_labels():
    model, batch = built(replace(SMALL, size=32, dropout=0.0, fusion_dropout=0.0))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    history = []
    for _ in range(150):
        losses = model.train().loss(batch, batch, epoch=1)
        history.append(float(losses["task"].detach()))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert history[-1] < 0.1 * history[0]


@pytest.mark.parametrize(
    "change", [{"variant": "all"}, {"cell": "rnn"}, {"similarity": "mmd"}, {"lengths": "none"}, {"heads": 3}]
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(MalformedInput, match=next(iter(change)) if "heads" not in change else "size"):
        misa.Settings(**change)


def test_conversion_of_an_unknown_name_is_kept_for_the_loader_to_refuse():
    assert convert.rename({"Model.surprise": torch.zeros(1)}).keys() == {"surprise"}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_published_settings_are_the_plain_form(cell):
    torch.manual_seed(0)
    widths = {"t": 12, "v": 7, "a": 5}
    plain = benchmark("plain_misa").MISA(widths, cell=cell, dropout=0.0).train()
    settings, spec = convert.describe(plain.state_dict())
    settings = replace(misa.PUBLISHED, dropout=0.0, fusion_dropout=0.0, **settings)
    assert settings.cell == cell
    ours = misa.Model(settings, InputSpec(**spec)).train()
    ours.load_state_dict(convert.rename(plain.state_dict()))
    batch = random_batch(random_spec({m: WIDTHS[m] for m in ("text", "audio", "vision")}))
    x = {m[0]: pad_to(batch[m], 14).values for m in ("text", "vision", "audio")}
    mask = pad_to(batch["text"], 14).real.float()
    assert_same(plain, ours, (plain.loss(x, mask, batch.labels["M"]), ours.loss(batch, batch, 1)), convert.rename)


def test_an_epoch_is_chosen_by_the_task():
    model, batch = built()
    losses = model.eval().loss(batch, batch, epoch=1)
    assert losses["loss"] == losses["task"] < model.train().loss(batch, batch, epoch=1)["loss"]
