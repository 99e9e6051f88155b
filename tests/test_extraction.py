"""Extraction of many clips: shards, workers and the cache change no byte of what is written."""

import ast
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from media_files import Video, write_video
from tasks import KeyedHere
from test_extractors import _wav2vec2

from lacuna.cli import app
from lacuna.commands.extract import extract as extract_features
from lacuna.compute.workers import Engine
from lacuna.data.samples import write_clips
from lacuna.extract import cached
from lacuna.extract.cached import Extraction, Work, extract, preloaded
from lacuna.extract.run import shard_of
from lacuna.params import Params, plugin, plugin_names
from lacuna.storage import files
from lacuna.storage.files import digest_of_file
from lacuna.types import Clip

LIBROSA = {"features": ["zero_crossing_rate", "rms", {"mfcc": {"n_mfcc": 5}}]}
LONG = Video(frames=26, rate=1)  # s: librosa takes it in two stretches, the cache gives it in three pieces


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project's folder with seven clips (one long, one no video) that `prepare` accepted; LACUNA_CACHE is its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LACUNA_CACHE", raising=False)
    for name in range(6):
        write_video((tmp_path / f"raw/own/Raw/v/{name}.mp4"), LONG if name == 5 else Video(frames=5 + name))
    (tmp_path / "raw/own/Raw/v/6.mp4").write_bytes(b"no video")
    (tmp_path / "raw/own/label.csv").write_text("video_id,clip_id,text,label,annotation,mode\n")
    relative = [(tmp_path / f"raw/own/Raw/v/{name}.mp4").relative_to(tmp_path) for name in range(7)]
    clips = [Clip(f"v$_${i}", "own", "train", "good", path=path) for i, path in enumerate(relative)]
    write_clips(tmp_path / "processed/own/clips.jsonl", clips)
    values = {"datasets": ["own"], "models": [], "seeds": [1], "workers": 1}
    values |= {
        "extract": {"extractors": ["librosa"], "librosa": LIBROSA, "max_rejects": 0.2},
        "export": {"features": []},
    }
    values |= {"train": {"features": []}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    return tmp_path, Params.model_validate(values), clips


def extracted(params, shard=""):
    (told,) = extract_features(params, "own", ["librosa"], shard)
    return told


def written(folder):
    features = folder / "processed/own/features"
    return [(features / name).read_bytes() for name in ("librosa.h5", "librosa.rejects.csv")]


def test_shards_merge_into_the_bytes_of_one_process(project, monkeypatch):
    folder, params, _ = project
    told = extracted(params)
    assert "of 7 clips; 1 without any" in told
    alone = written(folder)
    monkeypatch.setenv("LACUNA_CACHE", "other")
    for k in (3, 1, 2):
        extracted(params, f"{k}/3")
    assert len(list((folder / "other").rglob("*.npz"))) == 6
    monkeypatch.setattr("lacuna.extractors.librosa.Extractor.of_samples", None)  # merging extracts nothing
    extracted(params)
    assert written(folder) == alone


def test_two_workers_write_the_bytes_of_one(project, monkeypatch):
    folder, params, _ = project
    extracted(params)
    alone = written(folder)
    monkeypatch.setenv("LACUNA_CACHE", "other")
    extracted(params.model_copy(update={"workers": 2}))
    assert written(folder) == alone


def test_ray_writes_the_bytes_of_one(project, monkeypatch):
    pytest.importorskip("ray", reason="SKIPPED FOR WANT OF RAY: pip install 'lacuna[ray]' to test the engine ray")
    folder, params, _ = project
    extracted(params)
    alone = written(folder)
    monkeypatch.setenv("LACUNA_CACHE", "other")
    compute = params.compute.model_copy(update={"engine": "ray"})
    extracted(params.model_copy(update={"compute": compute, "workers": 2}))
    assert written(folder) == alone and len(list((folder / "other").rglob("*.npz"))) == 6


def test_the_command_takes_a_shard(project, capsys):
    folder, _, _ = project
    app(["extract", "own", "librosa", "--shard", "2/3"], standalone_mode=False)
    assert "shard 2/3, 2 clips" in " ".join(capsys.readouterr().out.split())
    assert not (folder / "processed/own/features").exists()


def test_a_worker_sends_back_a_key_whatever_the_clips_length(project):
    folder, _, clips = project
    extraction = Extraction("librosa", LIBROSA, folder / "cache")
    (key,) = extraction.each(clips[:1], 1)
    assert isinstance(key, str) and len(key) == 64
    assert sum(len(piece) for piece in extraction.pieces(key, clips[0])) == len(extraction(clips[0])) > 0
    next((folder / "cache").rglob("*.npz")).write_bytes(b"half of it")  # a damaged disk: made anew
    assert sum(len(piece) for piece in extraction.pieces(key, clips[0])) > 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("extractor", ["librosa", "speech"])
def test_a_recording_is_hashed_once_however_many_spans_it_has(project, monkeypatch, workers, extractor):
    """By whoever hands clips out: workers are given the keys."""
    folder, _, _ = project
    path, hashed = write_video(folder / "long.mp4", LONG), []
    monkeypatch.setattr(files, "digest_of_file", lambda p: hashed.append(p) or digest_of_file(p))
    spans = [Clip(f"v$_${i}", "own", "train", path=path, start=i / 2, end=i / 2 + 0.5) for i in range(30)]
    _wav2vec2(folder / "wav2vec2")
    settings = {"librosa": LIBROSA, "speech": {"source": str(folder / "wav2vec2")}}[extractor]
    made = dict(extract(KeyedHere(extractor, settings, folder / "cache"), spans, Work(workers), []))
    assert all(len(sequence) for sequence in made.values()) and len(made) == 30
    assert hashed == [path]


def test_a_recording_that_changed_is_hashed_anew(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    before = files.known_digest(path)
    path.write_bytes(b"abd")  # the same size
    assert before != files.known_digest(path) == digest_of_file(path)


@pytest.mark.parametrize("name", [n for n in plugin_names("extractors") if hasattr(plugin("extractors", n), "PRELOAD")])
def test_what_workers_are_forked_from_has_one_thread(name):
    """A thread that is in the middle of something when its process is forked would never end it in the child."""
    modules = preloaded([name])
    code = (
        f"import os, importlib; [importlib.import_module(n) for n in {modules}]; print(os.listdir('/proc/self/task'))"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert len(ast.literal_eval(told.stdout)) == 1 and len(modules) >= 2


@pytest.mark.parametrize("shard", ["0/3", "4/3", "x", "1/0", "-1/3", ""])
def test_impossible_shards(shard):
    with pytest.raises(ValueError, match="expected k/n with 1 <= k <= n"):
        shard_of([], shard)


def test_shards_part_all_clips():
    clips = [Clip(str(i), "own", "train") for i in range(10)]
    parts = [shard_of(clips, f"{k}/4") for k in (1, 2, 3, 4)]
    assert sorted((c for part in parts for c in part), key=lambda c: int(c.id)) == clips
    assert {len(part) for part in parts} == {2, 3}


def test_a_full_cache_starts_no_worker_and_one_new_clip_one(project, monkeypatch):
    folder, _, clips = project
    extraction = Extraction("librosa", LIBROSA, folder / "cache")
    first = dict(extract(extraction, [*clips[:3], *clips[4:6]], Work(), []))
    asked = []
    monkeypatch.setattr(cached, "map_items", lambda f, items, engine: (asked.append(c[0].id) or f(c) for c in items))
    again = dict(extract(extraction, clips[:6], Work(Engine(workers=2)), []))
    assert asked == ["v$_$3"] and list(again) == [c.id for c in clips[:6]]
    for name, sequence in first.items():
        np.testing.assert_array_equal(again[name].values, sequence.values)
