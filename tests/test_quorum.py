"""Quorum and the ridge: who saw nothing abstains, variances are of the sum, the closed form is scikit-learn's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_batches import random_batch, random_spec
from sklearn.linear_model import Ridge

from lacuna.models import quorum, ridge
from lacuna.models.parts.pooled import WINDOWS, pooled, windows

WIDTHS = {"text": 5, "audio": 3, "vision": 4}


def built(module, classes=0, **settings):
    torch.manual_seed(0)
    spec = random_spec(WIDTHS, classes=classes)
    model = module.Model(module.Settings(**settings), spec)
    for parameter in model.parameters():  # nothing is zero by its start
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval(), random_batch(spec)


def without(batch, *lost):
    gone = {m: replace(batch[m], values=batch[m].values * 0, seen=batch[m].seen & False) for m in lost}
    return replace(batch, modalities=batch.modalities | gone)


@pytest.mark.parametrize("precision", ["evidence", "columns"])
@pytest.mark.parametrize("hidden", [0, 6])
def test_who_saw_nothing_has_no_say(precision, hidden):
    model, batch = built(quorum, precision=precision, hidden=hidden)
    told = model(without(batch, "audio"))
    assert (told["weight_audio"] == 0).all()
    assert ((told["weight_text"] > 0) == batch["text"].seen.any(1)).all()
    nobody = model(without(batch, *WIDTHS))
    prior = torch.nn.functional.softplus(model.prior_precision) + 1e-3
    torch.testing.assert_close(nobody["prediction"], model.prior_mean_K.expand(len(batch)))
    torch.testing.assert_close(nobody["variance"], (1 / prior).expand(len(batch)))


def test_the_answer_is_the_precision_weighted_mean():
    model, batch = built(quorum)
    told = model(batch)
    with torch.no_grad():
        mean_MBK, precision_MB = model.opinions(batch)
        wanted = sum(m[:, 0] * p for m, p in zip(mean_MBK, precision_MB)) / sum(precision_MB)
    torch.testing.assert_close(told["prediction"], wanted)
    torch.testing.assert_close(told["variance"], 1 / sum(precision_MB))
    assert (model(without(batch, "text"))["variance"] > told["variance"])[batch["text"].seen.any(1)].all()


def test_the_loss_by_hand():
    model, batch = built(quorum, variance_weight=0.5)
    told, y = model(batch), batch.labels["M"]
    e2, v = (told["prediction"] - y) ** 2, told["variance"]
    wanted = (0.5 * e2 + 0.25 * (e2 / v + v.log())).mean()
    model.train()
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    torch.testing.assert_close(model.loss(batch, batch, 1)["loss"], wanted)


def test_experts_are_linear_where_clips_are_few():
    few, many = (quorum.Model(quorum.Settings(), replace(random_spec(WIDTHS), clips=n)) for n in (96, 1200))
    assert len(few.experts["audio"].mean) == 1 and many.experts["audio"].mean[0].out_features == 32


def test_pooling_by_hand():
    _, batch = built(quorum)
    padded = batch["audio"]
    told = pooled(batch, "audio", None)
    for i, length in enumerate(padded.lengths.tolist()):
        x = padded.values[i, :length][padded.seen[i, :length]].numpy()
        if len(x):
            np.testing.assert_allclose(told.mean_BD[i], x.mean(0), atol=1e-6)
            np.testing.assert_allclose(told.deviation_BD[i], x.std(0), atol=1e-5)
        wanted = [len(x) / length, not len(x), np.log1p(len(x)) / 4]
        np.testing.assert_allclose(told.evidence_BE[i], wanted, atol=1e-6)


def test_windows_by_hand():
    """Frame t of T lies in window floor(16 t / T); lost frames and padding, whatever it holds, count for nothing."""
    spec = replace(random_spec(WIDTHS), lengths={"text": 5, "audio": 40, "vision": 5})
    padded = random_batch(spec)["audio"]
    dirty = torch.where(padded.real[..., None], padded.values, torch.nan)
    mean_BWD, seen_BW = windows(replace(padded, values=dirty))
    for i, length in enumerate(padded.lengths.tolist()):
        for w in range(WINDOWS):
            frames = [t for t in range(length) if t * WINDOWS // length == w and padded.seen[i, t]]
            wanted = padded.values[i, frames].mean(0) if frames else torch.zeros(3)
            assert seen_BW[i, w] == bool(frames)
            torch.testing.assert_close(mean_BWD[i, w], wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("recurrent", "told"), [((), False), (("audio",), True), (("vision",), False)])
def test_the_order_of_frames_counts_where_it_is_read(recurrent, told):
    model, batch = built(quorum, recurrent=recurrent)
    audio = batch["audio"]
    full = torch.full_like(audio.lengths, audio.values.shape[1])  # of one length, so that frames may change places
    whole = replace(audio, lengths=full, seen=torch.ones_like(audio.seen))
    turned = replace(whole, values=whole.values.flip(1))
    one, other = (model(replace(batch, modalities=batch.modalities | {"audio": x})) for x in (whole, turned))
    assert torch.allclose(one["prediction"], other["prediction"], atol=1e-5) is not told


def test_one_frame_has_no_course():
    spec = random_spec(WIDTHS)
    model = quorum.Model(quorum.Settings(), replace(spec, lengths=spec.lengths | {"audio": 1}))
    assert list(model.courses) == ["vision"]


def test_only_sequences_have_a_course():
    with pytest.raises(ValueError, match=r"quorum.recurrent: expected some of audio, vision, image; got \['text'\]"):
        quorum.Settings(recurrent=("text", "audio"))


def test_ridge_is_scikit_learns_on_its_own_columns():
    spec = random_spec(WIDTHS)
    model = ridge.Model(ridge.Settings(), spec)
    train, valid = ([random_batch(spec, seed=s) for s in range(*r)] for r in ((0, 30), (50, 60)))
    model.solve(iter(train), iter(valid))
    x = torch.cat([model.columns(b) for b in train]).double().numpy()
    y = torch.cat([b.labels["M"] for b in train]).numpy()
    scaled = (x - model.mean_D.numpy()) / model.scale_D.numpy()
    asked = random_batch(spec, seed=99)
    rows = (model.columns(asked).double().numpy() - model.mean_D.numpy()) / model.scale_D.numpy()
    fits = [Ridge(alpha=p * len(x)).fit(scaled, y).predict(rows) for p in ridge.PENALTIES]
    told = model(asked)["prediction"].detach().numpy()
    assert min(np.abs(told - fit).max() for fit in fits) < 1e-3
    assert np.abs(fits[0] - fits[-1]).max() > 0.05


def test_ridge_tells_classes_and_tunes_nothing():
    spec = random_spec(WIDTHS, classes=3)
    model = ridge.Model(ridge.Settings(), spec)
    batches = [random_batch(spec, seed=s) for s in range(20)]
    model.solve(iter(batches), iter(batches[:4]))
    told = model(batches[0])["prediction"]
    torch.testing.assert_close(told.sum(1), torch.ones(len(told)))
    accuracy = torch.cat([model(b)["prediction"].argmax(1) == b.labels["M"] for b in batches]).float().mean()
    assert accuracy > 0.4
    with pytest.raises(ValueError, match=r"ridge.finetune: expected false"):
        ridge.Settings(finetune=True)
