"""A Ray cluster of several machines: raylets with temporary folders of their own, one of which may not see the project.

Slow: each raylet takes seconds to start.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import test_extraction

from lacuna.commands.extract import extract as extract_features
from lacuna.compute.workers import Engine, map_items
from lacuna.types import MalformedInput

pytestmark = pytest.mark.slow
WHY = "SKIPPED FOR WANT OF RAY: pip install 'lacuna[ray]' to test the engine ray"
ITEMS = 40
clips = test_extraction.project  # a fixture: a folder, its params and its clips


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head and two more nodes, of one core each; whoever joins has to start from this environment."""
    pytest.importorskip("ray", reason=WHY)
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_health_check_period_ms", "1000")
        tests = Path(__file__).parent
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tests), str(tests.parent / "src")]))
        made = Cluster()
        for _ in range(3):
            made.add_node(num_cpus=1, temp_dir=str(tmp_path_factory.mktemp("n")), include_dashboard=False)
        yield made
        made.shutdown()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def engine(cluster, **changes):
    return Engine("ray", **{"address": cluster.address, "retries": 2} | changes)


def raylet(item: tuple[int, float]) -> tuple[int, str]:
    """The item's number, and which machine had it."""
    time.sleep(item[1])
    return item[0], os.environ["RAY_RAYLET_PID"]


def test_results_come_in_order_from_all_machines(cluster, here):
    results = list(map_items(raylet, [(i, 0.2) for i in range(ITEMS)], engine(cluster)))
    assert [number for number, _ in results] == list(range(ITEMS))
    assert len({machine for _, machine in results}) == 3


def at_once(item: tuple[int, str]) -> int:
    """How many of these work at the same time, this one included."""
    mark = Path(item[1], f"{item[0]}.now")
    mark.touch()
    time.sleep(0.3)
    count = len(list(mark.parent.glob("*.now")))
    mark.unlink()
    return count


def test_a_number_of_workers_is_the_most_at_once(cluster, here):
    assert max(map_items(at_once, [(i, str(here)) for i in range(8)], engine(cluster, workers=2))) <= 2


def test_several_machines_write_the_bytes_of_one(cluster, clips, monkeypatch):
    folder, params, _ = clips
    list(extract_features(params, "own", ["librosa"], ""))
    alone = test_extraction.written(folder)
    monkeypatch.setenv("LACUNA_CACHE", "other")
    compute = params.compute.model_copy(update={"engine": "ray", "address": cluster.address})
    list(extract_features(params.model_copy(update={"compute": compute, "workers": "auto"}), "own", ["librosa"], ""))
    assert test_extraction.written(folder) == alone and len(list((folder / "other").rglob("*.npz"))) == 6


def test_a_machine_that_dies_in_mid_run_loses_nothing(cluster, here, tmp_path_factory):
    dying = cluster.add_node(num_cpus=1, temp_dir=str(tmp_path_factory.mktemp("n")))
    results = map_items(raylet, [(i, 0.5) for i in range(ITEMS)], engine(cluster))
    found = [next(results) for _ in range(6)]
    cluster.remove_node(dying, allow_graceful=False)
    found += results
    assert [number for number, _ in found] == list(range(ITEMS))


@pytest.mark.parametrize(("hidden", "told"), [(".", "found another folder"), ("..", "found none")])
def test_a_machine_without_the_projects_folder_is_named(cluster, here, tmp_path_factory, hidden, told):
    """A node that joins from a mount namespace of its own, in which another file system lies over the folder."""
    project = here / "home" / "project"
    project.mkdir(parents=True)
    os.chdir(project)
    ray = Path(sys.executable).with_name("ray")
    script = f'mount -t tmpfs none "{(project / hidden).resolve()}" && exec "{ray}" start --block --num-cpus=4 '
    script += f'--address={cluster.address} --temp-dir="{tmp_path_factory.mktemp("n")}"'
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("NOT TESTED: needs mount namespaces (unshare -rm)")
    node = subprocess.Popen(["unshare", "-rm", "sh", "-c", script], cwd=here, stdout=subprocess.DEVNULL)
    try:
        wait_for_nodes(cluster, 4)
        with pytest.raises(MalformedInput, match=rf"{project} on .*: expected the project's folder.*{told}"):
            list(map_items(raylet, [(i, 0.2) for i in range(ITEMS)], engine(cluster)))
    finally:
        node.terminate()
        node.wait(30)
        wait_for_nodes(cluster, 3)


def wait_for_nodes(cluster, count, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        alive = [node for node in cluster.global_state.node_table() if node["Alive"]]
        if len(alive) == count:
            return
        time.sleep(0.5)
    raise AssertionError(f"expected {count} nodes, got {len(alive)}")
