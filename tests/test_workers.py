"""Workers: each kind of death is told from the others, nothing hangs, and nobody outlives who started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tasks import alive, counting, wait_until

from lacuna.compute import workers
from lacuna.compute.workers import Engine, Lost, map_items
from lacuna.storage.files import replacing
from lacuna.types import MalformedInput

PARENT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from lacuna.compute.workers import Engine, map_items
from test_workers import {work}
if __name__ == "__main__":
    for result in map_items({work}, [sys.argv[1]] * 4, Engine(workers=2, limit={limit})):
        print(result, flush=True)
"""


def harmed(x: int) -> int:
    """Does to its worker what 1 to 6 stand for."""
    if x in (1, 2, 3):
        os.kill(os.getpid(), {1: signal.SIGKILL, 2: signal.SIGSEGV, 3: signal.SIGABRT}[x])
    if x == 4:
        os._exit(3)
    if x == 5:
        time.sleep(600)
    return x


def raising(kind: str) -> str:
    raise {
        "own": MalformedInput("a: expected b"),
        "disk": OSError(28, "No space left", "here"),
        "memory": MemoryError(),
    }[kind]


def lingering(folder: str) -> str:
    """Sleeps, with a child that sleeps too; both leave their numbers."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (Path(folder) / f"{os.getpid()}.pid").touch()
    (Path(folder) / f"{child.pid}.pid").touch()
    time.sleep(600)
    return folder


def half_written(item: tuple[str, str]) -> None:
    """One is in the middle of a file when the other meets a full disk, or when its own time is over."""
    kind, folder = item
    with replacing(Path(folder, f"{kind}.h5")) as temporary:
        temporary.write_bytes(b"half")
        if kind == "disk":
            wait_until(lambda: len(list(Path(folder).glob(".lacuna-*"))) == 2)
            raise OSError(28, "No space left", "here")
        time.sleep(600)


@pytest.mark.parametrize(
    ("item", "machine", "told"),
    [
        (1, True, "died on it 2 times (SIGKILL: killed"),
        (2, False, "died on it 2 times (SIGSEGV: a crash"),
        (3, False, "died on it 2 times (SIGABRT: a crash"),
        (4, False, "exit status 3"),
        (5, False, "given up after 3 s"),
    ],
)
def test_each_death_is_told_and_loses_only_its_item(item, machine, told):
    items = [0, item, *range(6, 12)]
    results = list(map_items(harmed, items, Engine(workers=2, limit=3)))
    lost = results.pop(1)
    assert isinstance(lost, Lost) and lost.machine is machine and told in lost.reason
    assert results == [0, *range(6, 12)]


@pytest.mark.parametrize(("kind", "error"), [("own", MalformedInput), ("disk", OSError), ("memory", MemoryError)])
def test_what_an_item_raises_is_raised(kind, error):
    with pytest.raises(error) as caught:
        list(map_items(raising, [kind] * 3, 2))
    if kind == "disk":
        assert (caught.value.errno, caught.value.filename) == (28, "here")


def test_the_time_to_start_a_worker_does_not_count():
    assert list(map_items(harmed, [0, 6, 7], Engine(workers=2, limit=0.5))) == [0, 6, 7]


def test_whoever_stops_early_leaves_no_worker(tmp_path):
    results = map_items(os.path.basename, [str(tmp_path / str(i)) for i in range(50)], 2)
    assert next(results) == "0"
    results.close()
    wait_until(lambda: not children(os.getpid()))


def children(pid: int) -> list[int]:
    """Worker processes (not multiprocessing's own tracker) that a process has started."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    pids = [int(word) for file in found for word in file.read_text().split()]
    return [p for p in pids if alive(p) and b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="NOT TESTED: needs /proc to see processes")
@pytest.mark.parametrize("signalled", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_and_what_they_started_end_with_their_parent(tmp_path, signalled):
    (tmp_path / "parent.py").write_text(PARENT.format(work="lingering", limit=None))
    path = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", tmp_path],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 4, 120)
    pids = [int(file.stem) for file in tmp_path.glob("*.pid")]
    assert all(map(alive, pids))
    parent.send_signal(signalled)
    parent.wait(30)
    wait_until(lambda: not any(map(alive, pids)))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="NOT TESTED: needs /proc to see processes")
def test_what_takes_too_long_is_ended_with_what_it_started(tmp_path):
    results = list(map_items(lingering, [str(tmp_path)], Engine(limit=3)))
    assert isinstance(results[0], Lost) and not results[0].machine and "given up after 3 s" in results[0].reason
    wait_until(lambda: not any(alive(int(file.stem)) for file in tmp_path.glob("*.pid")))
    assert len(list(tmp_path.glob("*.pid"))) == 2


@pytest.mark.parametrize("kinds", [("disk", "writing"), ("writing", "disk")])
def test_the_error_of_one_ends_all_at_once_and_leaves_nothing_half_written(tmp_path, kinds):
    """Also where the other, which would take ten minutes, comes first."""
    start = time.monotonic()
    with pytest.raises(OSError, match="No space left"):
        list(map_items(half_written, [(kind, str(tmp_path)) for kind in kinds], 2))
    assert time.monotonic() - start < 300
    assert list(tmp_path.iterdir()) == []


def test_what_takes_too_long_leaves_nothing_half_written(tmp_path):
    assert isinstance(next(map_items(half_written, [("writing", str(tmp_path))], Engine(limit=2))), Lost)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("window", "passed"), [(workers.WINDOW, 300), (8, 7)])
def test_hundreds_of_items_pass_a_long_one(tmp_path, monkeypatch, window, passed):
    """Efficiency of a pool is lost where workers wait behind one long item: here one of two has nothing else to do."""
    monkeypatch.setattr(workers, "WINDOW", window)
    count, *others = map_items(counting, [(i, str(tmp_path)) for i in range(400)], 2)
    assert passed <= count <= (passed if window == 8 else 400) and others == list(range(1, 400))


@pytest.mark.parametrize("limit", [0, -1.0])
def test_impossible_limits(limit):
    with pytest.raises(MalformedInput, match="limit: expected more than 0 s"):
        Engine(limit=limit)
