"""Every file of models/, a newcomer's too: any modalities and task, padding and company that change nothing."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_batches import TINY_BERT, padded_longer, random_batch, random_spec, rows, trimmed
from torch.nn import functional as F

from lacuna.data.batches import Batch
from lacuna.params import plugin, plugin_names
from lacuna.types import MalformedInput

MODELS = plugin_names("models")
WIDTHS = {"text": 12, "audio": 5, "vision": 7, "image": 9}
SUBSETS = [
    ("text",),
    ("image",),
    ("text", "image"),
    ("audio", "vision"),
    ("text", "audio", "vision"),
    tuple(WIDTHS),
]
SMALL = {  # what makes a model quick to try; one that is not named here is tried as it is
    "lnln": {"width": 16, "tokens": 3, "heads": 2, "hidden": 16, "discriminator_hidden": 8},
    "misa": {"size": 8},
    "almt": {"width": 16, "tokens": 3, "heads": 2, "hidden": 16, "hyper_head": 8},
    "emt_dlfr": {"width": 8, "heads": 2, "depth": 2, "head_hidden": 8, "recurrent": {}, "sizes": {"audio": 8}},
    "tfr_net": {"width": 8, "heads": 2, "depth": 2, "memory_depth": 2, "hidden": {}, "head_hidden": 8},
    "mmim": {"recurrent": 4, "sizes": {"audio": 8}, "fused": 8},
    "dmd": {"width": 8, "heads": 2, "depth": 2, "homo_size": 4, "hetero_size": 4},
    "rcml_misa": {"size": 8, "feed": 16},
    "tfn": {"hidden": {"text": 8, "audio": 4, "vision": 6, "image": 5}, "text_out": 4, "fusion": 8},
    "lmf": {"hidden": {"text": 8, "audio": 4, "vision": 6, "image": 5}, "text_out": 4, "rank": 2},
    "mult": {"width": 8, "heads": 2, "depth": 2, "memory_depth": 2},
    "self_mm": {"features": {"M": 8, "text": 8}},
    "concat": {"size": 8},
    "gated": {"size": 8},
    "single_stream": {"size": 8},
    "dual_stream": {"size": 8},
    "text_only": {"size": 8},
    "image_only": {"size": 8},
    "quorum": {"hidden": 4},
    "p_rmf": {"width": 16, "tokens": 3, "heads": 2, "hidden": 16},
    "tf_mamba": {"width": 16, "heads": 2, "head": 8, "states": 3, "expansion": 2},
}
READS = {"text_only": "text", "image_only": "image"}  # models of one modality
ENCODED = {"encoder": TINY_BERT}


def small(name: str, base: object | None = None):
    kind = plugin("models", name).Settings
    known = {field.name for field in fields(kind)}
    values = SMALL.get(name, {}) | {key: value for key, value in ENCODED.items() if key in known}
    return replace(base or kind(), **values)


def subset_of(name: str) -> tuple[str, ...]:
    return ("text", "image") if name in READS else ("text", "audio", "vision")


def built(name: str, subset: tuple[str, ...], base: object | None = None, **spec: int):
    torch.manual_seed(0)
    spec = random_spec({m: WIDTHS[m] for m in subset}, **spec)
    return plugin("models", name).Model(small(name, base), spec).eval(), random_batch(spec)


def evidential(name: str) -> bool:
    return name.startswith("rcml")


def assert_finite(model: torch.nn.Module, loss: torch.Tensor) -> None:
    """The loss and every gradient of it."""
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def assert_learns(model: torch.nn.Module, batch: Batch) -> None:
    """Every parameter but a text encoder's has a finite gradient: one without it stops several processes."""
    losses = model.train().loss(batch, batch, epoch=3)  # some terms wait for labels that are made in the second
    assert all(value.ndim == 0 and torch.isfinite(value) for value in losses.values())
    assert_finite(model, losses["loss"])
    idle = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not {n for n in idle if not n.startswith("text_encoder")}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_any_modalities_and_task(name, classes, subset):
    wanted = READS.get(name, subset[0])
    if wanted not in subset or (evidential(name) and not classes):
        with pytest.raises(MalformedInput, match=wanted if wanted not in subset else "at least 2 classes"):
            built(name, subset, classes=classes)
        return
    model, batch = built(name, subset, classes=classes, tokens="text" in subset)
    told = model(batch)
    assert told["prediction"].shape == ((4, 3) if classes else (4,))
    assert all(torch.isfinite(value).all() for value in told.values())
    if classes:
        torch.testing.assert_close(told["prediction"].sum(1), torch.ones(4))
    assert_learns(model, batch)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("tokens", [False, True])
@settings(max_examples=10, deadline=None)
@given(
    lengths=st.lists(st.lists(st.integers(1, 12), min_size=3, max_size=3), min_size=4, max_size=4),
    seed=st.integers(0, 99),
    order=st.permutations(range(3)),
    by=st.integers(1, 9),
)
def test_a_prediction_depends_on_its_own_sample_alone(name, tokens, lengths, seed, order, by):
    model, _ = built(name, subset_of(name), tokens=tokens, classes=3)
    spec = random_spec({m: WIDTHS[m] for m in subset_of(name)}, tokens=tokens, classes=3)
    batch = random_batch(spec, dict(zip(WIDTHS, lengths)), seed)
    alone = torch.cat([model(trimmed(rows(batch, [i])))["prediction"] for i in range(3)])
    for other in (batch, padded_longer(batch, by)):
        torch.testing.assert_close(model(other)["prediction"], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model(rows(batch, order))["prediction"], alone[order], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_training_batch_of_one(name):
    model, batch = built(name, subset_of(name), classes=3)
    one = rows(batch, [0])
    assert_finite(model, model.train().loss(one, one, epoch=1)["loss"])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("gone", [*WIDTHS, "all"])
def test_losing_a_whole_modality_is_borne(name, gone):
    subset = ("image", "text") if name in READS else tuple(WIDTHS)
    model, batch = built(name, subset, classes=3)
    lost = [m for m in subset if gone in (m, "all")]
    emptied = {m: replace(batch[m], values=batch[m].values * 0, seen=batch[m].seen & False) for m in lost}
    told = model(replace(batch, modalities=batch.modalities | emptied))
    assert all(torch.isfinite(value).all() for value in told.values())


@pytest.mark.parametrize("name", MODELS)
def test_clips_without_a_label(name):
    """They teach nothing of the task; evidence has no term without a class, and says so."""
    model, batch = built(name, subset_of(name), classes=3)
    unlabelled = replace(batch, labels={"M": torch.full((4,), torch.nan)})
    if evidential(name):
        with pytest.raises(MalformedInput, match="expected a class for each"):
            model.loss(unlabelled, unlabelled, 1)
        return
    loss = model.train().loss(unlabelled, unlabelled, 1)["loss"]
    assert_finite(model, loss)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_trains(name):
    model, batch = built(name, subset_of(name), classes=3, tokens=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.train().loss(batch, batch, epoch=1)["loss"]
    assert_finite(model, loss)


@pytest.mark.parametrize("name", [n for n in MODELS if hasattr(plugin("models", n), "PUBLISHED")])
def test_published_settings_run(name):
    model, batch = built(name, subset_of(name), plugin("models", name).PUBLISHED, classes=3, tokens=True)
    assert model(batch)["prediction"].shape == (4, 3)


@pytest.mark.parametrize("name", MODELS)
def test_the_order_of_modalities_is_not_part_of_a_model(name):
    subset = subset_of(name)
    (model, batch), (other, _) = (built(name, names, classes=3) for names in (subset, subset[::-1]))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(batch)["prediction"], model(batch)["prediction"])


@pytest.mark.parametrize("name", MODELS)
def test_training_says_under_which_pattern_it_learns(name):
    assert plugin("models", name).TRAINING["pattern"] in ("none", *plugin_names("patterns"))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("classes", [0, 3])
def test_validation_loss_is_the_task_alone(name, classes):
    """In evaluation mode the total is an error of the prediction: no other term, and nothing of the complete clip."""
    if evidential(name) and not classes:
        pytest.skip("evidence is counted for classes")
    model, batch = built(name, subset_of(name), classes=classes)
    other = replace(batch, modalities={m: replace(p, values=p.values * 2) for m, p in batch.modalities.items()})
    with torch.no_grad():
        told, label_B = model(batch)["prediction"], batch.labels["M"]
        losses = [float(model.loss(batch, complete, epoch)["loss"]) for complete, epoch in ((batch, 1), (other, 9))]
    if classes:
        wanted = [F.nll_loss(told.log(), label_B.long())]
    else:
        wanted = [F.mse_loss(told, label_B), F.l1_loss(told, label_B)]
    assert losses[0] == losses[1] and any(losses[0] == pytest.approx(float(w), abs=1e-5) for w in wanted)
