"""Self-MM: labels by hand arithmetic, guards against what makes them meaningless, and a state that outlives a run."""

from dataclasses import replace

import pytest
import torch
from builders import samples
from random_batches import random_batch, random_spec, rows
from torch import nn

from lacuna.data.batches import InputSpec
from lacuna.data.samples import Sample
from lacuna.models import self_mm
from lacuna.models.parts.unimodal_labels import Limits, UnimodalLabels, keys_of
from lacuna.patterns import frames
from lacuna.train import checkpoint
from lacuna.train.resume import read_progress, write_progress
from lacuna.train.trainer import Data, Settings, fit
from lacuna.types import Clip

WIDTHS = {"text": 12, "audio": 5, "vision": 7}
SMALL = self_mm.Settings(features={"M": 8, "text": 8, "audio": 8, "vision": 8}, dropout={})
IDS = ["a", "b", "c"]
KNOWN = {"M": [[1.0], [-1.0], [0.5]], "text": [[2.0], [0.0], [1.5]]}  # features of one width after the first epoch


def made(labels: list[float], limit: float = 3, guarded: bool = True) -> UnimodalLabels:
    """Labels of three clips whose features were seen once."""
    own = UnimodalLabels({"M": 1, "text": 1}, Limits(-limit, limit, guarded))
    own.meet(IDS, torch.tensor(labels))
    own.update(own.rows(keys_of(IDS)), {name: torch.tensor(x) for name, x in KNOWN.items()}, epoch=1)
    return own


def after(own: UnimodalLabels, features: dict[str, float], epoch: int = 2) -> float:
    """The label of clip c's text once its new features came."""
    row = own.rows(keys_of(["c"]))
    own.update(row, {name: torch.tensor([[x]]) for name, x in features.items()}, epoch)
    return float(own.of("text", row))


def trained(settings: self_mm.Settings, labels: torch.Tensor | None = None):
    """A model that was told of the random batch's clips, and that batch."""
    torch.manual_seed(0)
    spec = random_spec(WIDTHS)
    model, batch = self_mm.Model(settings, spec).train(), random_batch(spec)
    labels = torch.tensor([2.0, -1.0, 0.5, -2.0]) if labels is None else labels
    batch = replace(batch, labels={"M": labels})
    model.meet([_sample(name, float(y)) for name, y in zip(batch.ids, labels)])
    return model, batch


def _sample(name: str, label: float) -> Sample:
    return Sample(Clip(name, "made", "train", labels={} if label != label else {"M": label}), {})


def test_labels_are_those_of_hand_arithmetic():
    """Centres: M .75 and -1, text 1.75 and 0. c: δ_M = (1.5 - .25) / .25 = 5, δ_text = (1 - .75) / .75 = 1/3.

    ½ · (1/3 / 5) · 1 + ½ · (1 + 1/3 - 5) = -1.8; in epoch 2, 1/3 · 1 + 2/3 · -1.8 = -.8667. So c's text is negative
    now, and the centres of text are 2 and ½ (0 + 1): δ_text = (½ - 1) / 1 = -½, δ_M as before;
    ½ · (-½ / 5) + ½ · (1 - ½ - 5) = -2.3; in epoch 3, ½ · -.8667 + ½ · -2.3 = -1.5833.
    """
    own = made([2.0, -2.0, 1.0])
    assert after(own, {"M": 0.5, "text": 1.0}) == pytest.approx(-0.86667, abs=1e-4)
    assert after(own, {"M": 0.5, "text": 1.0}, epoch=3) == pytest.approx(-1.58333, abs=1e-4)


def test_labels_stay_within_their_limits():
    """δ_M is without bound where the fused feature is the positive centre: the new label is the lowest."""
    for limit in (1, 3):
        told = after(made([2.0, -2.0, 1.0], limit), {"M": 0.75, "text": 0.0})
        assert told == pytest.approx(1 / 3 - 2 / 3 * limit, abs=1e-4)


def test_the_first_epoch_makes_no_labels():
    own = made([2.0, -2.0, 1.0])
    for name in ("M", "text"):
        assert own.of(name, own.rows(keys_of(IDS))).tolist() == [2, -2, 1]


def test_a_missing_sign_keeps_labels_and_makes_nan_of_published_ones():
    new = {"M": 0.5, "text": 1.0}
    assert after(made([2.0, 0.0, 1.0]), new) == 1
    assert torch.isnan(torch.tensor(after(made([2.0, 0.0, 1.0], guarded=False), new)))


def test_a_ratio_to_almost_nothing_is_not_used():
    """c's fused feature is as far from both centres (-.125): δ_M = 0, δ_text = 1/3, so published: ∞ cut to 3."""
    new = {"M": -0.125, "text": 1.0}
    by_difference = 1 / 3 + 2 / 3 * (1 + 1 / 3)
    assert after(made([2.0, -2.0, 1.0]), new) == pytest.approx(by_difference, abs=1e-4)
    published = after(made([2.0, -2.0, 1.0], guarded=False), new)
    assert published == pytest.approx(1 / 3 + 2 / 3 * 3, abs=1e-3)


def test_clips_without_a_label_and_clips_never_met_change_no_label():
    own = made([2.0, -2.0, float("nan")])
    others = own.rows(keys_of(["d", "e"]))
    assert not own.trained(others).any() and own.trained(own.rows(keys_of(IDS))).all()
    before = own.labels_SN.clone()
    own.update(others, {"M": torch.ones(2, 1), "text": torch.ones(2, 1)}, epoch=2)
    own.update(own.rows(keys_of(["c"])), {"M": torch.ones(1, 1), "text": torch.ones(1, 1)}, epoch=2)
    torch.testing.assert_close(own.labels_SN, before, equal_nan=True)


def test_unimodal_losses_are_weighted_by_how_far_labels_moved():
    model, batch = trained(SMALL)
    row = model.own_labels.rows(keys_of(batch.ids))
    model.own_labels.labels_SN[1, row] = torch.tensor([2.5, -1.0, 0.0, -2.0])  # of text
    told = model(batch)
    losses = model.loss(batch, batch, epoch=3)
    gap = torch.tensor([0.5, 0.0, 0.5, 0.0])
    error = (told["prediction_text"] - torch.tensor([2.5, -1.0, 0.0, -2.0])).abs()
    torch.testing.assert_close(losses["text"], (gap.tanh() * error).mean())
    assert losses["audio"] == losses["vision"] == 0
    torch.testing.assert_close(losses["M"], (told["prediction"] - batch.labels["M"]).abs().mean())
    torch.testing.assert_close(losses["loss"], losses["M"] + losses["text"])


def test_an_epoch_is_chosen_by_the_prediction():
    model, batch = trained(SMALL)
    losses = model.eval().loss(batch, batch, epoch=3)
    torch.testing.assert_close(losses["loss"], (model(batch)["prediction"] - batch.labels["M"]).abs().mean())


@pytest.mark.parametrize(
    ("unimodal", "epoch", "idle"), [("wait", 1, True), ("wait", 2, True), ("wait", 3, False), ("always", 1, False)]
)
def test_heads_have_no_gradient_before_labels_differ(unimodal, epoch, idle):
    model, batch = trained(replace(SMALL, unimodal=unimodal))
    model.loss(batch, batch, epoch)["loss"].backward()
    for name, parameter in model.named_parameters():
        waits = name.startswith(("heads.text", "heads.audio", "heads.vision"))
        assert (parameter.grad is None) == (waits and unimodal == "wait" and epoch < 3), name


@pytest.mark.parametrize(("unimodal", "norm"), [("always", 0.23), ("wait", 3.26)])
def test_published_heads_decay_before_they_learn(unimodal, norm):
    """MOSI's 40 steps of two epochs: Adam's coupled decay of a zero gradient takes 3.26 to .23."""
    torch.manual_seed(0)
    spec = InputSpec({"text": 768}, {"text": 1})
    model = self_mm.Model(self_mm.Settings(unimodal=unimodal, dropout={}), spec).train()
    batch = random_batch(spec, {"text": [1, 1, 1, 1]})
    first = model.heads["text"].first.weight
    assert float(first.norm()) == pytest.approx(3.26, abs=0.03)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        model.loss(batch, batch, epoch=1)["loss"].backward()
        optimizer.step()
    assert float(first.norm()) == pytest.approx(norm, abs=0.03)


def test_classes_have_no_labels_of_their_own():
    spec = random_spec(WIDTHS, classes=3)
    model, batch = self_mm.Model(SMALL, spec).train(), random_batch(spec)
    model.meet([_sample(name, 1.0) for name in batch.ids])
    assert model.own_labels is None
    losses = model.loss(batch, batch, epoch=1)
    torch.testing.assert_close(losses["loss"], sum(losses[name] for name in ("M", *WIDTHS)))


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_the_texts_vector(pool):
    spec = random_spec({"text": 12})
    model, batch = self_mm.Model(replace(SMALL, text_pool=pool), spec).eval(), random_batch(spec)
    told, one = model(batch)["prediction"], rows(batch, [0])
    values = one["text"].values.clone()
    values[:, 1:] += 1
    changed = replace(one, modalities={"text": replace(one["text"], values=values)})
    assert torch.allclose(model(changed)["prediction"], told[:1]) == (pool == "cls")


class Killed(Exception):
    pass


def run(folder, resume: bool = False, until: int = 4) -> tuple[self_mm.Model, list]:
    train, valid = samples(14), samples(5, "valid", 1)
    spec = InputSpec.of(train, {})
    torch.manual_seed(0)
    model, path = self_mm.Model(SMALL, spec), folder / "state.safetensors"

    def keep(progress):
        write_progress(path, progress)
        if progress.epoch == until:
            raise Killed

    settings = Settings(epochs=4, batch_size=4, learning_rate=1e-2, accumulate=2)
    state = read_progress(path) if resume else None
    history = fit(
        model, Data(train, valid, spec, frames), settings, 1, resume=state, on_epoch=None if until == 4 else keep
    )
    return model, history.rows


def test_a_resumed_run_has_its_labels(tmp_path):
    whole, rows_ = run(tmp_path)
    with pytest.raises(Killed):
        run(tmp_path, until=2)
    resumed, others = run(tmp_path, resume=True)
    assert others == rows_
    assert float((whole.own_labels.labels_SN[1:, :-1] - whole.own_labels.labels_SN[0, :-1]).abs().max()) > 0.01
    for name, value in whole.own_labels.named_buffers():
        torch.testing.assert_close(
            dict(resumed.own_labels.named_buffers())[name], value, rtol=0, atol=0, equal_nan=True
        )


def test_labels_are_kept_by_clip_whatever_their_order():
    one, other = (UnimodalLabels({"M": 1}, Limits(-3, 3)) for _ in range(2))
    one.meet(["x", "y", "z"], torch.tensor([1.0, 2.0, 3.0]))
    other.meet(["z", "x", "y"], torch.tensor([3.0, 1.0, 2.0]))
    torch.testing.assert_close(one.labels_SN, other.labels_SN, equal_nan=True)
    assert one.of("M", one.rows(keys_of(["z", "x"]))).tolist() == [3, 1]


def test_a_model_of_any_number_of_clips_loads_into_a_fresh_one():
    model, batch = trained(SMALL)
    fresh = self_mm.Model(SMALL, model.spec)
    assert fresh.load_state_dict(model.state_dict()) == nn.modules.module._IncompatibleKeys([], [])
    torch.testing.assert_close(fresh.own_labels.labels_SN, model.own_labels.labels_SN, equal_nan=True)
    assert checkpoint._frozen_names(fresh) == set()
    torch.testing.assert_close(fresh.eval()(batch)["prediction"], model.eval()(batch)["prediction"])
