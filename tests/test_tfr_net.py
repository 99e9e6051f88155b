"""TFR-Net: each erratum is there under its setting and gone without; its loss terms are those of their formulas."""

from dataclasses import replace

import pytest
import torch
from random_batches import padded_longer, random_batch, random_spec

from lacuna.data.batches import Batch, Padded
from lacuna.models import tfr_net
from lacuna.types import MalformedInput

WIDTHS = {"text": 12, "audio": 5, "vision": 7}
QUIET = {f"{part}_dropout": 0.0 for part in ("text", "memory", "relu", "residual", "embed", "fusion", "head")}
SMALL = tfr_net.Settings(
    width=8, heads=2, depth=2, memory_depth=2, hidden={}, head_hidden=8, attention_dropout={}, **QUIET
)


def built(settings: tfr_net.Settings = SMALL, **spec: int) -> tuple[tfr_net.Model, Batch, Batch]:
    """A model, an incomplete batch, and the complete one."""
    torch.manual_seed(0)
    spec = random_spec(WIDTHS, **spec)
    complete = random_batch(spec)
    complete = replace(complete, modalities={m: replace(p, seen=p.real) for m, p in complete.modalities.items()})
    lost = {m: lossy(p) for m, p in complete.modalities.items()}
    return tfr_net.Model(settings, spec), replace(complete, modalities=lost), complete


def lossy(padded: Padded) -> Padded:
    """Every other frame lost."""
    kept = padded.real & (torch.arange(padded.values.shape[1]) % 2 == 0)
    return replace(padded, values=padded.values * kept[..., None], seen=kept)


def moved(batch: Batch, sample: int) -> Batch:
    """The same, but for one sample's audio."""
    values = batch["audio"].values.clone()
    values[sample] += 1.0
    return replace(batch, modalities=batch.modalities | {"audio": replace(batch["audio"], values=values)})


def rebuilt(model: tfr_net.Model, batch: Batch) -> torch.Tensor:
    return model.reconstruct["audio"](model._attended("audio", model.streams(batch)["audio"]))


@pytest.mark.parametrize(("final", "together"), [("batch", True), ("time", False)])
def test_rebuilt_frames_depend_on_other_clips_only_as_published(final, together):
    model, batch, _ = built(replace(SMALL, final=final, padding="read"))
    change = (rebuilt(model, moved(batch, 0)) - rebuilt(model, batch)).abs().amax((1, 2))
    assert bool((change[1:] > 1e-4).all()) == together
    change = (rebuilt(model, moved(batch, 3)) - rebuilt(model, batch)).abs().amax((1, 2))
    assert not change[:3].any()  # causal: a clip is told of earlier ones alone


def test_attention_across_the_batch_takes_heads_that_divide_the_frames():
    settings = replace(SMALL, final="batch", final_heads=25)
    for longest, heads in ((14, 1), (25, 25), (15, 5)):
        model, *_ = built(settings, longest=longest)
        assert model.final["audio"].shape.heads == heads


def test_the_complete_text_is_taught_only_as_published():
    for target, taught in (("learnt", True), ("fixed", False)):
        model, batch, complete = built(replace(SMALL, target=target))
        values = complete["text"].values.clone().requires_grad_()
        whole = replace(complete, modalities=complete.modalities | {"text": replace(complete["text"], values=values)})
        model.train().reconstruction("text", model.streams(batch)["text"], batch, whole).backward()
        assert (values.grad is not None and bool(values.grad.any())) == taught


def plain_discrepancy(x, y):
    """CMD as its authors write it, over rows."""
    total = (x.mean(0) - y.mean(0)).norm()
    for k in (2, 3):
        total = total + (((x - x.mean(0)) ** k).mean(0) - ((y - y.mean(0)) ** k).mean(0)).norm()
    return total


def test_reconstruction_is_of_lost_frames_alone_and_published_divides_its_moments_twice():
    told = {}
    for discrepancy in ("plain", "divided"):
        model, batch, complete = built(replace(SMALL, discrepancy=discrepancy, discrepancy_weight=2.0))
        stream = model.train().streams(batch)["audio"]
        told[discrepancy] = model.reconstruction("audio", stream, batch, complete)
    lost = complete["audio"].real & ~batch["audio"].seen
    x, y = rebuilt(model, batch)[lost], complete["audio"].values[lost]
    error = torch.nn.functional.smooth_l1_loss(x, y, reduction="sum") / (x.numel() + 1e-4)
    torch.testing.assert_close(told["plain"], error + 2 * plain_discrepancy(x, y))
    everywhere = lost[..., None]
    masked = [z.flatten(0, 1) for z in (rebuilt(model, batch) * everywhere, complete["audio"].values * everywhere)]
    published = error + 2 * plain_discrepancy(*masked) / (x.numel() + 1e-4)
    torch.testing.assert_close(told["divided"], published)


def test_losses_do_not_depend_on_how_far_a_batch_is_padded():
    model, batch, complete = built()
    told = model.train().loss(batch, complete, 1)
    model, *_ = built()
    longer = model.train().loss(padded_longer(batch, 5), padded_longer(complete, 5), 1)
    for name, value in told.items():
        torch.testing.assert_close(longer[name], value, atol=1e-5, rtol=1e-5, msg=name)


def test_reconstruction_begins_with_its_epoch_and_never_in_evaluation():
    model, batch, complete = built(replace(SMALL, first_epoch=2))
    assert set(model.train().loss(batch, complete, 1)) == {"loss", "task"}
    told = model.loss(batch, complete, 2)
    parts = sum(model.settings.weights[m] * told[f"reconstruction_{m}"] for m in WIDTHS)
    torch.testing.assert_close(told["loss"], told["task"] + parts)
    assert set(model.eval().loss(batch, complete, 2)) == {"loss", "task"}


def test_nothing_lost_is_nothing_to_rebuild():
    model, _, complete = built()
    told = model.train().loss(complete, complete, 1)
    assert all(float(told[f"reconstruction_{m}"].detach()) < 1e-5 for m in WIDTHS)


def test_weights_at_the_published_lengths():
    """14.9 million, of which 14.2 for attention across the batch; over time they are lengths' no longer."""
    widths, lengths = {"text": 768, "audio": 5, "vision": 20}, {"text": 50, "audio": 500, "vision": 375}
    spec = replace(random_spec(widths), lengths=lengths)
    counts = {}
    for final in ("batch", "time"):
        with torch.device("meta"):
            model = tfr_net.Model(tfr_net.Settings(final=final), spec)
        counts[final] = [sum(p.numel() for p in part.parameters()) for part in (model, model.final)]
    assert [round(n / 1e6, 1) for n in counts["batch"]] == [14.9, 14.2]
    assert counts["time"][1] < 1e6 and counts["time"][0] < 2e6


def test_it_learns_a_small_set():
    model, batch, complete = built(replace(SMALL, weights={}))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    history = []
    for _ in range(60):
        losses = model.train().loss(batch, complete, 1)
        history.append(float(losses["task"].detach()))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert history[-1] < 0.3 * history[0]


@pytest.mark.parametrize("change", [{"width": 9}, {"kernels": {"text": 2}}, {"final": "none"}, {"target": "moving"}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(MalformedInput, match=f"tfr_net.{next(iter(change))}: expected"):
        replace(SMALL, **change)
