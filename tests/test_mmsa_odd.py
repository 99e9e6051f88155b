"""MMSA's pickles with odd content: what is read of them is right, noted, or refused with the key."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmsa_samples import samples_of
from test_mmsa import dumped, foreign, write

from lacuna.data.samples import Sample
from lacuna.datasets import mmsa_pickle
from lacuna.export import pickle as mmsa
from lacuna.export.import_ import import_pickle
from lacuna.params.sections import Prepare
from lacuna.prepare.run import prepare
from lacuna.storage import pickles
from lacuna.types import TOKEN_COLUMNS, MalformedInput, empty_sequence


def with_first(made, **labels):
    """The samples, the first clip's labels being others."""
    first = made.samples[0]
    made.samples[0] = Sample(replace(first.clip, labels=labels), first.features)
    return made


def test_labels_that_not_every_clip_has_are_left_out_of_an_export_and_noted(tmp_path):
    written, splits = dumped(tmp_path / "a.pkl", with_first(samples_of(counts=(6, 3, 3), labels="MTA"), M=1.0, A=0.5))
    assert "regression_labels_T" not in splits["train"] and len(splits["train"]["regression_labels_A"]) == 6
    (told,) = [note for note in written.notes if "regression_labels" in note]
    assert told == "regression_labels_T: left out where not every clip has one (5 of 6 train have)"
    whole, _ = dumped(tmp_path / "b.pkl", samples_of(counts=(6, 3, 3), labels="MTA"))
    assert not any("regression_labels" in note for note in whole.notes)


def test_an_export_without_a_word_is_noted(tmp_path):
    made = samples_of(counts=(3, 2, 2))
    for sample in made.samples[1:]:
        made.tokens.sequences[sample.clip.id] = empty_sequence(TOKEN_COLUMNS, np.int64)
    note = "text: no clip has words; each is [CLS] [SEP]"
    assert note not in dumped(tmp_path / "a.pkl", made)[0].notes
    made.tokens.sequences[made.samples[0].clip.id] = empty_sequence(TOKEN_COLUMNS, np.int64)
    assert note in dumped(tmp_path / "b.pkl", made)[0].notes


def imported(tmp_path: Path, content: dict) -> list[str]:
    write(tmp_path / "given/a.pkl", content)
    return list(import_pickle(tmp_path / "given/a.pkl", "mine", tmp_path / "raw"))


def test_an_import_notes_labels_that_not_every_clip_has(tmp_path):
    content = foreign()
    for split, labels in (("train", [1, np.nan, 0, -1]), ("valid", [0, 1]), ("test", [np.nan, 1])):
        content[split] |= {"regression_labels_T": np.array(labels), "regression_labels_A": np.zeros(len(labels))}
    lines = imported(tmp_path, content)
    notes = [line.partition("note: ")[2] for line in lines if "note: " in line]
    assert notes == ["regression_labels_T: clips that have one: 6 of 8"]


def test_an_import_notes_that_there_are_no_words(tmp_path):
    content = foreign()
    for split in ("train", "valid", "test"):
        for key in ("text", "text_bert", "raw_text"):
            del content[split][key]
    assert any(
        line.endswith("note: no words at all: neither text nor raw_text") for line in imported(tmp_path, content)
    )
    content["test"]["raw_text"] = ["", "a word"]
    assert not any("no words at all" in line for line in imported(tmp_path, content))


@pytest.mark.parametrize(
    ("lowest", "highest", "proposed"),
    [
        (-1, 1, "[-1, 1]"),
        (-0.8, 0.6, "[-1, 1]"),
        (-1, 1.2, "[-3, 3]"),
        (-3, 3, "[-3, 3]"),
        (0, 2.4, "[-3, 3]"),
        (1, 5, "[1, 5]"),
        (-3.5, 3, "[-3.5, 3]"),
    ],
)
def test_an_import_proposes_the_fields_scale_and_tells_what_it_saw(tmp_path, lowest, highest, proposed):
    content = foreign()
    for split in ("train", "valid", "test"):
        count = len(content[split]["id"])
        content[split]["regression_labels"] = np.linspace(lowest, highest, count)
    lines = imported(tmp_path, content)
    assert f"  prepare: {{label_range: {proposed}}}" in lines
    assert any(line.endswith(f"labels from {lowest:g} to {highest:g}") for line in lines)


def ids(changes: dict) -> np.ndarray:
    values = foreign()["train"]["text_bert"].copy()
    for place, value in changes.items():
        values[place] = value
    return values


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"audio_lengths": [9, -3, 9, 9]}, "audio_lengths: expected whole numbers from 0, got -3"),
        ({"audio_lengths": [9, 2.5, 9, 9]}, "audio_lengths: expected whole numbers from 0, got 2.5"),
        ({"vision_lengths": [4, np.nan, 4, 4]}, "vision_lengths: expected whole numbers from 0, got nan"),
        ({"vision_lengths": ["4", "x", "4", "4"]}, "vision_lengths: expected numbers"),
        ({"vision_lengths": [[4, 4]] * 4}, r"vision_lengths: expected one number a clip, got \(4, 2\)"),
        ({"regression_labels": np.ones((4, 2))}, r"regression_labels: expected one number a clip, got \(4, 2\)"),
        ({"regression_labels": ["good", "1", "2", "0"]}, "regression_labels: expected numbers"),
        ({"regression_labels_T": [[1], [2], [3, 4], [5]]}, "regression_labels_T: expected numbers"),
        ({"text_bert": ids({(0, 0, 1): -5})}, "text_bert: expected whole numbers from 0, got -5"),
        ({"text_bert": ids({(0, 0, 1): np.nan})}, "text_bert: expected whole numbers from 0, got nan"),
        ({"text_bert": ids({(0, 0, 1): 7.25})}, "text_bert: expected whole numbers from 0, got 7.25"),
        ({"text_missing_mask": np.ones((4, 5))}, r"text_missing_mask: expected \(4, 6\), got \(4, 5\)"),
        ({"id": 5}, "id: expected one a clip, got 5"),
        ({"id": None}, "id: expected one a clip, got None"),
    ],
)
def test_numbers_that_would_be_read_as_something_else_are_refused(tmp_path, changes, told):
    root = write(tmp_path / "a.pkl", foreign(**changes))
    with pytest.raises(MalformedInput, match=rf"a\.pkl: train: {told}"):
        mmsa.load(root / "a.pkl")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("so good", "so good"),
        ("très bien".encode(), "très bien"),
        (np.array(["so good"]), "so good"),
        (np.bytes_(b"so good"), "so good"),
        (np.str_("so good"), "so good"),
        (None, ""),
        (np.nan, ""),
    ],
)
def test_words_in_any_usual_form_are_read(tmp_path, text, read):
    content = foreign()
    content["train"]["raw_text"] = [text, "b", "c", "d"]
    clips, rejects = prepare(write(tmp_path / "raw/a.pkl", content), "d", Prepare())
    assert not rejects and [clip.text for clip in clips[:2]] == [read, "b"]


@pytest.mark.parametrize("text", [5, ["a", "b"], {"a": 1}, "très".encode("cp1252")])
def test_words_that_are_none_refuse_their_clip(tmp_path, text):
    content = foreign()
    content["train"]["raw_text"] = [text, "b", "c", "d"]
    clips, (reject,) = prepare(write(tmp_path / "raw/a.pkl", content), "d", Prepare())
    assert len(clips) == 7 and "raw_text" in reject.reason


DAMAGE = {
    "no dict": lambda own: 5,
    "a list": lambda own: [1],
    "empty": lambda own: {},
    "no origins": lambda own: own | {"origins": {}},
    "an origin that is no JSON": lambda own: own | {"origins": own["origins"] | {"audio": "{"}},
    "an origin of other keys": lambda own: own | {"origins": own["origins"] | {"audio": "{}"}},
    "no split": lambda own: {k: v for k, v in own.items() if k != "valid"},
    "places of others": lambda own: own | {"train": own["train"] | {"places": np.arange(2)}},
    "labels that are words": lambda own: own | {"train": own["train"] | {"labels": [json.dumps({"M": "a"})] * 3}},
    "negative lengths": lambda own: own | {"train": own["train"] | {"audio_lengths": -own["train"]["audio_lengths"]}},
    "lengths beyond": lambda own: own | {"train": own["train"] | {"audio_lengths": own["train"]["audio_lengths"] + 90}},
    "times too few": lambda own: own | {"train": own["train"] | {"audio_times": own["train"]["audio_times"][1:]}},
    "seen as numbers": lambda own: own | {"train": own["train"] | {"audio_seen": own["train"]["audio_seen"] * 1.0}},
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_lacuna_wrote_beside_is_believed_only_where_it_fits(tmp_path, damage):
    made = samples_of(counts=(3, 2, 2))
    mmsa.dump(tmp_path / "raw/a.pkl", made.whole, made.all_origins, mmsa.Settings())
    content = pickles.load(tmp_path / "raw/a.pkl")
    (tmp_path / "raw/a.pkl").write_bytes(pickle.dumps(content))
    assert len(prepare(tmp_path / "raw", "d", Prepare())[0]) == 7
    (tmp_path / "raw/a.pkl").write_bytes(pickle.dumps(content | {"lacuna": damage(content["lacuna"])}))
    with pytest.raises(MalformedInput, match=r"raw/a\.pkl: expected a pickle as Lacuna exported it"):
        prepare(tmp_path / "raw", "d", Prepare())
    with pytest.raises(MalformedInput, match=r"raw/a\.pkl: expected a pickle as Lacuna exported it"):
        mmsa_pickle.features(tmp_path / "raw", "audio")
