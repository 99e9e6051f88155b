"""`lacuna train` and `lacuna evaluate`. In: params.yaml's values, data sets and perhaps a shard. Out: lines to print.

Each run is the stage's own script, in a process of its own, so it makes what the stage makes. What it made is kept in
the cache, where the script finds it when DVC runs it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lacuna.compute.device import device_of
from lacuna.compute.workers import Engine, Lost, map_items, worker_count
from lacuna.extract.run import shard_of
from lacuna.params import Params
from lacuna.source.run import check_sources
from lacuna.storage.cache import default_root
from lacuna.storage.runs import Run
from lacuna.train.plan import check_plan, plan
from lacuna.types import MalformedInput, counted

Words = tuple[str, ...]


@dataclass(frozen=True)
class Script:
    """A stage's script as workers run it: they are given its words."""

    stage: str
    cache: str

    def __call__(self, words: Words) -> str | MalformedInput:
        """See to it that the run is done, and kept; the line to print, or what was wrong with its input.

        ChildProcessError: the script was killed.
        """
        run, root = Run.of(self.stage, words), Path(self.cache)
        if run is None:
            return MalformedInput(f"dvc.yaml: expected the stage {self.stage} of {' '.join(words)}, found none")
        if run.done():
            return f"{run.name}: up to date"
        if run.place(root):
            return f"{run.name}: found in the cache"
        before = run.key()
        done = self._run(words)
        if done.returncode < 0:
            killed = signal.Signals(-done.returncode).name
            raise ChildProcessError(f"{run.name}: {killed}; free memory, or set fewer workers. What is done is kept")
        if done.returncode:
            return MalformedInput(_last(done.stderr))
        if run.key() != before:
            return MalformedInput(f"{run.name}: expected what it reads to stay as it is while it runs: run it again")
        run.keep(root)
        return _last(done.stdout)

    def _run(self, words: Words) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, f"pipeline/{self.stage}.py", *words]
        return subprocess.run(
            command, env=os.environ | {"LACUNA_CACHE": self.cache}, capture_output=True, text=True, check=False
        )


def run_all(params: Params, stage: str, datasets: Sequence[str], shard: str) -> Iterator[str]:
    """Do every run of a stage that is not done, or of a shard of them; the line of each.

    MalformedInput at the end where runs failed: the others are done all the same.
    """
    chosen = datasets or params.datasets
    models = [(dataset, model) for dataset in chosen for model in params.models]
    check_sources(params, Path("processed", "source"), {f"{dataset}/{stage}" for dataset in chosen})
    for dataset, model in models:
        made = plan(params.train, model, dataset, params.prepare.of(dataset).label_range)
        check_plan(Path("processed", dataset), made)
    words: list[Words] = [*models]
    if stage == "train":
        words = [(*both, str(seed)) for both in models for seed in params.seeds]
    words, failed = shard_of(words, shard) if shard else words, 0
    for told in map_items(Script(stage, str(default_root())), words, _engine(params, chosen)):
        if isinstance(told, Lost):
            raise ChildProcessError(told.reason)
        failed += isinstance(told, MalformedInput)
        yield str(told)
    if failed:
        raise MalformedInput(f"{failed} of {counted(len(words), 'run')} failed, as told above")


def _engine(params: Params, datasets: Sequence[str]) -> Engine:
    """Where params.yaml wants runs to be done: on this machine one at a time where they are on a GPU."""
    compute, sections = params.compute, [params.train.of(dataset) for dataset in datasets]
    on_gpu = any(section.device != "cpu" for section in sections)
    workers = params.workers
    if compute.engine == "local":
        here = any(device_of(section.device).type != "cpu" for section in sections)
        processes = max((section.processes for section in sections), default=1)
        workers = 1 if here else max(1, worker_count(params.workers) // processes)
    return Engine(compute.engine, workers, compute.address, compute.retries, gpu=on_gpu)


def _last(output: str) -> str:
    return (output.strip().splitlines() or ["nothing was said"])[-1]
