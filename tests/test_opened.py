"""Data for others' loops are what our trainer sees, are read lazily, and go to DataLoader's workers."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import clip, sequence, tokens
from torch.utils.data import DataLoader

import lacuna
from lacuna.data.samples import write_clips
from lacuna.mask.together import TOGETHER
from lacuna.params import plugin, plugin_names
from lacuna.storage.features import Origin, write_features
from lacuna.storage.packed import Packed
from lacuna.train.feed import Feed, Loss
from lacuna.train.opened import open_dataset
from lacuna.types import TOKEN_COLUMNS, MalformedInput

FEATURES = ["tokens", "librosa", "bert"]
LENGTHS = {"text": 5, "audio": 9, "vision": 4}
PATTERNS = [name for name in plugin_names("patterns") if name != "legacy"]  # which also needs a place in the split


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A processed dataset of twelve clips, one of which has no sound, with hidden states in the place of vision."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    clips = [clip(i, "test" if i % 4 == 3 else "train", float(i), id=f"v$_${i}") for i in range(12)]
    write_clips(root / "mine" / "clips.jsonl", clips)
    made = {
        "tokens": (
            "text",
            TOKEN_COLUMNS,
            [tokens(101, *rng.integers(200, 900, rng.integers(1, 9)), 102) for _ in clips],
        ),
        "librosa": (
            "audio",
            ("c0", "c1"),
            [sequence(rng.normal(5, 3, (n, 2)), rng.random(n) > 0.2) for n in range(12)],
        ),
        "bert": ("vision", ("hidden_0", "hidden_1"), [_hidden(rng, 2 + i % 5) for i in range(12)]),
    }
    for name, (modality, columns, sequences) in made.items():
        kind = "int64" if name == "tokens" else "float32"
        pairs = ((c.id, s) for c, s in zip(clips, sequences))
        write_features(root / "mine" / "features" / f"{name}.h5", Origin(name, modality, columns, {}, {}, kind), pairs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LACUNA_CACHE", str(root / "cache"))
        yield root / "mine"


def _hidden(rng, frames):
    return sequence(rng.normal(size=(frames, 2)), prefix="hidden_")


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("draw", [0, 3])
def test_a_batch_equals_the_trainers(folder, name, draw):
    opened = lacuna.open(folder, FEATURES, "train", name, 0.4, seed=5).at(draw)
    feed = Feed(opened.complete, LENGTHS, Loss(plugin("patterns", name), 0.4, 5, TOGETHER))
    places = [4, 0, 7, 2]
    ((lossy, whole),) = feed([places], draw)
    for batch, samples in ((lossy, opened), (whole, opened.complete)):
        wanted = lacuna.collate([samples[i] for i in places], LENGTHS)
        assert batch.ids == wanted.ids
        for modality, padded in wanted.modalities.items():
            for part in ("values", "times", "seen", "lengths"):
                assert torch.equal(getattr(batch[modality], part), getattr(padded, part)), (modality, part)
        assert torch.equal(batch.labels["M"], wanted.labels["M"])


@pytest.mark.parametrize("name", PATTERNS)
def test_what_the_host_notes_as_changed_is_what_changed(folder, name):
    opened = lacuna.open(folder, FEATURES)
    feed = Feed(opened.complete, LENGTHS, Loss(plugin("patterns", name), 0.3, 5, TOGETHER))
    for lossy, whole in feed([range(5), range(5, 9)], 1):
        for modality, padded in lossy.modalities.items():
            other = whole[modality]
            differs = (padded.values != other.values).flatten(1).any(1) | (padded.seen != other.seen).any(1)
            noted = torch.zeros(len(whole), dtype=torch.bool)
            noted[padded.changed] = True
            assert not (differs & ~noted).any()
            if not hasattr(plugin("patterns", name), "spoil"):
                assert torch.equal(differs, noted)


def test_it_is_lazy_and_goes_to_workers(folder, monkeypatch):
    read = []
    once = Packed.read
    monkeypatch.setattr(Packed, "read", lambda self, *rest: read.append(1) or once(self, *rest))
    opened = open_dataset(folder, FEATURES, scale=False)
    assert not read and len(opened) == 9
    opened[0]
    assert len(read) <= len(FEATURES)
    again = pickle.loads(pickle.dumps(lacuna.open(folder, FEATURES, pattern="frames", seed=1)))
    loader = DataLoader(again, batch_size=4, num_workers=2, collate_fn=lacuna.collate)
    ids = [name for batch in loader for name in batch.ids]
    assert ids == [c.id for c in again.complete.clips]


def test_masks_are_those_of_their_rate_and_seed(folder):
    low, high, other = (
        lacuna.open(folder, FEATURES, "test", "frames", *drawn) for drawn in ((0.2, 1), (0.7, 1), (0.7, 2))
    )
    seen = [np.concatenate([s.features["audio"].seen for s in part]) for part in (low, high, other)]
    assert (seen[0] >= seen[1]).all() and seen[1].sum() < seen[0].sum() and (seen[1] != seen[2]).any()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"split": "dev"}, "split: expected one of train"),
        ({"features": ["glove"]}, r"glove.h5: expected a features file"),
    ],
)
def test_what_is_not_there_is_named(folder, given, told):
    with pytest.raises(MalformedInput, match=told):
        lacuna.open(Path(folder), **({"features": FEATURES} | given))
