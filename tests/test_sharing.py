"""Several extractors at once: the same features as one after another, each clip decoded once; nobody waits for ever."""

import threading
import time
from collections import Counter
from functools import partial

import numpy as np
import pytest
import yaml
from media_files import Video, write_video
from test_extractors import _wav2vec2

from lacuna.cli import app
from lacuna.commands.extract import extract as extract_features
from lacuna.data.samples import write_clips
from lacuna.media import container, shared
from lacuna.params import Params
from lacuna.types import Clip, MalformedInput


def numbers(opened: list[int], count: int, fails_at: int = -1):
    opened.append(1)
    for i in range(count):
        if i == fails_at:
            raise MalformedInput("a damaged frame")
        yield i


def reader(opened, count, pause=0.0, stop=None, key="k", fails_at=-1):
    found = []
    for item in shared.stream("video", key, lambda: numbers(opened, count, fails_at)):
        found.append(item)
        time.sleep(pause)
        if stop is not None and len(found) == stop:
            break
    return found


def test_everyone_is_given_everything_and_it_is_made_once():
    opened = []
    tasks = [partial(reader, opened, 50, pause) for pause in (0, 0.001, 0.0003)]
    assert shared.together("video", tasks) == [list(range(50))] * 3
    assert len(opened) == 1


def test_no_one_runs_far_ahead_of_the_slowest():
    made, seen = [], []

    def source():
        for i in range(100):
            made.append(i)
            yield i

    def slow():
        for i in shared.stream("video", "k", source):
            seen.append(len(made) - i)
            time.sleep(0.0005)

    shared.together("video", [slow, partial(reader, [], 100)])  # the second's own source is not used
    assert max(seen) <= shared.HELD + 1


def test_those_who_stop_or_read_something_else_or_twice_hold_no_one_up():
    opened = []

    def twice():
        return reader(opened, 30), reader(opened, 30)

    def nothing():
        return None

    tasks = [twice, nothing, partial(reader, opened, 30, stop=3), partial(reader, opened, 30, key="other")]
    whole = list(range(30))
    assert shared.together("video", tasks) == [(whole, whole), None, [0, 1, 2], whole]
    assert len(opened) == 3  # one is shared; the second turn and the other key are their own


def test_a_failure_is_told_to_everyone():
    opened = []

    def told():
        with pytest.raises(MalformedInput, match="a damaged frame"):
            reader(opened, 9, fails_at=5)
        return True

    assert shared.together("video", [told, told, told]) == [True] * 3 and len(opened) == 1


def test_outside_of_a_group_everyone_reads_alone():
    opened = []
    assert reader(opened, 3) == reader(opened, 3) == [0, 1, 2] and len(opened) == 2
    assert not threading.current_thread().name.startswith("ThreadPool")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Three clips with a face (as spans and whole), one without, one that is no video."""
    import moving_faces as faces

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LACUNA_CACHE", raising=False)
    picture = np.ascontiguousarray(faces.portrait()[0:256, 64:384])
    tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)
    path = faces.written(tmp_path / "face.mp4", [picture] * 25, sound=tone)
    spans = ((0.0, None), (0.2, 0.7))
    clips = [Clip(f"v$_${i}", "own", "train", "", {}, path, *span) for i, span in enumerate(spans)]
    clips.append(Clip("v$_$2", "own", "train", path=write_video(tmp_path / "none.mp4", Video(frames=20))))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    clips.append(Clip("v$_$3", "own", "train", path=tmp_path / "bad.mp4"))
    write_clips(tmp_path / "processed/own/clips.jsonl", clips)
    _wav2vec2(tmp_path / "wav2vec2")
    (tmp_path / "raw/own/Raw").mkdir(parents=True)
    (tmp_path / "raw/own/label.csv").write_text("video_id,clip_id,text,label,annotation,mode\n")
    extract = {
        "extractors": ["face"],
        "max_rejects": 0.3,
        "face": {"fps": 12},
        "resnet50": {"weights": "random", "fps": 4, "size": 64},
    }
    extract |= {"librosa": {"features": ["rms"]}, "speech": {"source": str(tmp_path / "wav2vec2")}}
    values = {"datasets": ["own"], "models": [], "seeds": [1], "workers": 1, "extract": extract}
    values |= {"export": {"features": []}, "train": {"features": []}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    return tmp_path, Params.model_validate(values)


ALL = ("face", "resnet50", "librosa", "speech")


def written(folder):
    return {p.name: p.read_bytes() for p in (folder / "processed/own/features").iterdir()}


@pytest.fixture
def decoders(monkeypatch):
    """How often each stream was decoded from its start or a span's."""
    opened, decode = Counter(), container.decode_alone

    def counted(path, kind, start):
        for i, item in enumerate(decode(path, kind, start)):
            opened[kind] += i == 1
            yield item

    monkeypatch.setattr(container, "decode_alone", counted)
    return opened


def test_features_are_those_of_one_after_another_and_each_clip_is_decoded_once(project, decoders, monkeypatch):
    folder, params = project
    for extractor in ALL:
        list(extract_features(params, "own", [extractor], ""))
    alone, apart = written(folder), Counter(decoders)
    decoders.clear()
    monkeypatch.setenv("LACUNA_CACHE", "other")
    assert "of 4 clips together; failed in part or whole: 1" in next(extract_features(params, "own", ALL, ""))
    # Apart, the batches of resnet50 and speech are begun once more, for the clip that is no video.
    assert apart == {"video": 9, "audio": 9} and decoders == {"video": 3, "audio": 3}
    decoders.clear()
    for extractor in ALL:
        list(extract_features(params, "own", [extractor], ""))
    assert written(folder) == alone and not decoders


def test_workers_and_shards_may_take_several_too(project, monkeypatch, capsys):
    folder, params = project
    for extractor in ALL[:2]:
        list(extract_features(params, "own", [extractor], ""))
    alone = written(folder)
    monkeypatch.setenv("LACUNA_CACHE", "other")
    for shard in ("1/2", "2/2"):
        app(["extract", "own", *ALL[:2], "--shard", shard], standalone_mode=False)
    assert "face, resnet50 of 2 clips together" in capsys.readouterr().out
    next(
        extract_features(params.model_copy(update={"workers": 2}), "own", ALL[:2], "")
    )  # finds all but the bad one there
    app(["extract", "own", *ALL[:2]], standalone_mode=False)
    assert written(folder) == alone
