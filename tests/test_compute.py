"""Work over clips: in order with any number of workers, cached by content, and a dead worker loses only its clip."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from lacuna.cache import Cache, digest_of, digest_of_file
from lacuna.compute import Lost, map_items, worker_count


def squared(x: int) -> int:
    return x * x


def deadly(x: int) -> int:
    """Kills its own worker on 5, as the kernel does when memory runs out."""
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


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
    cache.put(key, {"x": np.arange(3)})
    np.testing.assert_array_equal(cache.get(key)["x"], np.arange(3))
    assert not [p for p in tmp_path.rglob("*.tmp")]


def test_half_a_file_is_as_good_as_none(tmp_path):
    cache = Cache(tmp_path, "kind")
    cache.put("ab12", {"x": np.arange(1000)})
    file = next(tmp_path.rglob("*.npz"))
    file.write_bytes(file.read_bytes()[:200])
    assert cache.get("ab12") is None and not file.exists()


def test_digests_do_not_depend_on_the_order_of_keys():
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 2, "b": 1})


def test_the_digest_of_a_file_is_sha256(tmp_path: Path):
    (tmp_path / "f").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert digest_of_file(tmp_path / "f") == expected
