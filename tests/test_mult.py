"""MulT: frames have places, padding is no frame, the last real one is read, and each erratum's switch."""

from dataclasses import replace

import pytest
import torch
from random_batches import random_batch, random_spec

from lacuna.data.batches import InputSpec
from lacuna.models import mult
from lacuna.types import MalformedInput

WIDTHS = {"text": 12, "audio": 5, "vision": 7}
SMALL = mult.Settings(width=8, heads=2, depth=2, memory_depth=2)
ONE = {"kernels": {"text": 1, "audio": 1, "vision": 1}, "causal": False}


def built(settings: mult.Settings):
    torch.manual_seed(0)
    spec = random_spec(WIDTHS)
    return mult.Model(settings, spec).eval(), random_batch(spec)


def shuffled(batch, modality: str, keep: int):
    """Another order of all frames but the last `keep`, which are padding or real."""
    padded = batch[modality]
    count = padded.values.shape[1] - keep
    order = torch.cat([torch.arange(count).flip(0), torch.arange(count, count + keep)])
    changed = replace(padded, values=padded.values[:, order])
    return replace(batch, modalities=batch.modalities | {modality: changed})


def test_published_frames_have_no_places():
    """Kernel 1 and no mask: all audio frames but the last shuffled change nothing."""
    spec = replace(random_spec(WIDTHS), lengths={"text": 6, "audio": 12, "vision": 10})
    for positions, feels in (("none", False), ("sines", True)):
        torch.manual_seed(0)
        model = mult.Model(replace(SMALL, **ONE, positions=positions, readout="last"), spec).eval()
        batch = random_batch(spec)
        difference = (model(shuffled(batch, "audio", 1))["prediction"] - model(batch)["prediction"]).abs().max()
        assert (float(difference) > 1e-4) == feels and (feels or float(difference) < 1e-6)


def test_published_padding_is_read_and_its_last_place_is_the_readout():
    model, batch = built(replace(SMALL, readout="last"))
    audio = batch["audio"]
    values = torch.where(audio.real[..., None], audio.values, 1.0)
    changed = replace(batch, modalities=batch.modalities | {"audio": replace(audio, values=values)})
    assert not torch.allclose(model(changed)["prediction"], model(batch)["prediction"])
    model, _ = built(SMALL)
    torch.testing.assert_close(model(changed)["prediction"], model(batch)["prediction"])


@pytest.mark.parametrize(
    ("settings", "widths", "millions"),
    [
        ({}, {"text": 768, "audio": 5, "vision": 20}, 2.57),
        (
            {"width": 30, "heads": 6, "kernels": {"text": 5, "audio": 1, "vision": 3}},
            {"text": 768, "audio": 74, "vision": 35},
            0.98,
        ),
        (
            {"depth": 2, "memory_depth": 3, "kernels": {"text": 5, "audio": 1, "vision": 1}},
            {"text": 768, "audio": 33, "vision": 709},
            1.87,
        ),
    ],
)
def test_it_has_as_many_weights_as_published(settings, widths, millions):
    model = mult.Model(replace(mult.PUBLISHED, **settings), InputSpec(widths, dict.fromkeys(widths, 50)))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(
    ("equal_widths", "projected"), [(True, {"text", "audio", "vision"}), (False, {"text", "vision"})]
)
def test_features_as_wide_as_the_streams(equal_widths, projected):
    widths = {"text": 12, "audio": 8, "vision": 7}
    spec = random_spec(widths)
    model = mult.Model(replace(SMALL, equal_widths=equal_widths), spec).eval()
    assert set(model.project) == projected
    assert torch.isfinite(model(random_batch(spec))["prediction"]).all()


def test_rates_of_attention_follow_the_source():
    model, _ = built(replace(SMALL, attention_dropout={"text": 0.3, "audio": 0.2}, memory_dropout=0.4))
    rates = {name: encoder.shape.attention_dropout for name, encoder in model.crossmodal.items()}
    assert rates["audio_with_text"] == rates["vision_with_text"] == 0.3
    assert rates["text_with_audio"] == 0.2 and rates["text_with_vision"] == 0.0
    assert {memory.shape.attention_dropout for memory in model.memory.values()} == {0.4}


@pytest.mark.parametrize(
    "change",
    [{"positions": "learnt"}, {"readout": "first"}, {"kernels": {"touch": 3}}, {"kernels": {"text": 0}}, {"width": 51}],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(MalformedInput, match=next(iter(change))):
        mult.Settings(**change)
