"""Map a function over clips with processes. In: a picklable function and items. Out: results in the items' order.

A worker that dies takes its pool with it; the items in flight are tried again one at a time, and one that kills its
worker twice comes back as a `Lost` instead of a result. Nothing else is lost and the rest goes on.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Lost:
    """What stands for the result of an item whose worker died."""

    reason: str


def worker_count(asked: int | str) -> int:
    """`auto` is one per core that this process may use."""
    return len(os.sched_getaffinity(0)) if asked == "auto" and hasattr(os, "sched_getaffinity") else int(asked)


def progress(items: Iterable[Item], total: int, title: str, unit: str = "clip") -> Iterator[Item]:
    """A bar with a rate on a terminal, and a line now and then elsewhere."""
    tty = sys.stderr.isatty()
    yield from tqdm(items, title, total, unit=unit, mininterval=0.1 if tty else 10, ascii=not tty, dynamic_ncols=tty)


def map_items(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | str = 1
) -> Iterator[Result | Lost]:
    """function(item) for each item, in order, with at most a few results held."""
    count = worker_count(workers)
    if count <= 1:
        yield from map(function, items)
        return
    with _Pool(function, count) as pool:
        waiting: deque[tuple[Item, Future]] = deque()
        for item in items:
            waiting.append((item, pool.submit(item)))
            if len(waiting) >= 4 * count:
                yield pool.result(*waiting.popleft(), waiting)
        while waiting:
            yield pool.result(*waiting.popleft(), waiting)


class _Pool:
    """A process pool that is made anew when a worker dies."""

    def __init__(self, function: Callable, workers: int) -> None:
        self._function, self._workers = function, workers
        # Forked children would inherit torch's and FFmpeg's threads in mid-step.
        self._context = multiprocessing.get_context("spawn")
        self._executor = self._new(workers)

    def _new(self, workers: int) -> ProcessPoolExecutor:
        # One thread a worker: two threads each on a busy machine are slower than one.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")
        return ProcessPoolExecutor(workers, mp_context=self._context)

    def submit(self, item: object) -> Future:
        try:
            return self._executor.submit(self._function, item)
        except BrokenProcessPool as error:
            future: Future = Future()
            future.set_exception(error)
            return future

    def result(self, item: object, future: Future, waiting: deque[tuple[object, Future]]) -> object:
        try:
            return future.result()
        except BrokenProcessPool:
            outcome = self._alone(item)
        self._executor.shutdown(wait=False)
        self._executor = self._new(self._workers)
        again = [(other, self.submit(other) if _broken(f) else f) for other, f in waiting]
        waiting.clear()
        waiting.extend(again)
        return outcome

    def _alone(self, item: object) -> object:
        """The item in a process of its own: whether it or a neighbour killed the worker shows here."""
        with self._new(1) as single:
            try:
                return single.submit(self._function, item).result()
            except BrokenProcessPool:
                return Lost("the worker process died on it twice (killed, out of memory, or a crash in a library)")

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)


def _broken(future: Future) -> bool:
    return future.done() and isinstance(future.exception(), BrokenProcessPool)
