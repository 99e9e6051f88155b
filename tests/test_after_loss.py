"""Words are lost before they are encoded: in samples, in batches, in pickles; and what cannot be so says it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import samples as built

from lacuna.data.batches import InputSpec, collate
from lacuna.data.samples import Sample, Samples
from lacuna.data.scaler import Scaler
from lacuna.evaluate.under_loss import Lossy
from lacuna.extractors import bert, tokens
from lacuna.mask.after_loss import AfterLoss, leaks, made_again
from lacuna.mask.mask import mask
from lacuna.mask.variants import Grid, Variants, counted, write_variants
from lacuna.models.parts.text import TextEncoder
from lacuna.patterns import frames, modality, noise
from lacuna.storage.features import Origin
from lacuna.types import HIDDEN_COLUMN, Clip, MalformedInput

TEXTS = ("the film was not good at all", "I liked it", "", "what a waste of two fine hours in a warm cinema")
CLIPS = [Clip(f"v$_${i}", "tiny", "test", text, {"M": 1.0}) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def extractors():
    return bert.Extractor(bert.Settings(device="cpu")), tokens.Extractor(tokens.Settings())


def origin_of(extractor: bert.Extractor) -> Origin:
    settings = {"source": "embedded", "max_length": 50, "clean": [], "batch_size": 64, "device": "cpu"}
    return Origin("bert", "text", extractor.columns, settings, {})


def hidden(extractor: bert.Extractor) -> list[Sample]:
    again = made_again({"text": origin_of(extractor)}, Scaler({}, {}))
    return [Sample(clip, {"text": extractor(clip)}, again) for clip in CLIPS]


@pytest.mark.parametrize(("pattern", "level"), [(frames, 0.5), (frames, 0.9), (modality, "audio")])
def test_states_after_a_loss_are_those_of_the_words_that_were_left(extractors, pattern, level):
    """What a model reads that encodes token ids itself, lost by the same mask: states at the places that are left."""
    by_words, ids = extractors
    read = [Sample(clip, {"text": ids(clip)}) for clip in CLIPS if clip.text]
    encoder = TextEncoder(InputSpec.of(read, {}, 0), finetune=False).eval()
    for sample, words in zip([s for s in hidden(by_words) if s.clip.text], read):
        lossy, lost_words = mask(sample, pattern, level, 3), mask(words, pattern, level, 3)
        text = collate([lost_words])["text"]
        with torch.no_grad():
            wanted = (encoder(text)[0] * text.seen[0][:, None]).numpy()
        np.testing.assert_allclose(lossy.features["text"].values, wanted, atol=2e-5)
        np.testing.assert_array_equal(lossy.features["text"].seen, text.seen[0].numpy())


def test_a_lost_word_no_longer_shows_through_its_neighbours(extractors):
    """Two sentences that differ in one word are alike once it is lost; masked after encoding they were not."""
    extractor, _ = extractors
    pair = [replace(CLIPS[1], text=f"I {word} it") for word in ("liked", "hated")]
    left = np.array([True, True, False, True, True])
    made = AfterLoss(origin_of(extractor), Scaler({}, {}))(pair, [left, left])
    np.testing.assert_array_equal(made[0].values, made[1].values)
    states = [extractor(clip).values[left] for clip in pair]
    assert np.abs(states[0] - states[1]).max() > 0.1


@pytest.mark.parametrize("rows", [0, 4, 6])
def test_features_of_another_text_are_refused(extractors, rows):
    with pytest.raises(MalformedInput, match=rf"clip v\$_\$1: expected .* 5 tokens; got {rows} rows"):
        extractors[0].after_loss([CLIPS[1]], [np.ones(rows, bool)])


def test_nothing_lost_changes_nothing_and_noise_is_no_loss(extractors):
    for sample in hidden(extractors[0]):
        whole = sample.features["text"]
        np.testing.assert_array_equal(mask(sample, frames, 0.0, 1).features["text"].values, whole.values)
        np.testing.assert_array_equal(mask(sample, noise, 0.5, 1).features["text"].seen, whole.seen)


def test_states_are_scaled_as_the_features_were(extractors):
    width = len(extractors[0].columns)
    scaler = Scaler({"text": np.full(width, 0.5, np.float32)}, {"text": np.full(width, 2.0, np.float32)})
    left = np.array([True, True, False, True, True])
    plain = AfterLoss(origin_of(extractors[0]), Scaler({}, {}))([CLIPS[1]], [left])[0]
    scaled = AfterLoss(origin_of(extractors[0]), scaler)([CLIPS[1]], [left])[0]
    np.testing.assert_allclose(scaled.values[left], (plain.values[left] - 0.5) / 2, atol=1e-6)
    assert not scaled.values[~left].any()


def test_batches_of_variants_are_what_collate_makes_of_samples_masked_one_by_one(extractors, tmp_path):
    samples = hidden(extractors[0])
    read = Samples.of(samples)
    write_variants(tmp_path / "frames.h5", read.clips, counted(read), Grid(frames, [0.0, 0.6], [1, 2]))
    variants = Variants(tmp_path / "frames.h5")
    spec = InputSpec.of(samples, {"text": 8}, 0)
    lossy = Lossy(samples, spec, variants, "cpu")
    for level in variants.levels:
        wanted = collate([variants.apply(sample, level, 2) for sample in samples], spec.lengths)["text"]
        told = lossy(level, 2)["text"]
        torch.testing.assert_close(told.values, wanted.values, atol=1e-5, rtol=1e-4)
        assert torch.equal(told.seen, wanted.seen)


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        (Origin("given", "text", (HIDDEN_COLUMN, "hidden_1"), {}, {}), True),
        (Origin("wav2vec2", "audio", ("wav2vec2_0",), {}, {}), True),
        (Origin("bert", "text", (HIDDEN_COLUMN,), {}, {}), False),
        (Origin("glove", "text", ("glove_0",), {}, {}), False),
        (Origin("given", "audio", ("audio_0",), {}, {}), False),
    ],
)
def test_what_cannot_be_made_again_is_said(origin, told):
    notes = leaks({origin.modality: origin})
    assert bool(notes) == told and all(origin.modality in note for note in notes)


def test_samples_without_such_features_are_masked_as_before():
    assert all(not sample.again for sample in built(3))
