"""Work over clips: in order with any number of workers, cached by content, and a dead worker loses only its clip."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from tasks import alive, wait_until

from lacuna.compute.workers import Engine, Lost, map_items, worker_count
from lacuna.storage.cache import Cache, digest_of
from lacuna.storage.files import digest_of_file
from lacuna.types import MalformedInput


def squared(x: int) -> int:
    return x * x


def deadly(x: int) -> int:
    """Kills its own worker on 5, as the kernel does when memory runs out."""
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


class Heavy:
    """Something that costs much to unpickle: it leaves a file for each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __setstate__(self, state: dict) -> None:
        self.__dict__ = state
        (self.folder / f"{os.getpid()}-{len(list(self.folder.iterdir()))}").touch()

    def __call__(self, x: int) -> int:
        return x


class Killed:
    """5 kills its worker always, 7 only the first time it comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, x: int) -> int:
        if x == 5 or (x == 7 and not (self.folder / "7").exists()):
            (self.folder / str(x)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x


@pytest.fixture(scope="module")
def ray_cluster():
    """A Ray cluster of two cores on this machine."""
    ray = pytest.importorskip("ray", reason="SKIPPED FOR WANT OF RAY: pip install 'lacuna[ray]' to test the engine ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    environment = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}  # where workers find this file
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init("local", num_cpus=2, runtime_env=environment, **quiet)
    yield ray
    ray.shutdown()


def test_ray_gives_the_same_in_order_and_loads_once_a_worker(ray_cluster, tmp_path):
    assert list(map_items(Heavy(tmp_path), range(20), Engine("ray"))) == list(range(20))
    assert 1 <= len(list(tmp_path.iterdir())) <= 3  # two workers, and one that Ray may start ahead


def test_on_ray_a_lost_worker_loses_only_its_item(ray_cluster, tmp_path):
    results = list(map_items(Killed(tmp_path), range(12), Engine("ray", retries=1)))
    assert isinstance(results[5], Lost) and "died on it 2 times" in results[5].reason
    assert [r for i, r in enumerate(results) if i != 5] == [i for i in range(12) if i != 5]  # 7 was tried again


def test_an_error_of_an_item_is_told_as_it_is(ray_cluster):
    with pytest.raises(MalformedInput, match="impossible"):
        list(map_items(refusing, range(3), Engine("ray")))


def test_on_ray_an_error_is_told_at_once_and_ends_what_else_runs(ray_cluster, tmp_path):
    """The other item comes first and would take ten minutes."""
    with pytest.raises(OSError, match="No space left"):
        list(map_items(full, [("long", tmp_path), ("disk", tmp_path)], Engine("ray")))
    assert next(map_items(squared, [3], Engine("ray"))) == 9  # on cores that are free again
    wait_until(lambda: not alive(int((tmp_path / "long").read_text())))


def full(item: tuple[str, Path]) -> None:
    kind, folder = item
    if kind == "disk":
        wait_until((folder / "long").exists, 60)
        raise OSError(28, "No space left", "here")
    (folder / ".long").write_text(str(os.getpid()))
    (folder / ".long").rename(folder / "long")
    time.sleep(600)


def refusing(x: int) -> int:
    raise MalformedInput(f"{x}: impossible")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kind": "slurm"}, "compute.engine: expected local or ray"),
        ({"address": "auto"}, "compute.address: expected none for the engine local"),
        ({"retries": -1}, "compute.retries"),
    ],
)
def test_impossible_engines(values, told):
    with pytest.raises(MalformedInput, match=told):
        Engine(**values)


def test_processes_load_once_a_worker(tmp_path):
    assert list(map_items(Heavy(tmp_path), range(20), 2)) == list(range(20))
    assert 1 <= len(list(tmp_path.iterdir())) <= 2


def test_nothing_to_do_starts_no_worker(monkeypatch):
    monkeypatch.setattr("lacuna.compute.workers.Processes", None)
    assert list(map_items(squared, [], 4)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers):
    assert list(map_items(squared, range(20), workers)) == [x * x for x in range(20)]


def test_a_lost_worker_loses_only_its_item():
    results = list(map_items(deadly, range(12), 2))
    assert isinstance(results[5], Lost) and "worker" in results[5].reason
    assert [r for i, r in enumerate(results) if i != 5] == [i for i in range(12) if i != 5]


def test_auto_is_at_least_one():
    assert worker_count("auto") >= 1 and worker_count(3) == 3


def test_the_cache_gives_back_what_it_was_given(tmp_path):
    cache, key = Cache(tmp_path, "kind"), digest_of("a", {"b": 1})
    assert cache.get(key) is None
    cache.put(key, [{"x": np.arange(3)}])
    (piece,) = cache.get(key)
    np.testing.assert_array_equal(piece["x"], np.arange(3))
    assert not [p for p in tmp_path.rglob("*.tmp")]


def test_half_a_file_is_as_good_as_none(tmp_path):
    cache = Cache(tmp_path, "kind")
    cache.put("ab12", [{"x": np.arange(1000)}])
    file = next(tmp_path.rglob("*.npz"))
    file.write_bytes(file.read_bytes()[:200])
    assert cache.get("ab12") is None and not file.exists()


def test_pieces_are_put_together_and_read_in_others(tmp_path):
    """Another program's reader (numpy's) sees one array; ours gives it in pieces; an empty one keeps its width."""
    cache, rows = Cache(tmp_path, "kind"), np.random.default_rng(0).normal(size=(1300, 4)).astype(np.float32)
    cache.put("ab12", ({"x": part, "y": part[:, 0] > 0} for part in (rows[:700], rows[700:701], rows[701:])))
    with np.load(next(tmp_path.rglob("*.npz"))) as arrays:
        np.testing.assert_array_equal(arrays["x"], rows)
        assert arrays["y"].dtype == bool
    pieces = list(cache.get("ab12"))
    assert [len(p["x"]) for p in pieces] == [512, 512, 276]
    np.testing.assert_array_equal(np.concatenate([p["x"] for p in pieces]), rows)
    np.testing.assert_array_equal(np.concatenate([p["y"] for p in pieces]), rows[:, 0] > 0)
    cache.put("cd34", [{"x": rows[:0]}])
    (empty,) = cache.get("cd34")
    assert empty["x"].shape == (0, 4) and empty["x"].dtype == np.float32


def test_digests_do_not_depend_on_the_order_of_keys():
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 2, "b": 1})


def test_the_digest_of_a_file_is_sha256(tmp_path: Path):
    (tmp_path / "f").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert digest_of_file(tmp_path / "f") == expected
