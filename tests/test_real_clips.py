"""Real clips, from the folder that LACUNA_DATA names: MPEG-1, H.264, HEVC, MPEG-4, late sound, unknown data streams."""

import csv
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lacuna.datasets import mmsa_pickle
from lacuna.media import decode
from lacuna.prepare.run import prepare

DATA = Path(os.environ.get("LACUNA_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))
CLIPS = sorted(DATA.glob("clips/*/*.m*"))
SETTINGS = SimpleNamespace(label_range=(-3, 3), seed=7, fractions=(0.7, 0.15, 0.15), speakers_apart=False, encoding="")
pytestmark = pytest.mark.skipif(not CLIPS, reason="LACUNA_DATA names no folder with clips")


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem)
def test_a_span_is_the_cut_of_the_whole(path):
    decode.check(path)
    whole = [(frame.time, frame.image[::16, ::16].copy()) for frame in decode.frames(path, 0.0, 3.0)]
    for start, end in ((0.5, 1.5), (0.93, 1.31), (1.0, 2.0)):
        cut = [(frame.time + start, frame.image[::16, ::16].copy()) for frame in decode.frames(path, start, end)]
        expected = [(time, image) for time, image in whole if start - 1e-6 <= time < end - 1e-6]
        assert [time for time, _ in cut] == pytest.approx([time for time, _ in expected])
        assert all(np.array_equal(ours, theirs) for (_, ours), (_, theirs) in zip(cut, expected))
        for rate in (16000, 22050):
            sound = decode.audio(path, rate, 0.0, 3.0)
            part = decode.audio(path, rate, start, end)
            # AAC's noise substitution is drawn anew after a seek: some codecs are not quite the same twice.
            assert np.abs(part - sound[round(start * rate) : round(end * rate)]).max() < 0.01


def test_sound_that_begins_late_is_silent_before():
    sound = decode.audio(DATA / "clips/edge/face_noface.mov", 16000)
    assert not sound[: int(2.42 * 16000)].any() and sound[int(2.5 * 16000) :].any()


def test_a_dataset_of_real_clips(tmp_path):
    raw = tmp_path / "Raw"
    raw.mkdir()
    rows = []
    for folder in ("grid", "speeches", "portraits", "edge"):
        shutil.copytree(DATA / "clips" / folder, raw / folder)
        rows += [(folder, path.stem, "words", 0.5, "train", "", "") for path in CLIPS if path.parent.name == folder]
    shutil.copy(DATA / "clips/moud/101_movies.mp4", raw)
    with (DATA / "clips/moud/transcriptions_101_movies.csv").open() as file:
        spans = [list(row.values()) for row in csv.DictReader(file, delimiter=";")]
    rows += [
        ("101_movies", str(i), text, label, "test", start, end) for i, (start, end, text, label) in enumerate(spans)
    ]
    with (tmp_path / "label.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("video_id", "clip_id", "text", "label", "mode", "start", "end"), *rows])
    clips, rejects = prepare(tmp_path, "real", SETTINGS, 2)
    assert not rejects and len(clips) == len(rows) == 19
    assert [(clip.start, clip.end) for clip in clips[-2:]] == [(23.475, 26.714), (26.714, 33.367)]


def test_utterance_features_of_mosi(tmp_path):
    (tmp_path / "mosi.pkl").symlink_to(DATA / "msa/mosi_utterance.pkl")
    clips, rejects = prepare(tmp_path, "mosi", SETTINGS)
    assert not rejects and [sum(c.split == s for c in clips) for s in ("train", "valid", "test")] == [1209, 238, 752]
    for modality, width in (("text", 100), ("audio", 73), ("vision", 100)):
        source, sequences = mmsa_pickle.features(tmp_path, modality)
        assert len(source.columns) == width and {len(s) for _, s in sequences} <= {0, 1}
    assert mmsa_pickle.features(tmp_path, "tokens") is None
