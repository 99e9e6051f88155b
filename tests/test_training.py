"""The trainer: it learns, it chooses on validation, and a killed run ends with the numbers of one that was not."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import samples
from torch import nn

from lacuna.data.batches import InputSpec
from lacuna.data.samples import Samples
from lacuna.patterns import frames, mixed
from lacuna.train.average import Average
from lacuna.train.resume import read_progress, write_progress
from lacuna.train.trainer import Data, Settings, _order, fit
from lacuna.types import MalformedInput


class Linear(nn.Module):
    """The mean of each modality's first column, weighted: a stand-in small enough to reason about."""

    def __init__(self, widths: dict[str, int]) -> None:
        super().__init__()
        self.names = sorted(widths)
        self.weights = nn.Parameter(torch.zeros(len(widths)))
        self.dropout = nn.Dropout(0.1)
        self.steps = 0

    def forward(self, batch):
        columns = [batch[m].values[..., 0].sum(1) / batch[m].lengths for m in self.names]
        return {"prediction": self.dropout(torch.stack(columns, 1)) @ self.weights}

    def loss(self, batch, complete, epoch):
        error = (self(batch)["prediction"] - batch.labels["M"]).pow(2).mean()
        return {"loss": error, "term": error.detach()}


def data(pattern=None, count=40):
    train, valid = samples(count), samples(12, "valid", 1)
    return Data(train, valid, InputSpec.of(train, {}), pattern)


FAST = {"learning_rate": 0.05, "epochs": 6, "batch_size": 8}


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "warmup_cosine", "plateau"])
def test_it_learns(optimizer, schedule):
    made = data(mixed)
    model = Linear(made.spec.widths)
    history = fit(model, made, Settings(**FAST, optimizer=optimizer, schedule=schedule, clip_norm=5.0), seed=1)
    assert history.rows[-1]["train_loss"] < 0.7 * history.rows[0]["train_loss"]
    assert history.best == 1 + int(np.argmin([row["valid_loss"] for row in history.rows]))
    assert all(row["learning_rate"] > 0 for row in history.rows)


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("schedule", ["constant", "warmup_cosine", "plateau"])
def test_a_killed_run_ends_with_the_same_numbers(tmp_path, schedule, average):
    settings, made = Settings(**FAST, schedule=schedule, average=average), data(mixed)
    whole = Linear(made.spec.widths)
    wanted = fit(whole, made, settings, seed=3)

    class Killed(Exception):
        pass

    def keep(progress):
        write_progress(tmp_path / "state.safetensors", progress)
        if progress.epoch == 3:
            raise Killed

    with pytest.raises(Killed):
        fit(Linear(made.spec.widths), made, settings, seed=3, on_epoch=keep)
    resumed = Linear(made.spec.widths)
    history = fit(resumed, made, settings, seed=3, resume=read_progress(tmp_path / "state.safetensors"))
    assert history.rows == wanted.rows and history.best == wanted.best
    torch.testing.assert_close(resumed.weights, whole.weights, rtol=0, atol=0)


def test_frozen_weights_are_in_no_state_and_stay():
    made = data()
    model = Linear(made.spec.widths)
    model.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
    states = []
    fit(model, made, Settings(**FAST), seed=1, on_epoch=lambda p: states.append(set(p.model) | set(p.best)))
    assert states == [{"weights"}] * FAST["epochs"] and model.frozen.tolist() == [1, 1]


def test_two_runs_give_the_same_numbers_and_other_seeds_others():
    made = data(frames)
    runs = [fit(Linear(made.spec.widths), made, Settings(**FAST), seed=s).rows for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(("batches", "accumulate", "steps"), [(5, 2, 3), (3, 10, 1), (4, 4, 1), (6, 1, 6)])
def test_the_last_gradients_are_always_applied(batches, accumulate, steps):
    made = data(count=batches * 8)
    settings = Settings(learning_rate=0.01, epochs=1, batch_size=8, accumulate=accumulate)
    taken = []
    original = torch.optim.AdamW.step

    def counted(self, *args, **kwargs):
        taken.append(1)
        return original(self, *args, **kwargs)

    torch.optim.AdamW.step = counted
    try:
        fit(Linear(made.spec.widths), made, settings, seed=1)
    finally:
        torch.optim.AdamW.step = original
    assert len(taken) == steps


def test_accumulating_all_batches_equals_one_large_batch():
    made = data(count=32)
    small, large = Linear(made.spec.widths), Linear(made.spec.widths)
    small.dropout = large.dropout = nn.Identity()
    shared = {"learning_rate": 0.05, "epochs": 3}
    fit(small, made, Settings(**shared, batch_size=8, accumulate=4), seed=1)
    fit(large, made, Settings(**shared, batch_size=32), seed=1)
    torch.testing.assert_close(small.weights, large.weights, rtol=1e-4, atol=1e-6)


def test_early_stopping_keeps_the_best_weights():
    made = data()
    settings = Settings(learning_rate=1.5, epochs=30, batch_size=8, early_stop=3)
    model, states = Linear(made.spec.widths), []
    history = fit(model, made, settings, 1, on_epoch=lambda p: states.append(copy.deepcopy(p.model["weights"])))
    assert len(history.rows) == min(30, history.best + 3)
    torch.testing.assert_close(model.weights.data, states[history.best - 1])


def test_parts_have_their_own_rates():
    """Adam's first step moves every weight by its rate."""
    made = data()
    model = nn.Module()
    model.first, model.first_two, model.last = (Linear(made.spec.widths) for _ in range(3))
    model.forward = lambda batch: {"prediction": sum(part(batch)["prediction"] for part in model.children())}
    model.loss = lambda batch, complete, epoch: {"loss": model.forward(batch)["prediction"].sum()}
    rates = {"first": 0.1, "first_two.": 0.02}
    fit(model, made, Settings(learning_rate=0.003, rates=rates, epochs=1, batch_size=40, optimizer="adam"), seed=1)
    for part, rate in (("first", 0.1), ("first_two", 0.02), ("last", 0.003)):
        torch.testing.assert_close(getattr(model, part).weights.abs(), torch.full((3,), rate), rtol=1e-4, atol=0)


@pytest.mark.parametrize("factor", [0.5, 0.1])
def test_a_plateau_lowers_the_rate_by_its_factor(factor):
    made = data()
    settings = Settings(learning_rate=1e-12, epochs=4, batch_size=40, schedule="plateau", patience=1, factor=factor)
    rates = [row["learning_rate"] for row in fit(Linear(made.spec.widths), made, settings, seed=1).rows]
    assert rates[-1] == pytest.approx(rates[0] * factor)


def test_a_model_meets_the_clips_it_will_learn_from():
    made, met = data(), []

    class Meeting(Linear):
        def meet(self, samples):
            met.extend(sample.clip.id for sample in samples)

    fit(Meeting(made.spec.widths), made, Settings(epochs=2), seed=1)
    assert met == [sample.clip.id for sample in made.train]


@pytest.mark.parametrize("bucket", [True, False])
def test_every_clip_is_seen_once_an_epoch_in_another_order(bucket):
    train, settings = samples(37), Settings(batch_size=8, bucket=bucket)
    epochs = [list(_order(Samples.of(train).frames, settings, 1, epoch)) for epoch in (1, 2)]
    for epoch in epochs:
        assert sorted(i for batch in epoch for i in batch) == list(range(37))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(("masks", "kinds"), [("fresh", 4), ("fixed", 1)])
def test_masks_are_fresh_in_every_epoch_or_the_same_in_all(masks, kinds):
    made, seen = data(mixed, 8), []

    class Watching(Linear):
        def loss(self, batch, complete, epoch):
            if self.training:
                order = np.argsort(batch.ids)
                seen.append(tuple(int(batch["audio"].seen[i].sum()) for i in order))
            assert complete["audio"].seen.sum() >= batch["audio"].seen.sum()
            return super().loss(batch, complete, epoch)

    settings = Settings(learning_rate=0.01, epochs=4, batch_size=8, masks=masks)
    fit(Watching(made.spec.widths), made, settings, seed=1)
    assert len(seen) == 4 and len(set(seen)) == kinds


@pytest.mark.parametrize(
    ("change", "told"),
    [({"optimizer": "sgd"}, "adamw, adam.*sgd"), ({"epochs": 0}, "epochs"), ({"schedule": "x"}, "x")],
)
def test_bad_settings_are_named(change, told):
    with pytest.raises(MalformedInput, match=told):
        Settings(**change)


def test_a_split_without_clips_is_named():
    with pytest.raises(MalformedInput, match="valid"):
        Data(samples(3), [], InputSpec.of(samples(3), {}))


def test_the_running_mean_of_weights_by_hand():
    """The decay is .2, but in the first step (1 + 1) / (10 + 1) = .18."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    mean = Average(model, 0.2, steps=1)
    for value in (1.0, 3.0, 5.0):
        nn.init.constant_(model.weight, value)
        mean.add(model)
    wanted = 9 / 11
    for decay, value in ((0.2, 3.0), (0.2, 5.0)):
        wanted = decay * wanted + (1 - decay) * value
    assert float(mean.lend(model)["weight"]) == pytest.approx(wanted, rel=1e-6)
    assert float(model.weight) == pytest.approx(wanted, rel=1e-6)
    mean.take_back(model)
    assert float(model.weight) == 5.0


def test_the_mean_is_what_is_validated_and_kept():
    made, seen = data(), []
    model = Linear(made.spec.widths)
    history = fit(model, made, Settings(**FAST, average=0.9), 1, on_epoch=lambda p: seen.append(dict(p.average)))
    torch.testing.assert_close(model.weights.data, seen[history.best - 1]["weights"])
    assert not torch.equal(seen[-1]["weights"], seen[0]["weights"])


def test_a_criterion_chooses_the_epoch_in_place_of_the_loss():
    asked = iter([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    made = replace(data(), criterion=lambda model: next(asked))
    states = []
    model = Linear(made.spec.widths)
    history = fit(model, made, Settings(**FAST), 1, on_epoch=lambda p: states.append(p.model["weights"].clone()))
    assert history.best == 2 and [row["criterion"] for row in history.rows] == [3, 1, 2, 5, 4, 6]
    torch.testing.assert_close(model.weights.data, states[1])


def test_a_model_that_solves_is_fitted_in_one_epoch_from_many_draws():
    made, counts = data(mixed), {}

    class Solved(Linear):
        def solve(self, train, valid):
            for name, batches in (("train", train), ("valid", valid)):
                ids = [clip for batch in batches for clip in batch.ids]
                counts[name] = len(ids), len(set(ids))
            self.weights.data.fill_(0.5)

    model = Solved(made.spec.widths)
    history = fit(model, made, Settings(**FAST), 1)
    assert counts == {"train": (40 * 6, 40), "valid": (12 * 6, 12)}
    assert len(history.rows) == 1 and set(model.weights.tolist()) == {0.5}
