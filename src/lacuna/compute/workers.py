"""Map a function over clips, with processes or on Ray. In: a picklable function and items. Out: results in order.

A worker that dies takes its pool with it; the items in flight are tried again one at a time, and one that kills every
worker it is given comes back as a `Lost` instead of a result. Nothing else is lost and the rest goes on. Each worker
unpickles the function once, so that what it loads (weights, graphs) is loaded once a worker and not once a clip.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain, islice
from types import ModuleType
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from lacuna.types import MalformedInput

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Lost:
    """What stands for the result of an item whose worker died."""

    reason: str


@dataclass(frozen=True)
class Engine:
    """Where work is done. kind: local (processes) or ray; workers: how many at once.

    retries: how often an item whose worker died is tried again (with processes at least once, alone: it may have been
    a neighbour that killed the pool); address: of a running Ray cluster ("auto", host:port, ray://host:port), empty
    to start one on this machine.
    """

    kind: str = "local"
    workers: int | str = "auto"
    address: str = ""
    retries: int = 1

    def __post_init__(self) -> None:
        if self.kind not in ("local", "ray"):
            raise MalformedInput(f"compute.engine: expected local or ray, got {self.kind!r}")
        if self.address and self.kind != "ray":
            raise MalformedInput(f"compute.address: expected none for the engine {self.kind}, got {self.address!r}")
        if self.retries < 0:
            raise MalformedInput(f"compute.retries: expected 0 or more, got {self.retries}")


def worker_count(asked: int | str) -> int:
    """`auto` is one per core that this process may use."""
    if asked == "auto" and not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len(os.sched_getaffinity(0)) if asked == "auto" else int(asked)


def progress(items: Iterable[Item], total: int, title: str, unit: str = "clip") -> Iterator[Item]:
    """A bar with a rate on a terminal, and a line now and then elsewhere."""
    tty = sys.stderr.isatty()
    yield from tqdm(items, title, total, unit=unit, mininterval=0.1 if tty else 10, ascii=not tty, dynamic_ncols=tty)


def map_items(
    function: Callable[[Item], Result], items: Iterable[Item], engine: Engine | int | str = 1
) -> Iterator[Result | Lost]:
    """function(item) for each item, in order, with at most a few results held; a number stands for local processes."""
    engine = engine if isinstance(engine, Engine) else Engine(workers=engine)
    count = worker_count(engine.workers)
    if engine.kind == "local" and count <= 1:
        yield from map(function, items)
        return
    items = iter(items)
    first = list(islice(items, count))  # for three items there are no more than three processes; for none, none
    if not first:
        return
    pool = _Ray(function, engine) if engine.kind == "ray" else _Processes(function, len(first), engine.retries)
    with pool:
        waiting: deque[tuple[Item, Any]] = deque()
        for item in chain(first, items):
            waiting.append((item, pool.submit(item)))
            if len(waiting) >= 4 * pool.workers:
                yield pool.result(*waiting.popleft(), waiting)
        while waiting:
            yield pool.result(*waiting.popleft(), waiting)


class _Pool(AbstractContextManager, Protocol):
    """What an engine gives: `submit` an item, and later its `result`; `waiting` are those submitted after it."""

    workers: int

    def submit(self, item: object) -> object: ...

    def result(self, item: object, ticket: Any, waiting: deque[tuple[object, Any]]) -> object: ...  # noqa: ANN401


_HELD: dict[str, Callable] = {}  # in a worker: the function it was given


def _lost(retries: int) -> Lost:
    times = "once" if not retries else f"{retries + 1} times"
    return Lost(f"the worker process died on it {times} (killed, out of memory, or a crash in a library)")


class _Processes(_Pool):
    """A process pool that is made anew when a worker dies."""

    def __init__(self, function: Callable, workers: int, retries: int) -> None:
        self._packed, self.workers, self._retries = pickle.dumps(function), workers, retries
        # Forked children would inherit torch's and FFmpeg's threads in mid-step.
        self._context = multiprocessing.get_context("spawn")
        self._executor = self._new(workers)

    def _new(self, workers: int) -> ProcessPoolExecutor:
        # One thread a worker: two threads each on a busy machine are slower than one.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")
        return ProcessPoolExecutor(workers, self._context, initializer=_keep, initargs=(self._packed,))

    def submit(self, item: object) -> Future:
        try:
            return self._executor.submit(_in_process, item)
        except BrokenProcessPool as error:
            future: Future = Future()
            future.set_exception(error)
            return future

    def result(self, item: object, ticket: Future, waiting: deque[tuple[object, Future]]) -> object:
        try:
            return ticket.result()
        except BrokenProcessPool:
            outcome = self._alone(item)
        self._executor.shutdown(wait=False)
        self._executor = self._new(self.workers)
        again = [(other, self.submit(other) if _broken(f) else f) for other, f in waiting]
        waiting.clear()
        waiting.extend(again)
        return outcome

    def _alone(self, item: object) -> object:
        """The item in a process of its own: whether it or a neighbour killed the worker shows here."""
        for _ in range(max(1, self._retries)):
            with self._new(1) as single:
                try:
                    return single.submit(_in_process, item).result()
                except BrokenProcessPool:
                    continue
        return _lost(max(1, self._retries))

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)


def _broken(future: Future) -> bool:
    return future.done() and isinstance(future.exception(), BrokenProcessPool)


_PACKED: list[bytes] = []


def _keep(packed: bytes) -> None:
    """Start a worker: what unpickling raises must be told as an item's error, so it is left to the first item."""
    _PACKED[:] = [packed]


def _in_process(item: object) -> object:
    if "" not in _HELD:
        _HELD[""] = pickle.loads(_PACKED[0])
    return _HELD[""](item)


class _Ray(_Pool):
    """Tasks on a Ray cluster, one core each. Ray itself retries those whose worker or machine died."""

    def __init__(self, function: Callable, engine: Engine) -> None:
        self._ray, self._retries = import_ray(), engine.retries
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

    def result(self, item: object, ticket: Any, waiting: deque[tuple[object, Any]]) -> object:  # noqa: ANN401
        errors = self._ray.exceptions
        try:
            return self._ray.get(ticket)
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError, errors.ObjectLostError):
            return _lost(self._retries)

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
