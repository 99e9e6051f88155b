"""Runs that begin together unpack a features file once; one that is killed or fails leaves the way to the others."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from lacuna.storage import packed
from lacuna.storage.features import Origin, write_features
from lacuna.types import FeatureSequence

COLUMNS = ("a", "b", "c")
HOLD = """
import sys, time
from pathlib import Path
from lacuna.storage.files import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def features(tmp_path):
    rng = np.random.default_rng(0)
    clips = [
        (
            f"c{i}",
            FeatureSequence(rng.normal(size=(5, 3)).astype(np.float32), np.arange(5.0), np.ones(5, bool), COLUMNS),
        )
        for i in range(4)
    ]
    write_features(tmp_path / "own.h5", Origin("own", "audio", COLUMNS, {}, {}), iter(clips))
    return tmp_path / "own.h5"


@pytest.fixture
def written(monkeypatch):
    """The folders that are written, each in half a second."""
    folders, write = [], packed._write

    def slowly(folder, index, blocks):
        folders.append(folder)
        time.sleep(0.5)
        write(folder, index, blocks)

    monkeypatch.setattr(packed, "_write", slowly)
    return folders


def together(count, work):
    """What `work` gives or raises, in as many threads at once."""
    told = [None] * count

    def run(place):
        try:
            told[place] = work()
        except OSError as error:
            told[place] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return told


@pytest.mark.parametrize("count", [2, 5])
def test_one_unpacks_and_the_others_find_it(features, tmp_path, written, count):
    told = together(count, lambda: packed.pack(features, tmp_path / "cache"))
    assert len(written) == 1
    assert all(np.array_equal(one[3].values, told[0][3].values) and len(one.ids) == 4 for one in told)
    assert [p.name for p in (tmp_path / "cache" / "packed").iterdir()] == [told[0].folder.name]  # no lock stays


def test_where_the_first_fails_the_next_goes_on(features, tmp_path, written, monkeypatch):
    slowly, failures = packed._write, iter([True])

    def failing(folder, index, blocks):
        slowly(folder, index, blocks)
        if next(failures, False):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(packed, "_write", failing)
    told = together(3, lambda: packed.pack(features, tmp_path / "cache"))
    assert len(written) == 2
    assert sorted(isinstance(one, OSError) for one in told) == [False, False, True]


def test_a_killed_holder_holds_nobody_up(features, tmp_path, written):
    place = packed.pack(features, tmp_path / "first").folder.name
    folder = tmp_path / "cache" / "packed" / place
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    waiting = threading.Thread(target=packed.pack, args=(features, tmp_path / "cache"))
    waiting.start()
    waiting.join(1)
    assert waiting.is_alive() and not folder.exists()
    holder.kill()
    holder.wait()
    waiting.join(30)
    assert folder.is_dir()
