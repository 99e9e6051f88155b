"""Samples, scaling and collating: cuts keep [SEP], padding is told from loss, a lost modality is one lost frame."""

import numpy as np
import pytest
from builders import clip, samples, sequence, tokens

from lacuna.data.batches import InputSpec, collate
from lacuna.data.samples import Sample, polarity, read_clips, read_samples, write_clips
from lacuna.data.scaler import Scaler
from lacuna.storage.features import Origin, write_features
from lacuna.types import MalformedInput, empty_sequence


def test_clips_survive_the_disk(tmp_path):
    made = [
        clip(0, text="这个 film", labels={"M": 1.0, "A": -0.5}, start=1.5, end=2.0),
        clip(1, "unlabelled", labels={}),
    ]
    write_clips(tmp_path / "clips.jsonl", made)
    assert read_clips(tmp_path / "clips.jsonl") == made


def test_collating_pads_and_tells_padding_from_loss():
    lost = sequence(np.array([[1.0], [0.0], [3.0]]), np.array([True, False, True]))
    batch = collate([Sample(clip(0), {"audio": lost}), Sample(clip(1), {"audio": sequence(np.ones((1, 1)))})])
    assert batch["audio"].seen.tolist() == [[True, False, True], [True, False, False]]
    assert batch["audio"].real.tolist() == [[True, True, True], [True, False, False]]
    assert batch["audio"].lengths.tolist() == [3, 1]


def test_a_clip_without_a_modality_has_one_lost_frame():
    batch = collate([Sample(clip(0), {"audio": empty_sequence(("a", "b"))})])
    assert batch["audio"].values.shape == (1, 1, 2) and not batch["audio"].seen.any()
    assert batch["audio"].real.all()


def test_a_cut_sentence_keeps_its_last_token():
    batch = collate([Sample(clip(0), {"text": tokens(101, 5, 6, 7, 102)})], {"text": 3})
    assert batch["text"].values[0, :, 0].tolist() == [101, 5, 102]


def test_the_scaler_learns_from_seen_frames_and_leaves_the_unseen_zero():
    values = np.array([[1.0, 5.0], [3.0, 5.0], [99.0, 99.0]])
    sample = Sample(clip(0), {"audio": sequence(values, np.array([True, True, False]))})
    audio = sample.features["audio"]
    scaled = Scaler.fit({"audio": [audio]})("audio", audio).values
    np.testing.assert_allclose(scaled, [[-1, 0], [1, 0], [0, 0]])  # a column that never moves is only centred


def test_a_modality_never_seen_is_named():
    with pytest.raises(MalformedInput, match="vision"):
        Scaler.fit({"vision": [sequence(np.zeros((2, 1)), np.zeros(2, bool))]})


def test_polarity():
    assert [polarity(clip(0, label=x)).label for x in (-0.2, 0.0, 3.0)] == [0, 1, 2]


def test_the_spec_describes_the_samples():
    spec = InputSpec.of(samples(5), {"audio": 4}, classes=3)
    assert spec.widths == {"text": 6, "audio": 4, "vision": 5} and spec.lengths["audio"] == 4 and not spec.tokens


def test_two_extractors_of_one_modality_are_refused(tmp_path):
    write_clips(tmp_path / "clips.jsonl", [clip(0)])
    for name in ("a", "b"):
        origin = Origin(name, "audio", ("c0",), {}, {})
        write_features(tmp_path / "features" / f"{name}.h5", origin, [("v$_$0", sequence(np.ones((2, 1))))])
    with pytest.raises(MalformedInput, match="one extractor per modality"):
        read_samples(tmp_path, ["a", "b"])


def test_features_that_no_clip_has_stop_who_names_them(tmp_path):
    write_clips(tmp_path / "clips.jsonl", [clip(0)])
    write_features(tmp_path / "features" / "a.h5", Origin("a", "audio", ("c0",), {}, {}), [])
    with pytest.raises(MalformedInput, match=r"a\.h5: expected audio of at least one of 1 clip,"):
        read_samples(tmp_path, ["a"])
