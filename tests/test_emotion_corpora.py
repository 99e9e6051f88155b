"""MELD, IEMOCAP, CMU-MOSEI's raw archive and MER2023, each built in its authors' very layout, and judged across.

Layouts: the data sets' own READMEs and the loaders of published code (MERTools' normalisation of MER2023, the label and
transcript tables that scripts of CMU-MOSEI read, IEMOCAP's EmoEvaluation lines, MELD.Raw).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from builders import samples, variants_file
from media_files import Video, write_video
from small_checkpoint import MODELS

from lacuna.across.run import Other, _check, judge_across, read_across, write_across
from lacuna.data.batches import InputSpec
from lacuna.data.samples import Samples, write_clips
from lacuna.data.scaler import Scaler
from lacuna.data.task import Layout, Task, check_task, class_names
from lacuna.datasets import iemocap, meld, mer2023, mosei_raw
from lacuna.evaluate.metrics import regression
from lacuna.params import plugin, plugin_settings
from lacuna.params.sections import Prepare
from lacuna.prepare.run import classes_of, layout_of, prepare
from lacuna.storage.features import Origin, write_features
from lacuna.train import checkpoint
from lacuna.train.checkpoint import Card
from lacuna.train.trainer import predict
from lacuna.types import Clip, MalformedInput

SHORT, LONG = Video(frames=5), Video(frames=75)
LINE = "[{:.4f} - {:.4f}]\tSes0{}F_impro01_{}\t{}\t[{:.4f}, 2.5000, 2.5000]\n"


def meld_folder(root: Path) -> Path:
    head = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
    said = '{},"Oh, that\x92s {}!",Ross,{},{},0,{},8,21,"00:16:16,059","00:16:21,731"\n'
    told = (("joy", "positive"), ("Anger", "negative"), ("neutral", "neutral"))
    base = root / "MELD.Raw"
    for split, name in meld.TABLES.items():
        base.mkdir(parents=True, exist_ok=True)
        rows = [said.format(i, i, emotion, sentiment, i) for i, (emotion, sentiment) in enumerate(told)]
        (base / name).write_text(head + "".join(rows), encoding="utf-8")
        for i in range(len(told)):
            write_video(base / split / meld.FOLDERS[split] / f"dia0_utt{i}.mp4", SHORT)
    return root


def iemocap_folder(root: Path) -> Path:
    base = root / "IEMOCAP_full_release"
    for session in range(1, 6):
        dialog = base / f"Session{session}" / "dialog"
        turns = [("F000", "neu", 2.5), ("M000", "exc", 4.5), ("F001", "xxx", 3.0), ("M001", "ang", 1.5)]
        lines = [LINE.format(0.5 * i, 0.5 * i + 0.5, session, n, e, v) for i, (n, e, v) in enumerate(turns)]
        for name, text in (
            ("EmoEvaluation", "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n" + "\n".join(lines)),
            ("transcriptions", "".join(f"Ses0{session}F_impro01_{n} [000.0-001.0]: Hm, {n}.\n" for n, _, _ in turns)),
        ):
            (dialog / name).mkdir(parents=True)
            (dialog / name / f"Ses0{session}F_impro01.txt").write_text(text)
        write_video(dialog / "avi" / "DivX" / f"Ses0{session}F_impro01.avi", LONG)
    return root


def mosei_folder(root: Path) -> Path:
    base, videos = root / "Raw", ("-3g5yACwYnA", "_x__y_", "abc", "d-e")
    for folder in (base / "Labels", base.joinpath(*mosei_raw.WORDS)):
        folder.mkdir(parents=True)
    head = "HITId,Input.VIDEO_ID,Input.CLIP,Answer.sentiment\n"
    rows = [f"h,{v},{c},{value}\n" for v in videos for c in (0, 3) for value in (c - 1, c, "")]
    (base / "Labels" / "5000_batch_raw.csv").write_text(head + "".join(rows))
    (base / "Labels" / "extreme_sentiment_results.csv").write_text(head + "h,abc,3,-3\n")
    (base / "Labels" / "notes.csv").write_text("a,b\n1,2\n")
    for video in videos:
        lines = [f"{video}___{c}___{c}.5___{c + 2}___key words, of {c}\n" for c in (0, 3, 7)]
        base.joinpath(*mosei_raw.WORDS, f"{video}.txt").write_text("".join(lines))
        for c in (0, 3, 7):
            write_video(base.joinpath(*mosei_raw.FILMS, f"{video}_{c}.mp4"), SHORT)
    return root


def mer_folder(root: Path, tests: bool = True) -> Path:
    parts = {"train": 6, "test1": 2} if tests else {"train": 6}
    for part, count in parts.items():
        names = [f"sample{part}_{i:04}" for i in range(count)]
        rows = [f"{n},{mer2023.EMOTIONS[i % 6]},{i - 2.5}\n" for i, n in enumerate(names)]
        (root / f"{part}-label.csv").parent.mkdir(parents=True, exist_ok=True)
        (root / f"{part}-label.csv").write_text("name,discrete,valence\n" + "".join(rows))
        for name in names:
            write_video(root / part / f"{name}.avi", SHORT)
    (root / "subtitle.csv").write_text("name,chinese,english\nsampletrain_0000,我很高兴,happy\n", encoding="utf-8")
    return root


def prepared(root: Path, **settings: object) -> tuple[list[Clip], list]:
    return prepare(root, "own", Prepare(**settings))


def test_meld(tmp_path: Path) -> None:
    clips, rejects = prepared(meld_folder(tmp_path))
    assert not rejects and Counter(c.split for c in clips) == {"train": 3, "valid": 3, "test": 3}
    assert [c.label for c in clips[:3]] == [4, 6, 0] and clips[0].text == "Oh, that’s 0!"
    assert clips[0].id == "train_splits$_$dia0_utt0" and clips[0].path.name == "dia0_utt0.mp4"
    clips, _ = prepared(tmp_path, target="sentiment")
    assert [c.label for c in clips[:3]] == [1, -1, 0]


def test_iemocap(tmp_path: Path) -> None:
    clips, rejects = prepared(iemocap_folder(tmp_path))
    assert not rejects and len(clips) == 15  # of 20, five are of no agreed emotion
    assert {c.label for c in clips} == {0, 1, 3}
    first = clips[1]
    assert (first.start, first.end, first.text) == (0.5, 1.0, "Hm, M000.") and first.path.suffix == ".avi"
    assert all((c.split == "test") == c.id.startswith("Ses05") for c in clips)
    apart, _ = prepared(tmp_path, speakers_apart=True)
    assert all((c.split == "valid") == c.id.startswith("Ses04") for c in apart)
    scored, _ = prepared(tmp_path, target="sentiment")
    assert len(scored) == 20 and [c.label for c in scored[:4]] == [-0.5, 1.5, 0.0, -1.5]


def test_mosei(tmp_path: Path) -> None:
    clips, rejects = prepared(mosei_folder(tmp_path), max_rejects=1.0)
    labels = {c.id: c.label for c in clips}
    assert labels["d-e$_$3"] == 2.5 and labels["d-e$_$0"] == -0.5  # means of 2 and 3, of -1 and 0
    assert labels["abc$_$3"] == pytest.approx((2 + 3 - 3) / 3)
    assert [r.id for r in rejects] == [f"{v}$_$7" for v in sorted(("-3g5yACwYnA", "_x__y_", "abc", "d-e"))]
    assert clips[0].text == "key words, of 0"
    by_video = {c.id.split("$_$")[0]: c.split for c in clips}
    assert all(by_video[c.id.split("$_$")[0]] == c.split for c in clips)
    (tmp_path / "folds.csv").write_text("video_id,mode\n-3g5yACwYnA,train\n_x__y_,valid\nabc,test\nd-e,test\n")
    assert Counter(c.split for c in prepared(tmp_path)[0]) == {"train": 2, "valid": 2, "test": 4}
    (tmp_path / "folds.csv").write_text("video_id,mode\nabc,dev\n")
    with pytest.raises(MalformedInput, match=r"folds.csv: mode of abc: expected one of train, valid, test, got 'dev'"):
        prepared(tmp_path)


@pytest.mark.parametrize("tests", [True, False])
def test_mer2023(tmp_path: Path, tests: bool) -> None:
    clips, rejects = prepared(mer_folder(tmp_path, tests))
    assert not rejects and [c.label for c in clips[:6]] == [0, 1, 2, 3, 4, 5]
    assert clips[0].text == "我很高兴" and clips[1].text == ""
    assert {c.split for c in clips if "test1" in c.id} == ({"test"} if tests else set())
    valences, rejects = prepared(tmp_path, target="sentiment", label_range=(-2.0, 2.0))
    assert [c.label for c in valences[:4]] == [-1.5, -0.5, 0.5, 1.5] and "valence" in rejects[0].reason


@pytest.mark.parametrize(
    ("make", "expected"),
    [(meld_folder, meld.EMOTIONS), (iemocap_folder, iemocap.NAMES), (mer_folder, mer2023.EMOTIONS), (mosei_folder, ())],
)
def test_classes_have_names(tmp_path: Path, make, expected: tuple[str, ...]) -> None:
    layout = layout_of(make(tmp_path / "raw"))
    assert classes_of(layout, Prepare()) == list(expected) and classes_of(layout, Prepare(target="sentiment")) == []
    Layout("meld", None, expected).write(tmp_path)
    assert class_names(tmp_path) == expected and class_names(tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("make", "file", "before", "after", "told"),
    [
        (meld_folder, "MELD.Raw/train_sent_emo.csv", "joy", "bliss", "Emotion: expected one of neutral, surprise"),
        (mer_folder, "train-label.csv", "angry", "cross", "discrete: expected one of neutral, angry"),
        (mer_folder, "train-label.csv", "_0001,", "_0009,", "expected a video"),
    ],
)  # fmt: skip
def test_a_bad_row_is_one_reject(tmp_path: Path, make, file: str, before: str, after: str, told: str) -> None:
    path = make(tmp_path) / file
    path.write_text(path.read_text().replace(before, after, 1))
    clips, rejects = prepared(tmp_path)
    assert clips and len(rejects) == 1 and told in rejects[0].reason


# Judging across -------------------------------------------------------------------------------------------------------


def _dataset(root: Path, name: str, seed: int) -> tuple[Path, list]:
    folder, made = root / name, [replace(s, clip=replace(s.clip, dataset=name)) for s in samples(12, "test", seed)]
    write_clips(folder / "clips.jsonl", [s.clip for s in made])
    for modality in ("text", "audio"):
        origin = Origin(modality, modality, made[0].features[modality].columns, {}, {})
        rows = ((s.clip.id, s.features[modality]) for s in made)
        write_features(folder / f"features/{modality}.h5", origin, rows)
    kept = [replace(s, features={m: s.features[m] for m in ("text", "audio")}) for s in made]
    variants_file(folder / "variants/frames.h5", kept, plugin("patterns", "frames"), [0.0, 0.5], [1])
    return folder, kept


def _checkpoint(folder: Path, label_range: tuple[float, float] = (-3.0, 3.0)) -> tuple[object, InputSpec, Scaler]:
    made = samples(2)[0].features
    spec = InputSpec({"text": 6, "audio": 4}, {"text": 20, "audio": 20})
    settings = plugin_settings("models", "lnln", MODELS["lnln"])
    network = plugin("models", "lnln").Model(settings, spec)
    arrays = {m: np.full(w, 0.25, np.float32) for m, w in spec.widths.items()}
    scaler = Scaler(arrays, {m: a + 1 for m, a in arrays.items()})
    origins = {m: Origin(m, m, made[m].columns, {}, {}) for m in spec.widths}
    scaling, built = checkpoint.scaler_values(scaler), (asdict(settings), spec)
    card = Card("lnln", *built, "regression", label_range, origins, scaling, {}, 1, "", "mosi", {})
    checkpoint.save(folder, network, card)
    return network, spec, scaler


def test_scores_across_are_those_of_the_model_on_the_others_clips(tmp_path: Path) -> None:
    folder, made = _dataset(tmp_path, "mosei", 5)
    network, spec, scaler = _checkpoint(tmp_path / "mosi/models/lnln/1")
    other = Other(folder, ["text", "audio"], (-3.0, 3.0), ["frames"])
    scores = judge_across([tmp_path / "mosi/models/lnln/1"], other, "cpu")
    told = predict(network.eval(), Samples.of(made).scaled(scaler), spec, "cpu")["prediction"]
    expected = regression(told, np.array([s.clip.label for s in made]))
    assert scores.patterns["frames"]["0.0"]["mae"]["mean"] == pytest.approx(expected["mae"], rel=1e-5)
    assert (scores.dataset, scores.judged_on, scores.clips) == ("mosi", "mosei", {"test": 12})
    assert scores.patterns["frames"]["0.5"]["mae"]["mean"] != scores.patterns["frames"]["0.0"]["mae"]["mean"]
    write_across(tmp_path / "lnln.mosei.json", scores)
    assert asdict(read_across(tmp_path / "lnln.mosei.json")) == json.loads(json.dumps(asdict(scores)))


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (
            meld.EMOTIONS,
            iemocap.NAMES,
            r"expected the classes of mosi \(neutral, surprise, .*mosei has others \(neutral, h",
        ),
        (meld.EMOTIONS, (), r"mosei has others \(without names\)"),
        ((), mer2023.EMOTIONS, r"expected the classes of mosi \(without names\)"),
    ],
)
def test_other_classes_are_not_taken_for_the_models(tmp_path: Path, ours: tuple, theirs: tuple, told: str) -> None:
    folder, _ = _dataset(tmp_path, "mosei", 5)
    _checkpoint(tmp_path / "mosi/models/lnln/1")
    card = replace(checkpoint.read_card(tmp_path / "mosi/models/lnln/1"), task="class", classes=ours)
    other = Other(folder, ["text", "audio"], (-3.0, 3.0), ["frames"])
    Layout("any", None, theirs).write(folder)
    with pytest.raises(MalformedInput, match=told):
        _check(card, other, card.origins)
    Layout("any", None, ours).write(folder)
    _check(card, other, card.origins)


@pytest.mark.parametrize("make", [meld_folder, iemocap_folder, mer_folder, mosei_folder])
@pytest.mark.parametrize("task", ["regression", "polarity", "class"])
@pytest.mark.parametrize("target", ["emotion", "sentiment"])
def test_the_numbers_of_classes_are_not_learnt_as_scores(tmp_path: Path, make, task: str, target: str) -> None:
    layout = layout_of(make(tmp_path / "raw"))
    Layout("any", None, classes_of(layout, Prepare(target=target))).write(tmp_path)
    if make is mosei_folder or target == "sentiment" or task == "class":
        check_task(tmp_path, task)
        return
    with pytest.raises(MalformedInput, match=r"train.task: expected class \(or prepare.target: sentiment\), got"):
        check_task(tmp_path, task)


@pytest.mark.parametrize(("labels", "told"), [([0.0, 2.0, -1.0], "got -1"), ([0.0, 0.5], "got 0.5"), ([1.0, 4.0], "")])
def test_scores_are_no_classes(labels: list[float], told: str) -> None:
    if not told:
        assert Task.of("class", labels, (-3.0, 3.0)).classes == 5
        return
    with pytest.raises(MalformedInput, match="class expects labels that are whole numbers from 0, " + told):
        Task.of("class", labels, (-3.0, 3.0))


@pytest.mark.parametrize(
    ("label_range", "columns", "told"),
    [
        ((-1.0, 1.0), None, r"expected labels in \[-1.0, 1.0\] as in mosi"),
        ((-3.0, 3.0), "x", "expected 4 columns of audio"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, label_range, columns: str | None, told: str) -> None:
    folder, made = _dataset(tmp_path, "mosei", 5)
    _checkpoint(tmp_path / "mosi/models/lnln/1", label_range)
    if columns:
        names = tuple(f"{columns}{i}" for i in range(4))
        rows = ((s.clip.id, replace(s.features["audio"], columns=names)) for s in made)
        write_features(folder / "features/audio.h5", Origin("audio", "audio", names, {}, {}), rows)
    with pytest.raises(MalformedInput, match=told):
        judge_across(
            [tmp_path / "mosi/models/lnln/1"], Other(folder, ["text", "audio"], (-3.0, 3.0), ["frames"]), "cpu"
        )
