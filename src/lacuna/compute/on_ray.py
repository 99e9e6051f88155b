"""Tasks on a Ray cluster. In: a picklable function and an engine. Out: its results, and `Lost` where a worker died."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from lacuna.compute.engine import Engine, lost, too_slow, worker_count
from lacuna.types import MalformedInput

_HELD: dict[str, Callable] = {}  # in a worker: the function it was given


class Ray(AbstractContextManager):
    """Tasks on a Ray cluster, one core each. Ray itself retries those whose worker or machine died."""

    def __init__(self, function: Callable, engine: Engine) -> None:
        self._ray, self._retries, self._limit = import_ray(), engine.retries, engine.limit
        self._started = not self._ray.is_initialized()
        if self._started:
            self._start(engine)
        self.workers = int(self._ray.cluster_resources().get("CPU", 1))
        if engine.workers != "auto":
            self.workers = min(self.workers, worker_count(engine.workers))
        held = self._ray.put(function)
        # The reference is wrapped: Ray would unpickle a bare one for each task, and each task would load weights.
        self._given = (held.hex(), os.getcwd(), [held])
        options = {"num_cpus": 1, "max_retries": engine.retries, "scheduling_strategy": "SPREAD"}
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
        return self._task.remote(*self._given, item)

    def result(self, ticket: Any) -> object:  # noqa: ANN401
        errors = self._ray.exceptions
        try:
            return self._ray.get(ticket, timeout=self._limit)  # all before it are done: it has begun
        except errors.GetTimeoutError:
            self._ray.cancel(ticket, force=True)
            return too_slow(self._limit or 0)
        except errors.WorkerCrashedError:
            return lost(self._retries + 1, "killed, out of memory, or a crash in a library", machine=False)
        except (errors.OutOfMemoryError, errors.NodeDiedError, errors.ObjectLostError) as error:
            return lost(self._retries + 1, type(error).__name__, machine=True)

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._ray.shutdown()


def import_ray() -> ModuleType:
    """The package ray; MalformedInput where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise MalformedInput(
            "compute.engine: expected the package ray for engine: ray (pip install 'lacuna[ray]')"
        ) from error
    return ray


def _on_cluster(name: str, folder: str, held: list, item: object) -> object:
    """Run in Ray's workers, which live on between tasks."""
    if name not in _HELD:
        if not os.path.isdir(folder):
            raise MalformedInput(
                f"{folder}: expected the project's folder at the same path on every machine, found none"
            )
        os.chdir(folder)  # paths of clips and of the cache are relative to it
        _HELD.clear()
        _HELD[name] = import_ray().get(held[0])
    return _HELD[name](item)
