"""Variants on disk are the masks that were drawn, for every pattern: sample by sample, and as whole batches."""

import numpy as np
import pytest
import torch
from builders import clip, sequence, tokens, variants_file

from lacuna.data.batches import InputSpec, collate
from lacuna.data.samples import Sample, Samples
from lacuna.evaluate.under_loss import Lossy
from lacuna.mask.mask import mask
from lacuna.mask.variants import Variants, levels_of, places
from lacuna.params import plugin, plugin_names
from lacuna.types import MalformedInput

LEVELS, SEEDS = [0.0, 0.4], [1, 2]


def made() -> list[Sample]:
    rng = np.random.default_rng(0)
    words = [tokens(101, *rng.integers(200, 900, n), 102) for n in (5, 9, 3)]
    sounds = [sequence(rng.normal(size=(n, 3)) + 9, prefix="a") for n in (20, 7, 1)]
    return [Sample(clip(i, "test"), {"text": w, "audio": s}) for i, (w, s) in enumerate(zip(words, sounds))]


@pytest.mark.parametrize("name", plugin_names("patterns"))
def test_a_file_gives_back_the_masks(name, tmp_path):
    samples, pattern, path = made(), plugin("patterns", name), tmp_path / "v.h5"
    shares = variants_file(path, samples, pattern, LEVELS, SEEDS)
    assert set(shares) == {"text", "audio"} and all(s.shape == (2,) for s in shares.values())
    read = Samples.of(samples)
    variants, where = Variants(path), places(read.clips, {m: s.lengths for m, s in read.stores.items()}, {})
    spec = InputSpec.of(samples, {"text": 6, "audio": 10})
    lossy = Lossy(samples, spec, variants, "cpu")
    for level in LEVELS:
        for seed in SEEDS:
            masked = [mask(s, pattern, level, seed, 0, where[s.clip.id]) for s in samples]
            for one, expected in zip(samples, masked):
                given = variants.apply(one, level, seed)
                for modality, wanted in expected.features.items():
                    assert (given.features[modality].values == wanted.values).all()
                    assert (given.features[modality].seen == wanted.seen).all()
            batch = lossy(level, seed)
            wanted = collate(masked, spec.lengths)
            for modality, padded in wanted.modalities.items():
                assert torch.equal(batch[modality].values, padded.values), modality
                assert torch.equal(batch[modality].seen, padded.seen), modality


def test_absent_variants_name_the_stage(tmp_path):
    with pytest.raises(MalformedInput, match=r"none.h5: expected incomplete variants.*dvc repro mask"):
        Variants(tmp_path / "none.h5")


def test_modality_is_also_judged_by_subset():
    levels = levels_of("modality", [0.0, 0.5], ["text", "audio", "vision"], True)
    assert levels[:2] == [0.0, 0.5] and len(levels) == 2 + 7 and "audio+text" in levels
    assert levels_of("span", [0.5], ["text", "audio"], True) == [0.5]


@pytest.mark.parametrize(("name", "same"), [("frames", False), ("modality", True), ("noise", False)])
def test_variants_that_are_the_same_are_known_as_such(name, same, tmp_path):
    levels = [0.0, "audio"] if name == "modality" else [0.0, 0.5]
    variants_file(tmp_path / "v.h5", made(), plugin("patterns", name), levels, SEEDS)
    variants = Variants(tmp_path / "v.h5")
    assert variants.identity(0.0, 1) == variants.identity(0.0, 2) != variants.identity(levels[1], 1)
    assert (variants.identity(levels[1], 1) == variants.identity(levels[1], 2)) is same


def test_rates_by_modality_are_levels_beside_the_others():
    told = levels_of("frames", [0.0], ["text", "audio"], True, [{"text": 0.2, "audio": 0.6}, {"vision": 0.5}])
    assert told == [0.0, "text=0.2+audio=0.6"]
