"""What docs/reliability.md promises, at length. `python -m pytest -m slow -s tests/test_reliability.py` prints figures.

How much is tried is in the constants, or in the environment: LACUNA_PICKLES, LACUNA_FLIPS, LACUNA_KILLS.
"""

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from damage import KINDS, flips
from small_project import paths, runs, settings
from test_digests import judged
from test_hostile import fuzzed
from warm import Done, Warm, of_session

PICKLES = int(os.environ.get("LACUNA_PICKLES", "4000"))
FLIPS = int(os.environ.get("LACUNA_FLIPS", "500"))
KILLS = int(os.environ.get("LACUNA_KILLS", "40"))
TMPFS = """
import sys; from pathlib import Path; from damage import KINDS
name, folder = sys.argv[1], Path(sys.argv[2])
try:
    for k in range(2000):
        KINDS[name](folder / str(k))
except OSError as error:
    print(error.errno, *[p for p in folder.rglob("*.tmp")])
"""
pytestmark = pytest.mark.slow


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    return {k: v for k, v in os.environ.items() if k != "LACUNA_CACHE"} | {"PYTHONPATH": path} | more


def test_mutated_pickles(tmp_path):
    refusals = fuzzed(tmp_path, PICKLES, 7)
    print(f"\n{PICKLES} pickles: {refusals} refused in one line, {PICKLES - refusals} read as plain values and arrays")


@pytest.mark.parametrize("name", KINDS)
def test_flipped_bits(tmp_path, name):
    kind = KINDS[name](tmp_path)
    content, whole = kind.path.read_bytes(), kind.read()
    verdicts = []
    for _, damaged in flips(content, FLIPS, seed=11):
        kind.path.write_bytes(damaged)
        verdicts.append(judged(kind, whole))
    counts = {verdict: verdicts.count(verdict) for verdict in ("noticed", "same", "BELIEVED")}
    print(f"\n{name}: {len(verdicts)} flips: {counts}")
    assert counts["BELIEVED"] == 0


def run(warm: Warm, folder: Path, name: str, item: dict[str, str], limit: int | None = None) -> Done:
    return warm.run(folder, [f"pipeline/{name}.py", *item.values()], limit)


def outs_of(folder: Path, name: str, item: dict[str, str]) -> dict[str, bytes]:
    """What a run wrote, by path. The report tells how long stages took, which differs: its page counts as there."""
    found = {}
    for place in paths(name, item, "outs"):
        files = [folder / place] if (folder / place).is_file() else sorted((folder / place).rglob("*"))
        found |= {p.relative_to(folder).as_posix(): p.read_bytes() for p in files if p.is_file()}
    return dict.fromkeys(found, b"") if name == "report" else found


def remove_outs(folder: Path, name: str, item: dict[str, str]) -> None:
    """As DVC does before it runs a stage; what the cache has of an extractor goes too, so that there is work."""
    for place in paths(name, item, "outs"):
        shutil.rmtree(folder / place, ignore_errors=True)
        (folder / place).unlink(missing_ok=True)
    if name == "extract":
        shutil.rmtree(folder / ".cache/lacuna" / item["extractor"], ignore_errors=True)
    if name in ("export", "train"):
        shutil.rmtree(folder / ".cache/lacuna/packed", ignore_errors=True)


@pytest.fixture(scope="module")
def warm():
    with Warm(environment()) as server:
        yield server


@pytest.fixture(scope="module")
def whole(project, warm, tmp_path_factory):
    """A copy of the small project with two workers, and beside it a project in which a demo is to be made."""
    folder = tmp_path_factory.mktemp("reliability") / "whole"
    shutil.copytree(project, folder, symlinks=True)
    shutil.copytree(folder / "pipeline", home(folder, "demo") / "pipeline")
    values = settings(workers=2)
    demo = {"datasets": ["demo"], "demo": values["demo"] | {"clips": 48, "seconds": 1.0, "size": 128}}
    for place, changes in ((folder, {}), (home(folder, "demo"), demo)):
        (place / "params.yaml").write_text(yaml.safe_dump(values | changes))
        assert run(warm, place, "source", {}).returncode == 0
    return folder


def home(whole: Path, name: str) -> Path:
    """Where a stage runs: where all has run, or, as nothing else reads the demo, in a project of its own."""
    return whole.parent / "demo" if name == "demo" else whole


def small_runs() -> list[tuple[str, dict[str, str]]]:
    """Every run of the small data set, and the making of the demo."""
    return list(runs(settings()))


@pytest.fixture(scope="module")
def reference(warm, whole):
    """(outs, s that it took) of a run that nobody disturbed; each is run once, when it is first asked for."""

    @functools.cache
    def told(name: str, *values: str) -> tuple[dict[str, bytes], float]:
        item = next(item for other, item in small_runs() if (other, *item.values()) == (name, *values))
        folder = home(whole, name)
        remove_outs(folder, name, item)
        start = time.monotonic()
        done = run(warm, folder, name, item)
        assert done.returncode == 0, done.stderr
        return outs_of(folder, name, item), time.monotonic() - start

    return told


def leftovers(folder: Path) -> list[Path]:
    return [p for p in folder.rglob(".*") if p.name.startswith(".lacuna-")]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="NOT TESTED: needs /proc to see processes")
def test_killed_runs(warm, whole, reference):
    rng, everything = np.random.default_rng(5), small_runs()
    everything = [everything[i] for i in rng.permutation(len(everything))]
    counts = dict.fromkeys(("kills", "ended before", "differ", "orphans", "leftovers"), 0)
    for k in range(KILLS):
        name, item = everything[k % len(everything)]
        folder = home(whole, name)
        outs, seconds = reference(name, *item.values())
        remove_outs(folder, name, item)
        pid = warm.start(folder, [f"pipeline/{name}.py", *item.values()])
        time.sleep(seconds * rng.uniform(0.05, 1.0))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        counts["kills" if warm.wait().returncode == -signal.SIGKILL else "ended before"] += 1
        end = time.monotonic() + 10
        while of_session(pid) and time.monotonic() < end:
            time.sleep(0.1)
        counts["orphans"] += len(of_session(pid))
        done = run(warm, folder, name, item)
        assert done.returncode == 0, (name, item, done.stderr)
        counts["differ"] += outs_of(folder, name, item) != outs
        counts["leftovers"] += len(leftovers(folder))
        print(f"\n{k + 1} {name} {' '.join(item.values())} of {seconds:.1f} s: {counts}", flush=True)
    print(f"\n{KILLS} runs of {len(everything)} kinds were shot at and run again: {counts}")
    assert counts["differ"] == counts["orphans"] == counts["leftovers"] == 0


def test_full_disks(warm, whole, reference):
    """Each stage where no file may grow beyond half of its largest: it fails in one line and leaves nothing."""
    tried = 0
    for name, item in small_runs():
        folder = home(whole, name)
        outs, _ = reference(name, *item.values())
        largest = max((len(content) for content in outs.values()), default=0)
        if name == "report":
            largest = 1000
        if not largest:
            continue  # writes nothing
        remove_outs(folder, name, item)
        done = run(warm, folder, name, item, largest // 2)
        lines = [line for line in done.stderr.splitlines() if line.startswith(f"{name}: this machine: ")]
        assert done.returncode == 1 and "Traceback" not in done.stderr, (name, item, done.stderr)
        assert len(lines) == 1, (name, item, done.stderr)
        assert not leftovers(folder)
        tried += 1
        assert run(warm, folder, name, item).returncode == 0
        assert outs_of(folder, name, item) == outs, (name, item)
        print(f"\n{tried} {lines[0]}", flush=True)
    print(f"\n{tried} runs on a full disk: each told it in one line, left nothing, and ran again to the same bytes")


@pytest.mark.parametrize("name", KINDS)
def test_a_disk_that_is_really_full(tmp_path, name):
    can = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path}"
    if shutil.which("unshare") is None or subprocess.run([*can, mount], capture_output=True).returncode:
        pytest.skip("NOT TESTED: this machine lets nobody mount a small disk; test_full_disks stands in for it")
    command = f"{mount} && exec {sys.executable} -c '{TMPFS}' '{name}' {tmp_path}/x"
    done = subprocess.run([*can, command], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "28", (done.stdout, done.stderr[-2000:])
