"""Texts that are encoded once: what comes out is what the encoder says, and it is asked once for each text."""

import numpy as np
import pytest
import torch
from test_layers import BERT, TOKENS, counted, texts, tokens

from lacuna.data.batches import InputSpec, collate
from lacuna.data.samples import Sample, Samples
from lacuna.evaluate.under_loss import predict_variants
from lacuna.mask.variants import Grid, Variants, write_variants
from lacuna.mask.variants import counted as frames_of
from lacuna.models.parts import remembered
from lacuna.models.parts.remembered import Remembered, remembering
from lacuna.models.parts.text import TextEncoder
from lacuna.models.ridge import Model, Settings
from lacuna.params import plugin
from lacuna.types import LOST_TOKEN, Clip


class Speaker(torch.nn.Module):
    """A model with a text encoder, frozen or not."""

    def __init__(self, finetune: bool = False) -> None:
        super().__init__()
        self.text_encoder = TextEncoder(TOKENS, BERT, finetune)


def without(sequence, *places):
    for place in places:
        sequence.values[place, 0], sequence.seen[place] = LOST_TOKEN, False
    return sequence


@pytest.fixture
def batch():
    """Seven texts, of which five differ: the same words lost elsewhere, or one token shorter, are another text."""
    word, other = lambda: tokens(6, 3), lambda: tokens(6, 4)
    return texts(
        word(), without(word(), 2), without(word(), 3), word(), tokens(5, 3), without(other(), 2), without(word(), 2)
    )


@torch.no_grad()
@pytest.mark.parametrize("finetune", [False, True])
def test_each_text_is_encoded_once_and_comes_out_as_ever(batch, finetune):
    model, memory = Speaker(finetune).eval(), Remembered()
    wanted = model.text_encoder(batch)
    given = counted(model.text_encoder)
    for _ in range(2):
        with remembering(model, memory):
            torch.testing.assert_close(model.text_encoder(batch), wanted, rtol=1e-5, atol=1e-6)
    assert given == [5]
    model.text_encoder(batch)
    assert given == [5, 7]  # outside, the encoder is asked again


@torch.no_grad()
def test_what_no_longer_fits_is_encoded_each_time(batch, monkeypatch):
    model, memory = Speaker().eval(), Remembered()
    wanted, given = model.text_encoder(batch), counted(model.text_encoder)
    monkeypatch.setattr(remembered, "MOST_BYTES", wanted[0].nbytes * 2)
    for _ in range(2):
        with remembering(model, memory):
            torch.testing.assert_close(model.text_encoder(batch), wanted, rtol=1e-5, atol=1e-6)
    assert given == [5, 3]


def test_the_encoder_forgets_after_an_error_too(batch):
    model = Speaker().eval()
    with pytest.raises(ZeroDivisionError), remembering(model):
        model.text_encoder(batch)
        raise ZeroDivisionError
    given = counted(model.text_encoder)
    model.text_encoder(batch)
    assert given == [7]


CASES = [("modality", (0.0, 0.5, 0.9), 2), ("frames", (0.0, 0.3, 0.6), 5)]


@pytest.mark.parametrize(("pattern", "levels", "encoded"), CASES)
def test_a_table_encodes_a_modality_twice_a_clip(tmp_path, pattern, levels, encoded):
    """A text is there or lost: two states a clip, however many rates and seeds; frames lost differ more often."""
    clips = [Sample(Clip(str(i), "d", "test"), {"text": tokens(9, i)}, {"M": 0.0}) for i in range(6)]
    samples, spec = Samples.of(clips), InputSpec.of(clips, {})
    path = tmp_path / f"{pattern}.h5"
    grid = Grid(plugin("patterns", pattern), levels, (1, 2))
    write_variants(path, samples.clips, frames_of(samples), grid)
    model = Model(Settings(encoder=BERT), spec)
    given = counted(model.text_encoder)
    asked = predict_variants(model, samples, spec, Variants(path), torch.device("cpu"))
    told = {(level, seed): outputs["prediction"] for level, seed, outputs in asked}
    assert len(told) == 6 and sum(given) <= encoded * len(clips)
    alone = [Variants(path).apply(clip, levels[1], 2) for clip in clips]
    wanted = model(collate(alone))["prediction"].detach().numpy()
    np.testing.assert_allclose(told[levels[1], 2], wanted, rtol=1e-5, atol=1e-5)
