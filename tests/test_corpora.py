"""Corpora as their authors publish them: folders built in the very layout become clips, and train end to end.

Layouts: MUStARD's README and sarcasm_data.json, UR-FUNNY's README (v2), CH-SIMS v2's archives.
"""

import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from builders import stage
from media_files import Video, write_label_csv, write_video

from lacuna.datasets import labelled_videos, mustard, ur_funny
from lacuna.params import Prepare
from lacuna.prepare.run import layout_of, prepare
from lacuna.types import MalformedInput

ROOT = Path(__file__).parents[1]
SHORT = Video(frames=5)


def mustard_folder(root: Path, count: int = 8, table: str = "data", videos: str = "mmsd_raw_data") -> Path:
    """As the repository and the archive of videos unpack; every second utterance is sarcastic."""
    rows = {
        f"{1 + i % 2}_{60 + i}": {
            "utterance": "It's just a privilege to watch\nyour mind at work.",
            "speaker": "SHELDON",
            "context": ["My apologies. What's your plan?"],
            "context_speakers": ["LEONARD"],
            "show": ["BBT", "FRIENDS", "GOLDENGIRLS", "SARCASMOHOLICS"][i // 2 % 4],
            "sarcasm": i % 2 == 0,
        }
        for i in range(count)
    }
    (root / table).mkdir(parents=True, exist_ok=True)
    (root / table / "sarcasm_data.json").write_text(json.dumps(rows))
    (root / videos / "context_final").mkdir(parents=True, exist_ok=True)
    for key in rows:
        write_video(root / videos / "utterances_final" / f"{key}.mp4", SHORT)
    return root


def ur_funny_folder(root: Path, features: str = "sdk_features") -> Path:
    """Pickles of protocol 2 with arrays among the words, as the authors' own code writes them."""
    words = {
        key: {
            "punchline_embedding_indexes": [3, 4],
            "context_embedding_indexes": [[1, 2], [5]],
            "punchline_sentence": f"and that was number {key}",
            "context_sentences": ["so i went there", "it was closed"],
            "punchline_intervals": np.array([[1.0, 1.2], [1.2, 1.5]]),
            "context_intervals": [np.zeros((2, 2)), np.zeros((1, 2))],
        }
        for key in (14052, 7, 11787, 900)
    }
    folds = {"train": [7, 14052], "dev": [11787], "test": [900]}
    contents = {"humor_label_sdk": {14052: 1, 7: 0, 11787: np.int64(1), 900: 0}, "language_sdk": words}
    contents |= {"data_folds": folds, "word_embedding_list": [np.zeros(300)]}
    (root / features).mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (root / features / f"{name}.pkl").write_bytes(pickle.dumps(content, protocol=2))
    for key in words:
        write_video(root / "urfunny2_videos" / f"{key}.mp4", SHORT)
    return root


@pytest.mark.parametrize(("table", "videos"), [("data", "mmsd_raw_data"), ("", ""), ("data", "data/videos")])
def test_mustard_as_it_unpacks(tmp_path, table, videos):
    root = mustard_folder(tmp_path, 8, table, videos)
    assert layout_of(root) is mustard
    clips, rejects = prepare(root, "mustard", Prepare())
    assert not rejects
    assert [c.id for c in clips][:2] == ["utterances_final$_$1_60", "utterances_final$_$2_61"]
    assert [c.label for c in clips] == [1, 0] * 4
    assert clips[0].text == "It's just a privilege to watch your mind at work."
    assert clips[0].path == root / videos / "utterances_final/1_60.mp4"


def test_mustard_is_split_by_class_and_seed_or_by_speakers(tmp_path):
    root = mustard_folder(tmp_path, 40)
    clips, _ = prepare(root, "mustard", Prepare(fractions=(0.6, 0.2, 0.2)))
    counts = Counter((c.split, c.label) for c in clips)
    assert counts == {(s, label): n for s, n in (("train", 12), ("valid", 4), ("test", 4)) for label in (0, 1)}
    other, _ = prepare(root, "mustard", Prepare(fractions=(0.6, 0.2, 0.2), seed=8))
    assert [c.split for c in other] != [c.split for c in clips]
    apart, _ = prepare(root, "mustard", Prepare(fractions=(0.6, 0.2, 0.2), speakers_apart=True))
    rows = json.loads((root / "data/sarcasm_data.json").read_text())
    friends = {f"utterances_final$_${key}" for key, row in rows.items() if row["show"] == "FRIENDS"}
    assert {c.id for c in apart if c.split == "test"} == friends and len(friends) == 10
    counts = Counter((c.split, c.label) for c in apart if c.split != "test")
    assert counts == {("train", 0): 11, ("train", 1): 11, ("valid", 0): 4, ("valid", 1): 4}  # 15 of each, 3 : 1


def test_what_is_wrong_with_an_utterance_is_told(tmp_path):
    root = mustard_folder(tmp_path, 4)
    path = root / "data/sarcasm_data.json"
    rows = json.loads(path.read_text())
    rows["1_60"]["sarcasm"] = "yes"
    del rows["2_61"]["utterance"], rows["1_62"]["show"]
    (root / "mmsd_raw_data/utterances_final/2_63.mp4").unlink()
    path.write_text(json.dumps(rows))
    clips, rejects = prepare(root, "mustard", Prepare())
    assert [c.id[-4:] for c in clips] == ["1_62"]
    assert ["'yes'" in rejects[0].reason, "None" in rejects[1].reason, "expected a video" in rejects[2].reason]
    with pytest.raises(MalformedInput, match=r"sarcasm_data\.json: 1_62: expected its show"):
        prepare(root, "mustard", Prepare(speakers_apart=True))
    path.write_text("[1, 2")
    with pytest.raises(MalformedInput, match=r"sarcasm_data\.json: expected JSON"):
        prepare(root, "mustard", Prepare())


@pytest.mark.parametrize("features", ["sdk_features", ""])
def test_ur_funny_as_it_unpacks(tmp_path, features):
    root = ur_funny_folder(tmp_path, features)
    assert layout_of(root) is ur_funny
    clips, rejects = prepare(root, "funny", Prepare())
    assert not rejects
    assert [(c.id, c.label, c.split) for c in clips] == [
        ("urfunny2_videos$_$14052", 1, "train"),
        ("urfunny2_videos$_$7", 0, "train"),
        ("urfunny2_videos$_$11787", 1, "valid"),
        ("urfunny2_videos$_$900", 0, "test"),
    ]
    assert clips[1].text == "so i went there it was closed and that was number 7"
    assert clips[1].path == root / "urfunny2_videos/7.mp4"


def test_ur_funny_rejects_what_lacks_a_fold_words_or_a_video(tmp_path):
    root = ur_funny_folder(tmp_path, "")
    labels = {14052: 1, 7: 2, 11787: 1, 900: 0, 1: 0}
    (root / "humor_label_sdk.pkl").write_bytes(pickle.dumps(labels))
    words = pickle.loads((root / "language_sdk.pkl").read_bytes())
    del words[900]
    (root / "language_sdk.pkl").write_bytes(pickle.dumps(words))
    (root / "urfunny2_videos/11787.mp4").unlink()
    clips, rejects = prepare(root, "funny", Prepare())
    assert [c.id for c in clips] == ["urfunny2_videos$_$14052"]
    reasons = {r.id.partition("$_$")[2]: r.reason for r in rejects}
    assert "expected 0 or 1, got 2" in reasons["7"] and "expected a video" in reasons["11787"]
    assert reasons["900"].startswith("language_sdk.pkl") and reasons["1"].startswith("data_folds.pkl")


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    root = ur_funny_folder(tmp_path, "")
    (root / "humor_label_sdk.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(MalformedInput, match=r"found (os|posix)\.system"):
        prepare(root, "funny", Prepare())


def test_ch_sims_v2_in_both_parts(tmp_path):
    supervised, unsupervised = tmp_path / "s", tmp_path / "u"
    rows = [
        {"video_id": "aqgy3_0001", "clip_id": "00000", "text": "好", "label": 0.8, "label_T": 1.0, "label_A": 0.2},
        {"video_id": "aqgy3_0001", "clip_id": "00001", "label": -0.4, "label_V": -1.0, "mode": "valid"},
    ]
    blank = {"label": "", "annotation": "", "mode": ""}
    for root, table in ((supervised, rows), (unsupervised, [{"video_id": "aqgy1_0001", "clip_id": "00000"} | blank])):
        write_label_csv(root, table, "utf-8-sig").rename(root / "meta.csv")
        for row in table:
            write_video(root / "Raw" / row["video_id"] / f"{row['clip_id']}.mp4", SHORT)
        (root / "Processed").mkdir()
        (root / "Processed/unaligned.pkl").write_bytes(b"their features, which are not asked for")
        assert layout_of(root) is labelled_videos
    clips, rejects = prepare(supervised, "sims2", Prepare(label_range=(-1, 1)))
    assert not rejects and [c.split for c in clips] == ["train", "valid"]
    assert clips[0].labels == {"M": 0.8, "T": 1.0, "A": 0.2} and clips[1].labels == {"M": -0.4, "V": -1.0}
    (clip,), _ = prepare(unsupervised, "sims2u", Prepare())
    assert (clip.split, clip.labels) == ("unlabelled", {})


def test_who_speaks_must_be_known_to_part_speakers(tmp_path):
    write_video(write_label_csv(tmp_path, [{}]).parent / "Raw/v/1.mp4", SHORT)
    with pytest.raises(MalformedInput, match="speakers_apart: expected false"):
        prepare(tmp_path, "own", Prepare(speakers_apart=True))


def test_sarcasm_is_learnt_and_judged_as_two_classes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LACUNA_CACHE", raising=False)
    mustard_folder(Path("raw/mustard"), 24)
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values |= {"datasets": ["mustard"], "models": ["concat"], "workers": 1, "evaluate": {"bootstrap": 20}}
    values["mask"] |= {"patterns": ["frames"], "rates": [0.0, 0.5], "seeds": [1]}
    values["evaluate"] |= {"patterns": ["frames"]}
    values["train"] = {"features": ["bert", "librosa"], "task": "class"}
    values["train"] |= {"concat": {"model": {"size": 8}, "training": {"epochs": 2, "batch_size": 8}}}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    stage("prepare", "mustard")
    for extractor in ("bert", "librosa"):
        stage("extract", "mustard", extractor)
    stage("mask", "mustard", "frames")
    stage("train", "mustard", "concat", "1111")
    stage("evaluate", "mustard", "concat")
    scores = json.loads(Path("processed/mustard/scores/concat.json").read_text())
    assert scores["task"] == "class" and scores["clips"]["test"] == 4
    assert set(scores["patterns"]["frames"]) == {"0.0", "0.5"}
    assert 0 <= scores["patterns"]["frames"]["0.0"]["accuracy"]["mean"] <= 1
