"""A Ray cluster of several machines: raylets with temporary folders of their own, one of which may not see the project.

Slow: each raylet takes seconds to start.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import test_extraction
from tasks import at_once, raylet, visible

from lacuna.commands.extract import extract as extract_features
from lacuna.commands.runs import Script
from lacuna.compute.workers import Engine, map_items
from lacuna.storage.runs import Run
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
        Path(tempfile.gettempdir(), "ray").mkdir(exist_ok=True)  # where Ray notes the cluster
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


def test_results_come_in_order_from_all_machines(cluster, here):
    results = list(map_items(raylet, [(i, 0.2) for i in range(ITEMS)], engine(cluster)))
    assert [number for number, _ in results] == list(range(ITEMS))
    assert len({machine for _, machine in results}) == 3


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


TRAIN = """
import os, sys
from lacuna.stages import run_stage
from lacuna.storage.runs import Run

def main(*words):
    for out in Run.of("train", words).outs:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(" ".join(words))
    print(os.environ["RAY_RAYLET_PID"])

run_stage(main)
"""


def test_trainings_run_on_all_machines_and_are_found_again(cluster, here):
    shutil.copy(Path(__file__).parents[1] / "dvc.yaml", here)
    (here / "pipeline").mkdir()
    (here / "pipeline" / "train.py").write_text(TRAIN)
    words = [("own", "lnln", str(seed)) for seed in range(9)]
    for dep in Run.of("train", words[0]).deps:
        dep.parent.mkdir(parents=True, exist_ok=True)
        dep.touch()
    script = Script("train", ".cache/lacuna")
    assert len(set(map_items(script, words, engine(cluster)))) == 3
    shutil.rmtree("processed/own/models")
    assert [*map(script, words)] == [f"train@own-lnln-{seed}: found in the cache" for seed in range(9)]
    assert (here / "processed/own/models/lnln/4/model.json").read_text() == "own lnln 4"


def test_a_training_is_given_a_gpu_where_there_is_one(cluster, here, tmp_path_factory):
    """To Ray a GPU is a number."""
    assert {*map_items(visible, range(3), engine(cluster, gpu=True))} == {""}
    node = cluster.add_node(num_cpus=1, num_gpus=1, temp_dir=str(tmp_path_factory.mktemp("n")))
    assert {*map_items(visible, range(3), engine(cluster, gpu=True))} == {"0"}
    cluster.remove_node(node)


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
