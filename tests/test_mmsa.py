"""mmsa: what a pickle holds, that reading it back loses nothing, and that a hostile or broken one is refused."""

import io
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmsa_samples import other_words, samples_of

from lacuna.data.samples import LOST_TOKEN, TOKEN_COLUMNS, Sample
from lacuna.datasets import mmsa_pickle
from lacuna.export import pickle as mmsa
from lacuna.mask.mask import mask
from lacuna.params import Prepare
from lacuna.patterns import frames
from lacuna.prepare.run import given_features, prepare
from lacuna.storage import pickles
from lacuna.storage.features import write_features
from lacuna.types import MalformedInput, empty_sequence

FIXTURES = Path(os.environ.get("LACUNA_FIXTURES", Path(__file__).resolve().parents[1] / "../shared/fixtures"))


def dumped(path: Path, made, **settings):
    written = mmsa.dump(path, made.whole, made.all_origins, mmsa.Settings(**settings))
    return written, mmsa.load(path).splits


def test_every_key_has_the_shape_and_type_that_mmsa_takes(tmp_path):
    made = samples_of(counts=(6, 3, 2), longest=(9, 12, 7), widths=(8, 5, 4))
    written, splits = dumped(tmp_path / "a.pkl", made)
    train = splits["train"]
    assert [len(splits[split]["id"]) for split in ("train", "valid", "test")] == [6, 3, 2] == [*written.clips.values()]
    assert train["text_bert"].shape == (6, 3, 9) and train["text"].shape == (6, 9, 8)
    assert train["audio"].shape == (6, 12, 5) and train["vision"].shape == (6, 9, 4)  # as far as text, for MISA
    assert {type(n) for n in train["audio_lengths"]} == {int} and min(train["vision_lengths"]) >= 1
    assert train["regression_labels"].shape == (6,) and train["regression_labels"].dtype == np.float32
    assert set(train["classification_labels"]) <= {0, 1, 2} and train["annotations"][0] in ("Negative", "Positive")
    assert all(isinstance(text, str) for text in train["raw_text"]) and train["id"][0].count("$_$") == 1
    assert train["text"].dtype == train["audio"].dtype == np.float32
    for row, tokens in zip(train["text_bert"], (made.tokens[name] for name in train["id"])):
        assert row[1].sum() == len(tokens) and (row[0, : len(tokens)] == tokens.values[:, 0]).all()
        assert not row[:, len(tokens) :].any()
    assert not any(key.endswith("missing_mask") for key in train) and "regression_labels_T" not in train


def test_unimodal_labels_are_written_where_every_clip_has_them(tmp_path):
    made = samples_of(labels="MTAV")
    _, splits = dumped(tmp_path / "a.pkl", made)
    for name in "TAV":
        assert splits["test"][f"regression_labels_{name}"].shape == (len(splits["test"]["id"]),)


def test_the_same_bytes_again(tmp_path):
    made = samples_of()
    dumped(tmp_path / "a.pkl", made)
    again = samples_of()
    dumped(tmp_path / "b.pkl", again)
    assert (tmp_path / "a.pkl").read_bytes() == (tmp_path / "b.pkl").read_bytes()
    assert b"numpy._core" not in (tmp_path / "a.pkl").read_bytes()  # which readers with numpy 1 do not have


def test_plain_pickle_reads_writable_arrays(tmp_path):
    dumped(tmp_path / "a.pkl", samples_of())
    with (tmp_path / "a.pkl").open("rb") as file:
        content = pickle.load(file)
    content["train"]["audio"][:] = 0
    assert type(content["train"]["text_bert"]) is np.ndarray


def test_cuts_are_counted_and_sentences_stay_closed(tmp_path):
    made = samples_of(longest=(9, 12, 7))
    written, splits = dumped(tmp_path / "a.pkl", made, lengths={"text": 4, "audio": 5, "vision": 100})
    every = [made.tokens[s.clip.id] for s in made.samples]
    assert written.cuts["tokens"] == written.cuts["text"] == sum(len(t) > 4 for t in every)
    assert written.cuts["audio"] == sum(len(s.features["audio"]) > 5 for s in made.samples)
    assert written.cuts["vision"] == 0 and written.lengths["vision"] == 100
    assert splits["train"]["audio"].shape[1] == 5 and splits["train"]["vision"].shape[1] == 100
    ids = splits["train"]["text_bert"][:, 0]
    assert all(mmsa.SEP in row[row > 0][-1:] for row in ids)


def test_auto_is_mmsa_fets_rule_on_train(tmp_path):
    made = samples_of(counts=(12, 3, 2), longest=(9, 40, 40))
    written, _ = dumped(tmp_path / "a.pkl", made, lengths={"audio": "auto"})
    lengths = [len(s.features["audio"]) for s in made.samples if s.clip.split == "train"]
    assert written.lengths["audio"] == int(np.mean(lengths) + 3 * np.std(lengths))
    assert mmsa.fet_length([3, 5, 4, 30, 4, 5, 3, 4, 5, 4, 3, 5]) == 27


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="LACUNA_FIXTURES names the folder of reference outputs")
def test_padding_equals_mmsa_fets():
    fixture = np.load(FIXTURES / "fet/padding.npz")
    ends = np.cumsum(fixture["lengths"])
    length = mmsa.fet_length(fixture["lengths"])
    parts = np.split(fixture["flat"], ends[:-1])
    assert np.array_equal(np.stack([mmsa._padded(p[:length], length) for p in parts]), fixture["end"])


def test_aligned_files_have_no_lengths_and_one_length(tmp_path):
    made = samples_of(aligned=True)
    _, splits = dumped(tmp_path / "a.pkl", made, aligned=True, lengths={"text": 6})
    train = splits["train"]
    assert not any(key.endswith("_lengths") for key in train)
    assert train["audio"].shape[1] == train["vision"].shape[1] == train["text_bert"].shape[2] == 6
    assert not train["audio"][:, 0].any()
    broken = samples_of(aligned=False)
    with pytest.raises(MalformedInput, match=r"clip .* expected \d+ frames of aligned audio, got"):
        mmsa.dump(tmp_path / "b.pkl", broken.whole, broken.all_origins, mmsa.Settings(aligned=True))


def test_words_of_another_tokeniser_are_left_out_of_an_aligned_file_and_kept_in_the_other(tmp_path):
    made = other_words(samples_of(aligned=True))
    written = mmsa.dump(tmp_path / "a.pkl", made.whole, made.all_origins, mmsa.Settings(aligned=True))
    train = mmsa.load(tmp_path / "a.pkl").splits["train"]
    assert "text" not in train and train["text_bert"].shape[2] == train["audio"].shape[1] == train["vision"].shape[1]
    assert any("left out" in note for note in written.notes)
    assert mmsa.load(tmp_path / "a.pkl").own["notes"] == list(written.notes[:1])
    whole = mmsa.dump(tmp_path / "u.pkl", made.whole, made.all_origins, mmsa.Settings())
    assert not any("left out" in note for note in whole.notes)
    assert mmsa.load(tmp_path / "u.pkl").splits["train"]["text"].shape[2] == 8


def incomplete(made, rate=0.5):
    samples = [mask(sample, frames, rate, 1) for sample in made.samples]
    tokens = {}
    for sample in made.samples:
        alone = mask(Sample(sample.clip, {"text": made.tokens[sample.clip.id]}), frames, rate, 1)
        tokens[sample.clip.id] = alone.features["text"]
    return replace(made, samples=samples, tokens=type(made.tokens)(tokens))


def test_incomplete_files_tell_what_is_missing(tmp_path):
    made = incomplete(samples_of())
    _, splits = dumped(tmp_path / "a.pkl", made, incomplete=True)
    whole = dumped(tmp_path / "b.pkl", samples_of())[1]
    train, complete = splits["train"], whole["train"]
    present, ids, attention = train["text_missing_mask"], train["text_bert"][:, 0], train["text_bert"][:, 1]
    assert (attention == complete["text_bert"][:, 1]).all()
    assert (ids[(attention == 1) & (present == 0)] == mmsa.UNK).all() and (ids[present == 1] != mmsa.UNK).all()
    for letter, kind in (("a", "audio"), ("v", "vision")):
        present = train[f"{kind}_missing_mask"]
        assert present.shape == train[kind].shape[:2] and set(np.unique(present)) == {0, 1}
        assert (train[kind] == complete[kind] * present[..., None]).all()
        lengths = np.array(train[f"{kind}_lengths"])[:, None]
        assert np.allclose(train[f"missing_rate_{letter}"], 1 - present.sum(1, keepdims=True) / lengths)
    assert train["missing_rate_l"].shape == (len(ids), 1) and 0.1 < train["missing_rate_l"].mean() < 0.6


def test_a_clip_without_sound_or_words_keeps_its_place(tmp_path):
    made = samples_of(counts=(3, 2, 2))
    first = made.samples[0]
    made.tokens.sequences[first.clip.id] = empty_sequence(TOKEN_COLUMNS, np.int64)
    bare = {m: empty_sequence(s.columns) for m, s in first.features.items()}
    made.samples[0] = Sample(first.clip, bare)
    _, splits = dumped(tmp_path / "a.pkl", made)
    train = splits["train"]
    assert train["text_bert"][0, :, :3].tolist() == [[mmsa.CLS, mmsa.SEP, 0], [1, 1, 0], [0, 0, 0]]
    assert train["audio_lengths"][0] == 1 and not train["audio"][0].any()


def test_a_modality_that_no_clip_has_is_zeros_and_told(tmp_path):
    made = samples_of()
    mute = [Sample(s.clip, {m: f for m, f in s.features.items() if m != "audio"}) for s in made.samples]
    made = replace(made, samples=mute, origins={m: o for m, o in made.origins.items() if m != "audio"})
    written, splits = dumped(tmp_path / "a.pkl", made)
    assert splits["train"]["audio"].shape[2] == 1 and "audio: the clips have none" in written.notes[0]


def test_clips_left_out_and_lone_last_batches_are_told(tmp_path):
    made = samples_of(counts=(17, 2, 2))
    made.samples.append(replace(made.samples[0], clip=replace(made.samples[0].clip, split="unlabelled")))
    written, _ = dumped(tmp_path / "a.pkl", made)
    assert written.notes[0].startswith("not in it: 1 clip without") and "batch size [16]" in written.notes[1]
    made.samples = [s for s in made.samples if s.clip.split != "valid"]
    with pytest.raises(MalformedInput, match="got none in valid"):
        dumped(tmp_path / "b.pkl", made)
    assert not (tmp_path / "b.pkl").exists()


@pytest.mark.parametrize("lossy", [False, True])
def test_hdf5_to_pickle_to_hdf5_loses_nothing(tmp_path, lossy):
    made = samples_of(labels="MTA", interleaved=True)
    first = made.samples[0]
    made.samples[0] = Sample(first.clip, first.features | {"audio": empty_sequence(first.features["audio"].columns)})
    made = incomplete(made) if lossy else made
    root = tmp_path / "raw"
    mmsa.dump(root / "a.pkl", made.whole, made.all_origins, mmsa.Settings(incomplete=lossy))
    clips, rejects = prepare(root, "synthetic", Prepare())
    assert not rejects and clips == [sample.clip for sample in made.samples]
    for kind, extractor in (("tokens", "tokens"), ("text", "bert"), ("audio", "librosa"), ("vision", "face")):
        known = made.tokens.origin if kind == "tokens" else made.origins[kind]
        one = ((s.clip.id, made.tokens[s.clip.id] if kind == "tokens" else s.features[kind]) for s in made.samples)
        write_features(tmp_path / "before.h5", known, one)
        write_features(tmp_path / "after.h5", *given_features(root, "synthetic", extractor))
        assert (tmp_path / "before.h5").read_bytes() == (tmp_path / "after.h5").read_bytes(), kind


def foreign(**changes) -> dict:
    """A pickle as MMSA's authors or MMSA-FET made them."""
    rng = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", 4), ("valid", 2), ("test", 2)):
        mask = np.arange(6) < rng.integers(3, 7, (count, 1))
        splits[split] = {
            "id": [f"{split}$_${i}" for i in range(count)],
            "raw_text": np.array(["words"] * count),
            "text": rng.normal(size=(count, 6, 8)),
            "text_bert": np.stack([mask * 2000, mask, 0 * mask], 1).astype(np.float32),
            "audio": rng.normal(size=(count, 9, 3)),
            "vision": rng.normal(size=(count, 7, 2)),
            "audio_lengths": [9] * count,
            "vision_lengths": [4] * count,
            "regression_labels": np.linspace(-1, 1, count)[:, None],
        } | changes
    return splits | {"config": {"any": "thing"}}


def write(path: Path, value, protocol=4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path.parent


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_others_pickles_are_a_dataset(tmp_path, protocol):
    content = foreign()
    root = write(tmp_path / "raw/unaligned_50.pkl", content, protocol)
    clips, rejects = prepare(root, "mosi", Prepare())
    assert [clip.id for clip in clips][:2] == ["train$_$0", "train$_$1"] and not rejects
    assert clips[0].text == "words" and clips[0].label == -1 and clips[-1].split == "test"
    source, sequences = mmsa_pickle.features(root, "vision")
    first = dict(sequences)["train$_$0"]
    assert source.columns == ("vision_0", "vision_1") and source.settings["sha256"] and first.seen.all()
    assert np.allclose(first.values, content["train"]["vision"][0, :4])
    tokens = dict(mmsa_pickle.features(root, "tokens")[1])["train$_$0"]
    assert len(tokens) == content["train"]["text_bert"][0, 1].sum() and tokens.values.dtype == np.int64


def test_what_a_pickle_lacks(tmp_path):
    content = foreign(text_bert=np.zeros((4, 3, 6)))
    for split in ("valid", "test"):
        content[split]["text_bert"] = np.zeros((2, 3, 6))
    for part in (content["train"], content["valid"], content["test"]):
        del part["vision"], part["vision_lengths"], part["audio_lengths"], part["raw_text"]
        part["audio"][:, 5:] = 0  # padding
    root = write(tmp_path / "raw/features.pkl", content)
    assert prepare(root, "d", Prepare())[0][0].text == ""
    assert given_features(root, "d", "tokens") is None  # made from the words
    source, none = given_features(root, "d", "face")
    assert source.modality == "vision" and not list(none)
    assert {len(sequence) for _, sequence in given_features(root, "d", "librosa")[1]} == {5}


def test_values_that_are_no_numbers_become_zero_and_are_counted(tmp_path):
    content = foreign()
    content["train"]["audio"][1, 2] = (np.nan, 5, -np.inf)
    content["train"]["audio"][1, 3] = np.inf
    root = write(tmp_path / "raw/a.pkl", content)
    source, sequences = mmsa_pickle.features(root, "audio")
    one = dict(sequences)["train$_$1"]
    assert source.settings["zeroed"] == 5
    assert one.values[2].tolist() == [0, 5, 0] and one.seen[2] and not one.seen[3]


def test_published_files_are_recognised(tmp_path, monkeypatch):
    root = write(tmp_path / "raw/unaligned_50.pkl", foreign())
    assert mmsa.load(root / "unaligned_50.pkl").official == ""
    digest = mmsa.load(root / "unaligned_50.pkl").sha256
    monkeypatch.setitem(mmsa.OFFICIAL, digest, "MOSI unaligned_50")
    source, _ = mmsa_pickle.features(root, "audio")
    assert source.settings["official"] == "MOSI unaligned_50"


def test_several_pickles_and_doubtful_rows(tmp_path):
    content = foreign()
    content["test"]["id"][0] = "train$_$0"
    content["valid"]["regression_labels"][0] = 9
    root = write(tmp_path / "raw/aligned_50.pkl", foreign())
    write(tmp_path / "raw/unaligned_50.pkl", content)
    clips, rejects = prepare(root, "mosi", Prepare())
    assert len(clips) == 6 and "from -3 to 3, got 9.0" in rejects[0].reason and "again in test[0]" in rejects[1].reason
    assert len(list(mmsa_pickle.features(root, "audio")[1])) == 7
    write(tmp_path / "raw/other_unaligned.pkl", foreign())
    with pytest.raises(MalformedInput, match=r"expected one pickle, got aligned_50\.pkl, other"):
        prepare(root, "mosi", Prepare())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"audio": np.zeros((4, 9))}, r"audio: expected a numeric array \(N, T, D\), got float64 \(4, 9\)"),
        ({"audio": [[1.0]]}, "audio: expected a numeric array .* got list"),
        ({"text_bert": np.zeros((4, 6, 3))}, r"text_bert: expected \(N, 3, T\).*\(4, 6, 3\)"),
        ({"vision": np.zeros((3, 7, 2))}, "vision: expected 4 rows, as many as id has; got 3"),
        ({"regression_labels": 1.0}, "regression_labels: expected 4 rows"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, changes, told):
    root = write(tmp_path / "a.pkl", foreign(**changes))
    with pytest.raises(MalformedInput, match=rf"a\.pkl: train: {told}"):
        mmsa.load(root / "a.pkl")


def test_missing_keys_and_splits_are_named(tmp_path):
    content = foreign()
    del content["valid"]
    with pytest.raises(MalformedInput, match="expected a dict under 'valid', got train, test, config"):
        mmsa.load(write(tmp_path / "a.pkl", content) / "a.pkl")
    content = foreign()
    del content["train"]["id"]
    with pytest.raises(MalformedInput, match="train: expected the key 'id', got raw_text"):
        mmsa.load(write(tmp_path / "b.pkl", content) / "b.pkl")
    content = foreign()
    content["test"]["audio"] = np.zeros((2, 9, 4))
    with pytest.raises(MalformedInput, match="test: audio: expected 3 columns as in train, got 4"):
        mmsa.load(write(tmp_path / "c.pkl", content) / "c.pkl")
    with pytest.raises(MalformedInput, match="expected a dict of train, valid and test, got list"):
        mmsa.load(write(tmp_path / "d.pkl", [1]) / "d.pkl")


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "attack",
    [
        Attack(os.system, "touch /tmp/never"),
        Attack(eval, "1"),
        Attack(getattr, "", "join"),
        Attack(np.load, "x"),
        Attack(io.open, "x"),
        Attack(np.memmap, "x"),
        np.array([Attack(os.getcwd)], object),
    ],
    ids=["os.system", "eval", "getattr", "numpy.load", "open", "memmap", "inside an array"],
)
def test_no_code_is_run(tmp_path, attack, protocol):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"train": attack}, protocol=protocol))
    with pytest.raises(MalformedInput, match=r"a\.pkl: expected a pickle of numpy arrays and builtins only, found"):
        pickles.load(path)


class HostileDtype:
    def __reduce__(self):
        # Not a copy but numpy's own float64, told that it holds objects.
        return np.dtype, ("f8", False, False), (3, "<", None, None, None, -1, -1, 63)


def test_numpy_itself_is_not_changed(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"dtype": HostileDtype()}))
    assert pickles.load(tmp_path / "a.pkl") == {"dtype": np.dtype("f8")}
    assert not np.dtype("f8").hasobject


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_scalars_and_builtins_pass(tmp_path, protocol):
    value = {
        "arrays": [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.eye(3)), np.array(["a", "字"]), np.zeros((0, 2))],
        "objects": np.array(["a", None], object),
        "scalars": (np.float32(1.5), np.int64(3), np.str_("x"), np.bool_(True)),
        "plain": [1, 2.5, "字", b"bytes", None, True, {1, 2}, frozenset({3}), 1j, bytearray(b"x")],
    }
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    loaded = pickles.load(path)
    for ours, theirs in zip(loaded["arrays"], value["arrays"]):
        assert np.array_equal(ours, theirs) and ours.dtype == theirs.dtype
    assert loaded["scalars"] == value["scalars"] and loaded["plain"] == value["plain"]
    assert loaded["objects"].tolist() == ["a", None]


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps(foreign())[:-200], b"\x80\x04."])
def test_broken_pickles_are_told(tmp_path, data):
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(MalformedInput, match=r"a\.pkl: expected"):
        pickles.load(tmp_path / "a.pkl")
    with pytest.raises(MalformedInput, match="found no file"):
        pickles.load(tmp_path / "none.pkl")


def test_lost_tokens_come_back(tmp_path):
    made = incomplete(samples_of(), 0.6)
    mmsa.dump(tmp_path / "raw/a.pkl", made.whole, made.all_origins, mmsa.Settings(incomplete=True))
    content = pickles.load(tmp_path / "raw/a.pkl")
    del content["lacuna"]  # as if another had written it
    (tmp_path / "raw/a.pkl").write_bytes(pickle.dumps(content))
    for name, sequence in mmsa_pickle.features(tmp_path / "raw", "tokens")[1]:
        expected = made.tokens[name]
        assert (sequence.values == expected.values).all() and (sequence.seen == expected.seen).all()
        assert ((sequence.values[:, 0] == LOST_TOKEN) == ~sequence.seen).all()
