"""An error of the machine is no fault of the data: it stops whoever meets it, names the file and leaves nothing."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from builders import samples, stage
from damage import KINDS
from media_files import Video, write_video

from lacuna.compute.workers import Engine
from lacuna.data.samples import read_samples, write_clips
from lacuna.extract.cached import Extraction, Work, extract
from lacuna.stages import shown, told, told_in_one_line
from lacuna.storage.features import Origin, write_features
from lacuna.storage.files import filling, replacing
from lacuna.types import Clip, FeatureSequence, MalformedInput, Reject

LIBROSA = {"features": ["zero_crossing_rate", "rms"]}


@contextmanager
def room_for(size):
    """Within it, no file of this process grows beyond so many bytes: for whoever writes, as a full disk is.

    No bytecode is written either: many a Python keeps a .pyc that was cut short, and fails on it from then on.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "dont_write_bytecode", True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with six short clips that `prepare` accepted, and one worker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LACUNA_CACHE", raising=False)
    for name in range(6):
        write_video(tmp_path / f"raw/own/Raw/v/{name}.mp4", Video(frames=5 + name))
    (tmp_path / "raw/own/label.csv").write_text("video_id,clip_id,text,label,annotation,mode\n")
    clips = [Clip(f"v$_${i}", "own", "train", "good", path=Path(f"raw/own/Raw/v/{i}.mp4")) for i in range(6)]
    write_clips(tmp_path / "processed/own/clips.jsonl", clips)
    set_params(tmp_path)
    return tmp_path


def set_params(folder, workers=1, **extract):
    values = {"datasets": ["own"], "models": [], "seeds": [1], "workers": workers, "export": {"features": []}}
    values |= {"extract": {"extractors": ["librosa"], "librosa": LIBROSA, **extract}, "train": {"features": []}}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def environment(**more):
    path = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    return os.environ | {"PYTHONPATH": path} | more


@pytest.mark.parametrize("name", [k for k in KINDS if k != "model.json"])
@pytest.mark.parametrize("limit", [0, 100, 700])
def test_a_full_disk_is_told_with_the_file_and_leaves_the_old_one(tmp_path, name, limit):
    kind = KINDS[name](tmp_path)
    before, content = files(tmp_path), kind.path.read_bytes()
    with pytest.raises(OSError) as caught, room_for(limit):
        kind.write()
    assert caught.value.errno == errno.EFBIG and "\n" not in told(caught.value)
    assert files(tmp_path) == before and kind.path.read_bytes() == content


def test_a_full_disk_ends_a_stage_in_one_line(project):
    words = [sys.executable, Path(__file__).parents[1] / "pipeline/extract.py", "own", "librosa"]

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))

    env = environment(PYTHONDONTWRITEBYTECODE="1")  # see room_for
    done = subprocess.run(words, cwd=project, env=env, preexec_fn=small, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("extract: ")]
    assert done.returncode == 1 and "Traceback" not in done.stderr and len(lines) == 1
    assert "this machine: " in lines[0] and "File too large" in lines[0]
    assert not (project / "processed/own/features/librosa.h5").exists()
    assert not (project / "processed/own/features/librosa.rejects.csv").exists()


def no_cache(folder, monkeypatch):
    (folder / "cache").write_text("a file, where a folder is expected")
    monkeypatch.setenv("LACUNA_CACHE", str(folder / "cache"))


def no_media(folder, monkeypatch):
    (folder / "raw/own/Raw/v/3.mp4").unlink()


def no_disk(folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lacuna.storage.cache._write", full)


def no_permission(folder, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(sys.modules["lacuna.extract.cached"], "known_digest", denied)


def no_memory(folder, monkeypatch):
    monkeypatch.setattr("lacuna.extractors.librosa.Extractor.pieces", lambda *_: (_ for _ in ()).throw(MemoryError))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (no_cache, r"^extract: this machine: .*cache.*Not a directory"),
        (no_media, r"^extract: this machine: raw/own/Raw/v/3.mp4: No such file"),
        (no_disk, r"^extract: this machine: .*\.npz: No space left on device"),
        (no_permission, r"^extract: this machine: raw/own/Raw/v/0.mp4: Permission denied"),
        (no_memory, r"^extract: this machine: out of memory"),
    ],
)
def test_the_machines_errors_stop_the_stage_and_refuse_no_clip(project, monkeypatch, break_it, message):
    break_it(project, monkeypatch)
    with pytest.raises(SystemExit, match=message) as caught:
        stage("extract", "own", "librosa")
    assert "\n" not in str(caught.value.code)
    assert not (project / "processed/own/features").is_dir() or files(project / "processed/own/features") == []
    assert not [f for f in files(project) if ".tmp" in f]


class Deadly(Extraction):
    """An extraction whose every worker is killed, as the kernel does when memory runs out."""

    def fill(self, clip, key):
        os.kill(os.getpid(), signal.SIGKILL)


def test_workers_killed_from_outside_stop_the_stage(project):
    clips = [Clip(f"v$_${i}", "own", "train", path=Path(f"raw/own/Raw/v/{i}.mp4")) for i in range(4)]
    rejects = []
    with pytest.raises(ChildProcessError, match=r"v\$_\$0: the worker process died on it 2 times \(SIGKILL"):
        list(extract(Deadly("librosa", LIBROSA, project / "cache"), clips, Work(Engine(workers=2)), rejects))
    assert rejects == []


@pytest.mark.parametrize(("bad", "most", "stops"), [(1, 0.1, True), (1, 0.2, False), (2, 0.2, True), (6, 1.0, False)])
def test_too_many_errors_stop_the_stage(project, bad, most, stops):
    set_params(project, max_rejects=most)
    for i in range(bad):
        (project / f"raw/own/Raw/v/{i}.mp4").write_bytes(b"no video")
    out = project / "processed/own/features"
    if stops:
        message = rf"extract.max_rejects: expected at most {most:.0%} of 6 clips.*librosa.*raise extract.max_rejects"
        with pytest.raises(SystemExit, match=message):
            stage("extract", "own", "librosa")
        assert not out.is_dir() or files(out) == []
    else:
        stage("extract", "own", "librosa")
        assert (out / "librosa.rejects.csv").read_text("utf-8-sig").count("no video") == 0
        assert len((out / "librosa.rejects.csv").read_text("utf-8-sig").splitlines()) == 1 + bad


def test_clips_without_sound_are_kept_and_counted(project):
    set_params(project, max_rejects=0.0)
    for i in range(3):
        write_video(project / f"raw/own/Raw/v/{i}.mp4", Video(frames=5, audio=""))
    stage("extract", "own", "librosa")
    rows = (project / "processed/own/features/librosa.rejects.csv").read_text("utf-8-sig").splitlines()
    assert len(rows) == 4 and all("nothing to extract: kept without audio" in row for row in rows[1:])


@pytest.mark.parametrize("frames", [0, 4])
def test_a_modality_that_no_clip_has_is_told_before_training(tmp_path, frames):
    """One wrong setting: no frame, or frames in which nothing is seen."""
    made = samples(5)
    write_clips(tmp_path / "clips.jsonl", [s.clip for s in made])
    columns = ("a", "b")
    nothing = FeatureSequence(
        np.zeros((frames, 2), np.float32), np.arange(frames) / 25, np.zeros(frames, bool), columns
    )
    origin = Origin("face", "vision", columns, {}, {})
    write_features(tmp_path / "features/face.h5", origin, [(s.clip.id, nothing) for s in made])
    (tmp_path / "features/face.rejects.csv").write_text("id,file,stage,reason\nv,v.mp4,face,no face in any frame\n")
    with pytest.raises(
        MalformedInput, match=r"face.h5: expected vision of at least one of 5 clips.*no face in any fra"
    ):
        read_samples(tmp_path, ["face"])
    write_features(tmp_path / "features/face.h5", Origin("face", "vision", ("none",), {}, {}), [])
    assert read_samples(tmp_path, ["face"])[1] == {}  # still pictures, which cannot have it


def test_what_killed_writers_left_is_swept_and_what_others_write_is_not(tmp_path):
    old = tmp_path / ".lacuna-0123456789abcdef.tmp"
    old.touch()
    (tmp_path / ".lacuna-notes.tmp").touch()  # not one of ours
    with replacing(tmp_path / "a") as first:
        first.touch()
        assert not old.exists()
        with replacing(tmp_path / "b") as second:
            second.touch()
            assert first.exists() and first.name != second.name
    assert files(tmp_path) == [".lacuna-notes.tmp", "a", "b"]


def test_a_killed_writer_leaves_what_the_next_one_sweeps(tmp_path):
    code = "import os, sys; from pathlib import Path; from lacuna.storage.files import replacing\n"
    code += "with replacing(Path(sys.argv[1])) as t: t.touch(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "a"], check=False).returncode == -9
    assert len(files(tmp_path)) == 1
    with replacing(tmp_path / "b") as temporary:
        temporary.touch()
    assert files(tmp_path) == ["b"]


def test_a_killed_packing_leaves_what_the_next_one_sweeps(tmp_path):
    code = "import os, sys; from pathlib import Path; from lacuna.storage.files import filling\n"
    code += "with filling(Path(sys.argv[1])) as t: (t / 'values').touch(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "a"], check=False).returncode == -9
    assert len(files(tmp_path)) == 1
    with filling(tmp_path / "b") as temporary:
        (temporary / "values").touch()
    assert files(tmp_path) == ["b/values"] and [p.name for p in tmp_path.iterdir()] == ["b"]


def test_of_two_that_pack_at_once_the_first_stays(tmp_path):
    for name in ("first", "second"):
        with filling(tmp_path / "a") as temporary:
            (temporary / name).touch()
            if name == "first":
                with filling(tmp_path / "a") as faster:
                    (faster / "faster").touch()
    assert files(tmp_path) == ["a/faster"]


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path):
    def write(k):
        for _ in range(20):
            with replacing(tmp_path / "a") as temporary:
                temporary.write_text(str(k) * 10_000)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = (tmp_path / "a").read_text()
    assert len(content) == 10_000 and len(set(content)) == 1 and files(tmp_path) == ["a"]


def test_two_extractions_at_once_write_equal_bytes(project):
    words = [sys.executable, Path(__file__).parents[1] / "pipeline/extract.py", "own", "librosa"]
    running = [subprocess.Popen(words, cwd=project, env=environment(), stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(300) for process in running] == [0, 0]
    path = project / "processed/own/features/librosa.h5"
    together = path.read_bytes()
    stage("extract", "own", "librosa")
    assert path.read_bytes() == together and not [f for f in files(project) if ".tmp" in f]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MalformedInput("a.csv: expected b"), "x: a.csv: expected b"),
        (OSError(28, "No space left on device", "a.h5"), "x: this machine: a.h5: No space left on device; what was"),
        (PermissionError(13, "Permission denied", "b"), "x: this machine: b: Permission denied"),
        (ChildProcessError("v: killed"), "x: this machine: v: killed"),
        (MemoryError("17 GiB"), "x: this machine: out of memory; free some"),
        (MalformedInput("a\nb\n  c"), "x: a b c"),
        (MalformedInput("a\x1b[2J\x07b\udcff"), "x: a\\x1b[2J\\x07b\\udcff"),
    ],
)
def test_every_error_is_one_line(error, line):
    with pytest.raises(SystemExit) as caught, told_in_one_line("x"):
        raise error
    assert str(caught.value.code).startswith(line) and "\n" not in str(caught.value.code)
    assert shown("ünï 漢字 [b]:smile:") == "ünï 漢字 [b]:smile:" and told(MalformedInput("m")) == "m"


def test_a_reject_is_only_what_is_wrong_with_a_clip(project):
    (project / "raw/own/Raw/v/2.mp4").write_bytes(b"no video")
    clips = [Clip(f"v$_${i}", "own", "train", path=Path(f"raw/own/Raw/v/{i}.mp4")) for i in range(4)]
    rejects: list[Reject] = []
    made = dict(extract(Extraction("librosa", LIBROSA, project / "cache"), clips, Work(), rejects))
    assert [r.id for r in rejects] == ["v$_$2"] and len(made["v$_$2"]) == 0 and len(made["v$_$1"]) > 0
