"""DMD: any modalities and lengths, nothing learnt from padding or batch mates, and each erratum's switch."""

from dataclasses import replace

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
from torch.nn import functional as F

from lacuna.commands.published import dmd as convert
from lacuna.data.batches import InputSpec
from lacuna.models import dmd
from lacuna.models.parts import attention, crossmodal, distillation
from lacuna.models.parts.text import pad_to
from lacuna.types import MalformedInput

WIDTHS = {"text": 12, "audio": 5, "vision": 7, "image": 9}
SUBSETS = [("text",), ("image",), ("text", "image"), ("audio", "vision"), ("text", "audio", "vision"), tuple(WIDTHS)]
SMALL = dmd.Settings(width=8, heads=2, depth=2, homo_size=4, hetero_size=4, encoder=TINY_BERT)
AS_PUBLISHED = {
    name: getattr(dmd.PUBLISHED, name)
    for name in ("padding", "hetero_term", "orthogonality", "representation", "equal_widths")
}
KERNELS = {"text": 3, "audio": 1, "vision": 5}


def built(settings: dmd.Settings = SMALL, subset: tuple[str, ...] = ("text", "audio", "vision"), **spec: int):
    torch.manual_seed(0)
    spec = random_spec({m: WIDTHS[m] for m in subset}, **spec)
    return dmd.Model(settings, spec).eval(), random_batch(spec)


def gradients_are_finite(model: torch.nn.Module) -> bool:
    return all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_edges_are_a_distribution_over_ordered_pairs(subset):
    model, batch = built(subset=subset)
    told, pairs = model(batch), len(subset) * (len(subset) - 1)
    assert len(model.pairs) == pairs
    for name in ("edges_homo", "edges_hetero") if pairs else ():
        assert told[name].shape == (4, pairs)
        torch.testing.assert_close(told[name].sum(1), torch.ones(4))


@pytest.mark.parametrize("settings", [replace(SMALL, kernels=KERNELS), replace(SMALL, causal=False)])
@pytest.mark.parametrize("tokens", [False, True])
def test_predictions_depend_on_neither_padding_nor_batch_mates(settings, tokens):
    model, batch = built(settings, tokens=tokens)
    alone = [model(trimmed(rows(batch, [i]))) for i in range(4)]
    for other in (batch, padded_longer(batch)):
        for name in ("prediction", "edges_homo", "edges_hetero"):
            expected = torch.cat([told[name] for told in alone])
            torch.testing.assert_close(model(other)[name], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [False, True])
def test_losses_do_not_feel_padding(tokens):
    model, batch = built(tokens=tokens)
    losses, other = (model.loss(b, b, epoch=1) for b in (batch, padded_longer(batch)))
    for name, value in losses.items():
        torch.testing.assert_close(value, other[name], atol=1e-5, rtol=1e-5, msg=name)


def test_published_padding_is_read_and_its_last_place_is_the_readout():
    model, batch = built(replace(SMALL, **AS_PUBLISHED))
    assert model.decouple(batch)["text"].origin.lengths_B.tolist() == [10] * 4  # 14 - kernel + 1
    told = model(batch)["prediction"]
    audio = batch["audio"]
    values = torch.where(audio.real[..., None], audio.values, 1.0)
    changed = replace(batch, modalities=batch.modalities | {"audio": replace(audio, values=values)})
    assert not torch.allclose(model(changed)["prediction"], told)


def test_sequences_shorter_than_the_kernel_give_one_frame():
    model, batch = built()
    one = trimmed(rows(batch, [2]))  # a text of one word
    assert model.decouple(one)["text"].origin.values_BTD.shape == (1, 1, 8)
    assert torch.isfinite(model(one)["prediction"]).all()


def margin_by_loops(features_BMD, labels_B, margin):
    """The published loop over 3B anchors."""
    x = features_BMD.flatten(0, 1)
    ids = labels_B.repeat_interleave(features_BMD.shape[1])
    norm = (x.square().sum(1) + 1e-8).sqrt()
    total, count = x.new_zeros(()), 0
    for i in range(len(x)):
        cosine = (x * x[i]).sum(1) / (norm * norm[i])
        others = [j for j in range(len(x)) if j != i]
        near = [j for j in others if ids[j] == ids[i]]
        far = [j for j in others if ids[j] != ids[i]]
        if not near or not far:
            continue
        gaps = [F.relu(margin * (ids[i] - ids[n]).abs() - cosine[p] + cosine[n]) for p in near for n in far]
        total, count = total + torch.stack(gaps).mean(), count + 1
    return total / max(count, 1)


@pytest.mark.parametrize("labels", [[1.2, -0.6, 0.0, 1.2], [1.0, 1.0, 1.0, 1.0], [0.5, -0.5, 2.0, 1.0], [1.0]])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_margin_loss_is_the_published_loop_in_value_and_gradient(labels, modalities):
    torch.manual_seed(1)
    features = torch.randn(len(labels), modalities, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor(labels, dtype=torch.float64)
    ours = distillation.margin_loss(features, labels, 0.15)
    theirs = margin_by_loops(features, labels, 0.15)
    torch.testing.assert_close(ours, theirs)
    (gradient,) = torch.autograd.grad(ours, features)
    expected = torch.autograd.grad(theirs, features)[0] if theirs.requires_grad else torch.zeros_like(features)
    torch.testing.assert_close(gradient, expected)


def cosine_of_neighbours(kind: str) -> tuple[float, float]:
    """Mean cosine of three modalities before and after twenty steps of the hetero representation term."""
    torch.manual_seed(0)
    x = torch.nn.Parameter(torch.randn(1, 8, 16) + 0.3 * torch.randn(3, 8, 16))
    optimizer, seen = torch.optim.Adam([x], lr=0.02), []
    for _ in range(21):
        cosines = [F.cosine_similarity(x[i], x[j], -1) for i in range(3) for j in range(i)]
        seen.append(torch.stack(cosines).mean().item())
        optimizer.zero_grad()
        distillation.imitation(x, kind).mean().backward()
        optimizer.step()
    return seen[0], seen[-1]


def test_the_representation_term_pulls_together_and_the_published_one_pushes_apart():
    before, after = cosine_of_neighbours("pull")
    assert after > before
    before, after = cosine_of_neighbours("push")
    assert after < before


def test_pulled_representations_are_weighted_by_their_edges():
    x = torch.randn(3, 5, 4)
    unit = distillation.DistillationUnit(1, 4, 2, [True, False, True, False, False, False])
    edges = torch.softmax(torch.randn(6, 5), 0)
    distances = distillation.imitation(x, "pull")
    expected = sum(((edges[p] + unit.prior_P[p]) * distances[p]).mean() for p in range(6))
    torch.testing.assert_close(unit.weighted(distances, edges), expected)


def test_homogeneous_representations_are_as_the_linear_layer_gave_them():
    model, batch = built()
    assert (model.heads(model.decouple(batch)).homo_reprs < 0).any()
    model, batch = built(replace(SMALL, representation="rectified"))
    assert (model.heads(model.decouple(batch)).homo_reprs >= 0).all()


def test_a_frame_attends_to_none_later_than_its_share_of_the_source():
    target = crossmodal.Frames(torch.zeros(2, 4, 2), torch.tensor([4, 2]))
    source = crossmodal.Frames(torch.zeros(2, 6, 2), torch.tensor([6, 2]))
    seen = crossmodal.allowed(target, source, causal=True)[:, 0]
    assert seen[0].sum(1).tolist() == [3, 4, 5, 6]
    assert seen[1].sum(1).tolist()[:2] == [1, 2]


def test_samples_without_label_teach_the_other_terms_only():
    model, batch = built()
    unlabelled = replace(batch, labels={"M": batch.labels["M"] * torch.nan})
    losses = model.train().loss(unlabelled, unlabelled, epoch=1)
    assert losses["task"] == 0 and losses["margin"] == 0
    losses["loss"].backward()
    assert gradients_are_finite(model)


def test_a_fixed_seed_learns_its_labels():
    quiet = {"text_dropout": 0.0, "attention_dropout": {}, "memory_dropout": 0.0, "embed_dropout": 0.0}
    model, batch = built(replace(SMALL, output_dropout=0.0, **quiet))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for _ in range(100):
        losses = model.train().loss(batch, batch, epoch=1)
        history.append(float(losses["task"].detach()))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert history[-1] < 0.2 * history[0]


@pytest.mark.parametrize(
    "change",
    [{"padding": "cut"}, {"kernels": {"touch": 3}}, {"kernels": {"text": 0}}, {"hetero_term": "l1"}, {"width": 51}],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(MalformedInput, match=next(iter(change))):
        dmd.Settings(**change)


def test_published_settings_are_the_plain_form_unaligned_with_padding_read():
    torch.manual_seed(0)
    plain_dmd = benchmark("plain_dmd")
    lengths = {"l": 8, "v": 14, "a": 12}
    plain = plain_dmd.DMD({"l": 12, "v": 7, "a": 5}, lengths, s=plain_dmd.QUIET).train()
    described, spec = convert.describe(plain.state_dict())
    assert spec["lengths"] == {"text": 8, "vision": 14, "audio": 12}
    quiet = {"text_dropout": 0.0, "attention_dropout": {}, "memory_dropout": 0.0}
    quiet |= {"embed_dropout": 0.0, "output_dropout": 0.0, "orthogonality": "features"}
    ours = dmd.Model(replace(dmd.PUBLISHED, **described, **quiet), InputSpec(**spec)).train()
    ours.load_state_dict(convert.rename(plain.state_dict()))
    batch = random_batch(random_spec({m: WIDTHS[m] for m in ("text", "audio", "vision")}))
    x = {letter: pad_to(batch[m], lengths[letter]).values for letter, m in zip("lva", ("text", "vision", "audio"))}
    assert_same(plain, ours, (plain.loss(x, batch.labels["M"]), ours.loss(batch, batch, 1)), convert.rename)


def test_dropout_by_bytes_keeps_the_mean_and_drops_its_rate():
    torch.manual_seed(0)
    x = torch.ones(400, 500, requires_grad=True)
    told = attention.dropout(x, 0.3, training=True)
    assert abs(float((told == 0).float().mean()) - 0.3) < 0.01
    assert abs(float(told.detach().mean()) - 1) < 0.01
    (gradient,) = torch.autograd.grad(told.sum(), x)
    torch.testing.assert_close(gradient, told.detach())
    assert attention.dropout(x, 0.3, training=False) is x or torch.equal(attention.dropout(x, 0.3, False), x)


def test_an_epoch_is_chosen_by_the_prediction():
    model, batch = built()
    losses = model.eval().loss(batch, batch, epoch=1)
    error = (model(batch)["prediction"] - batch.labels["M"]).abs().mean()
    torch.testing.assert_close(losses["loss"], error)
