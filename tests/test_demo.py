"""The demo: its layout, its determinism, and that words, voice and face say what their labels say."""

import csv
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import cv2
import librosa
import numpy as np
import pytest

from lacuna.demo import Settings, make, make_clip, script, voice
from lacuna.demo.expression import Expression, express
from lacuna.demo.head import Pose, shown
from lacuna.demo.performance import perform
from lacuna.demo.portrait import canvas
from lacuna.extractors._openface.landmarker import Landmarker
from lacuna.media import decode
from lacuna.types import SPLITS, MalformedInput

SMALL = Settings(clips=5, seconds=0.6, size=96)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "demo"
    make(root, SMALL)
    return root


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def labelled(label: float, index: int = 0) -> script.Line:
    """A line of the script with voice and face meant as `label`."""
    line = script.write_script(48, 7)[index]
    return replace(line, labels={"M": label, "T": 0.0, "A": label, "V": label})


def test_layout_is_mmsa_fets(made):
    rows = list(csv.DictReader((made / "label.csv").open(encoding="utf-8")))
    assert " ".join(rows[0]) == "video_id clip_id text label label_T label_A label_V annotation mode"
    assert len(rows) == SMALL.clips and {row["mode"] for row in rows} == set(SPLITS)
    wanted = {f"Raw/{row['video_id']}/{row['clip_id']}.mp4" for row in rows}
    assert wanted | {"label.csv", "README.txt"} == set(files(made))  # and no temporary file
    assert "synthetic" in (made / "README.txt").read_text()


def test_media_are_as_asked(made):
    path = next(made.rglob("*.mp4"))
    info = decode.probe(path)
    assert info.size == (96, 96) and info.rate == 25 and info.audio_rate == voice.RATE and info.channels == 1
    times = [frame.time for frame in decode.frames(path)]
    assert times == pytest.approx(np.arange(len(times)) / 25)
    assert len(decode.audio(path, voice.RATE)) / voice.RATE == pytest.approx(len(times) / 25, abs=0.06)


def test_runs_are_byte_identical_with_one_worker_and_two(made, tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        make(tmp_path / "again", SMALL, pool.map)
    assert files(tmp_path / "again") == files(made)


def test_another_seed_gives_other_clips(made, tmp_path):
    other = replace(SMALL, seed=8)
    make_clip(tmp_path, other, script.write_script(other.clips, other.seed)[0])
    name = "Raw/speaker_00/0000.mp4"
    assert (tmp_path / name).read_bytes() != (made / name).read_bytes()


def test_a_lost_clip_stops_before_label_csv(tmp_path):
    with pytest.raises(MalformedInput, match=r"speaker_00/0000.mp4.*killed"):
        make(tmp_path, SMALL, lambda function, lines: ["killed" for _ in lines])
    assert not (tmp_path / "label.csv").exists()


@pytest.mark.parametrize(
    "wrong", [{"clips": 2}, {"seconds": 0.0}, {"fps": 0}, {"seed": -1}, {"size": 97}, {"size": 32}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(MalformedInput, match=next(iter(wrong))):
        Settings(**wrong)


def test_script_splits_by_speaker_and_repeats_no_sentence():
    lines = script.write_script(160, 7)
    counts = {split: sum(line.split == split for line in lines) for split in SPLITS}
    assert counts == {"train": 96, "valid": 24, "test": 40}
    videos = {split: {line.speaker.video for line in lines if line.split == split} for split in SPLITS}
    assert all(videos[a].isdisjoint(videos[b]) for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")))
    assert len({line.text for line in lines}) == 160


def test_labels_are_weighted_sums_of_parts_that_differ():
    labels = [line.labels for line in script.write_script(160, 7)]
    for each in labels:
        assert each["M"] == pytest.approx(sum(w * each[part] for part, w in script.WEIGHTS.items()), abs=0.011)
        assert all(-3 <= value <= 3 for value in each.values())
    correlations = np.corrcoef([[each[part] for each in labels] for part in "MTAV"])
    assert correlations[0].min() > 0.4 and correlations[1:, 1:][np.triu_indices(3, 1)].max() < 0.7


@pytest.fixture(scope="module")
def measured() -> "MeshOf":
    return MeshOf()


class MeshOf:
    """Geometry of the face landmarker's points, in eye distances along the face's own axes."""

    def __init__(self):
        self.landmarker = Landmarker(scored=False)

    def __call__(self, expression: Expression = Expression(), pose: Pose = Pose()) -> dict[str, float]:  # noqa: B008
        found = self.landmarker.points(shown(express(canvas(), expression), pose, 256))
        assert found, f"no face with {expression}, {pose}"
        points = found[0][:, :2]
        across = points[263] - points[33]
        size = np.linalg.norm(across)
        down = np.array([-across[1], across[0]]) / size**2
        return {
            "corners": float((points[13] - points[[61, 291]].mean(0)) @ down),
            "width": float(np.linalg.norm(points[61] - points[291]) / size),
            "mouth": float((points[14] - points[13]) @ down),
            "brows": float((points[[133, 362]] - points[[107, 336]]).mean(0) @ down),
            "lids": float((points[[145, 374]] - points[[159, 386]]).mean(0) @ down),
            "nose": float((points[4] - points[[33, 263]].mean(0)) @ across / size**2),
        }


@pytest.mark.parametrize(
    ("feature", "action", "values"),
    [
        ("corners", "smile", (-1, -0.5, 0, 0.5, 1)),
        ("width", "smile", (0, 0.5, 1)),
        ("mouth", "jaw", (0, 0.5, 1)),
        ("brows", "brow_up", (0, 0.5, 1)),
    ],
)
def test_actions_move_their_landmarks(measured, feature, action, values):
    seen = [measured(Expression(**{action: value}))[feature] for value in values]
    assert all(later > earlier + 0.005 for earlier, later in pairwise(seen)), seen


@pytest.mark.parametrize(("feature", "action"), [("brows", "brow_down"), ("lids", "blink")])
def test_actions_lower_their_landmarks(measured, feature, action):
    assert measured(Expression(**{action: 1.0}))[feature] < measured(Expression())[feature] - 0.03


def test_turns_move_the_nose_against_the_eyes(measured):
    left, ahead, right = (measured(pose=Pose(yaw=yaw))["nose"] for yaw in (-0.2, 0.0, 0.2))
    assert left < ahead - 0.02 < right - 0.04


def test_the_portrait_is_not_torn():
    portrait = cv2.GaussianBlur(canvas(), (0, 0), 3).astype(float)
    for expression in (Expression(smile=-1, brow_down=1), Expression(smile=1, jaw=1), Expression(brow_up=1)):
        moved = cv2.GaussianBlur(express(canvas(), expression), (0, 0), 3).astype(float)
        calm = np.abs(moved - portrait)[:150]  # forehead and hair: brows may pull a little
        assert calm.mean() < 1 and np.array_equal(moved[-20:], portrait[-20:])


def test_mouth_opens_with_the_sound():
    acted = perform(labelled(0.0), 2.0, 25)
    jaw = [expression.jaw for expression, _ in acted.moments]
    loud = librosa.feature.rms(y=acted.samples, hop_length=voice.RATE // 25)[0][: len(jaw)]
    assert np.corrcoef(jaw, loud)[0, 1] > 0.7


def test_voice_rises_and_grows_loud_with_its_label():
    f0, level = [], []
    for label in (-3.0, 0.0, 3.0):
        clips = [perform(labelled(label, index), 1.5, 25).samples for index in range(4)]
        f0.append(np.median([np.median(librosa.yin(c, fmin=60, fmax=500, sr=voice.RATE)) for c in clips]))
        level.append(np.median([np.sqrt(np.mean(c**2)) for c in clips]))
    assert f0[0] < f0[1] < f0[2] and level[0] < level[1] < level[2]
    assert all(np.abs(clip).max() <= 1 for clip in clips)


def test_speech_follows_the_words():
    assert voice.syllables("I loved the film.") < voice.syllables("The comedy was slightly enjoyable, was it not?")
    assert voice.speak("", 0.5, voice.Delivery(150, 0.1, 0, 0.5), np.random.default_rng(1)).shape == (11025,)
