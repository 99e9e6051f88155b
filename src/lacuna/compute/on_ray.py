"""Tasks on a Ray cluster. In: a picklable function and an engine. Out: its results, and `Lost` where a worker died.

Each of Ray's workers asks a process of its own, as local workers are asked: so a time limit counts from when an item
starts, a library that hangs is ended, and how a process died is known.
"""

from __future__ import annotations

import os
import pickle
import platform
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lacuna.compute.engine import Engine, lost, worker_count
from lacuna.compute.processes import DiedError, Worker, starting
from lacuna.types import MalformedInput

MARKS = Path(".cache")  # which Git and DVC ignore
_HELD: dict[str, Worker] = {}  # in one of Ray's workers: the process that holds the function, by the function's name


@dataclass(frozen=True)
class _Place:
    """The folder that tasks work in, and a file in it that only this run has made: it tells the folder from others."""

    folder: str
    mark: str

    def enter(self) -> None:
        """Make it the working directory: paths of clips and of the cache are relative to it."""
        if not os.path.exists(os.path.join(self.folder, self.mark)):
            machine = f"{platform.node()} ({import_ray().util.get_node_ip_address()})"
            found = "another folder" if os.path.isdir(self.folder) else "none"
            raise MalformedInput(
                f"{self.folder} on {machine}: expected the project's folder at the same path on every machine, "
                f"found {found}"
            )
        os.chdir(self.folder)


class Ray(AbstractContextManager):
    """Tasks on a Ray cluster, one core each. Ray itself tries those again whose process or machine died."""

    def __init__(self, function: Callable, engine: Engine) -> None:
        self._ray, self._retries = import_ray(), engine.retries
        self._started = not self._ray.is_initialized()
        if self._started:
            self._start(engine)
        self.workers = int(self._ray.cluster_resources().get("CPU", 1))
        self._most = None if engine.workers == "auto" else worker_count(engine.workers)
        self._open: list[Any] = []  # tickets of which it is not yet known that they are done
        MARKS.mkdir(exist_ok=True)
        with ExitStack() as stack:
            mark = stack.enter_context(tempfile.NamedTemporaryFile(prefix="lacuna-ray-", dir=MARKS)).name
            self._mark = stack.pop_all()
        held = self._ray.put(pickle.dumps(function))
        # The reference is wrapped: Ray would fetch a bare one for each task, and each task would load weights.
        self._given = (held.hex(), _Place(os.getcwd(), os.path.relpath(mark)), engine.limit, [held])
        options: dict[str, Any] = {
            "num_cpus": 1,
            "num_gpus": int(engine.gpu and self._ray.cluster_resources().get("GPU", 0) > 0),
        }
        options |= {"max_retries": engine.retries, "retry_exceptions": [DiedError], "scheduling_strategy": "SPREAD"}
        self._task = self._ray.remote(_on_cluster).options(**options)

    def _start(self, engine: Engine) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_task_oom_retries", str(engine.retries))  # Ray's own default is for ever
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if engine.address:
            try:
                self._ray.init(engine.address, **quiet)
            except ConnectionError as error:
                expected = "expected the address of a running Ray cluster"
                raise MalformedInput(f"compute.address: {expected}, got {engine.address!r}: {error}") from error
        else:
            self._ray.init("local", num_cpus=worker_count(engine.workers), include_dashboard=False, **quiet)

    def submit(self, item: object) -> object:
        """Give Ray a task; at most as many as `workers` says, where it is a number, are with Ray at once."""
        if self._most is not None:
            while len(self._open) >= self._most:
                self._await_one()
        ticket = self._task.remote(*self._given, item)
        self._open.append(ticket)
        return ticket

    def _await_one(self) -> None:
        """Wait for whichever ends first; what it raised ends the run, so that is told at once."""
        ended, self._open = self._ray.wait(self._open, num_returns=1)
        self._value(ended[0])

    def done(self, ticket: Any) -> bool:  # noqa: ANN401
        return bool(self._ray.wait([ticket], timeout=0)[0])

    def result(self, ticket: Any) -> object:  # noqa: ANN401
        while ticket in self._open:
            self._await_one()
        return self._value(ticket)

    def _value(self, ticket: Any) -> object:  # noqa: ANN401
        errors = self._ray.exceptions
        try:
            return self._ray.get(ticket)
        except DiedError as error:
            died = getattr(error, "cause", error)  # Ray's own error stands before ours
            return lost(self._retries + 1, died.why, died.machine)
        except (
            errors.WorkerCrashedError,
            errors.OutOfMemoryError,
            errors.NodeDiedError,
            errors.ObjectLostError,
        ) as error:
            return lost(self._retries + 1, type(error).__name__, machine=True)

    def __exit__(self, *_: object) -> None:
        self._mark.close()
        if self._started:
            self._ray.shutdown()
            return
        for ticket in self._open:  # left where the run ends early: a cluster that goes on would work on them
            self._ray.cancel(ticket, force=True)


def import_ray() -> ModuleType:
    """The package ray; MalformedInput where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise MalformedInput(
            "compute.engine: expected the package ray for engine: ray (pip install 'lacuna[ray]')"
        ) from error
    return ray


def _on_cluster(name: str, place: _Place, limit: float | None, held: list, item: object) -> object:
    """Run in Ray's workers, which live on between tasks."""
    if name not in _HELD:
        place.enter()
        for other in _HELD.values():
            other.end(at_once=True)
        _HELD.clear()
        _HELD[name] = Worker(import_ray().get(held[0]), starting())
    return _HELD[name].ask(item, limit)
