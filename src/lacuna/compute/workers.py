"""Map a function over clips, with processes or on Ray. In: a picklable function and items. Out: results in order.

An item that kills every worker it is given, or takes too long, comes back as a `Lost` instead of a result; the rest
goes on. Each worker unpickles the function once, so that what it loads (weights, graphs) is loaded once a worker and
not once a clip.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from lacuna.compute.engine import Engine, Lost, worker_count
from lacuna.compute.on_ray import Ray
from lacuna.compute.processes import Processes, starting

__all__ = ["Engine", "Lost", "expect_work", "map_items", "progress", "worker_count"]

Item = TypeVar("Item")
Result = TypeVar("Result")

WINDOW = 512  # items under way at once: results wait in order, so a long clip holds up none but the last of them


def progress(items: Iterable[Item], total: int, title: str, unit: str = "clip") -> Iterator[Item]:
    """A bar with a rate on a terminal, and a line now and then elsewhere."""
    tty = sys.stderr.isatty()
    yield from tqdm(items, title, total, unit=unit, mininterval=0.1 if tty else 10, ascii=not tty, dynamic_ncols=tty)


class Pool(AbstractContextManager, Protocol):
    """What an engine gives: `submit` an item, ask whether it is `done`, and wait for its `result`."""

    workers: int

    def submit(self, item: object) -> object: ...

    def done(self, ticket: Any) -> bool: ...  # noqa: ANN401 (what `submit` gave)

    def result(self, ticket: Any) -> Any: ...  # noqa: ANN401 (what the function gives)


def map_items(
    function: Callable[[Item], Result], items: Iterable[Item], engine: Engine | int | str = 1
) -> Iterator[Result | Lost]:
    """function(item) for each item, in order, with at most `WINDOW` items under way; a number stands for processes.

    One worker that was asked for by its number is this process itself. A function may name modules in `preload`: where
    processes can be forked from one that has imported them, they start so.
    """
    engine = _engine(engine)
    if _works_here(engine):
        yield from map(function, items)
        return
    count = worker_count(engine.workers)
    items = iter(items)
    first = list(islice(items, count))  # for three items there are no more than three processes; for none, none
    if not first:
        return
    pool: Pool = Ray(function, engine) if engine.kind == "ray" else Processes(function, len(first), engine)
    with pool:
        waiting: deque[Any] = deque()
        for item in chain(first, items):
            waiting.append(pool.submit(item))
            while waiting and (len(waiting) >= max(WINDOW, 4 * pool.workers) or pool.done(waiting[0])):
                yield pool.result(waiting.popleft())
        while waiting:
            yield pool.result(waiting.popleft())


def expect_work(engine: Engine | int | str, preload: Sequence[str]) -> None:
    """Work may follow: where it is for local processes, begin to import what they need, beside this process."""
    engine = _engine(engine)
    if preload and engine.kind == "local" and not _works_here(engine) and worker_count(engine.workers) > 1:
        starting(preload)


def _engine(engine: Engine | int | str) -> Engine:
    return engine if isinstance(engine, Engine) else Engine(workers=engine)


def _works_here(engine: Engine) -> bool:
    """Whether the one worker is this process itself."""
    return engine.kind == "local" and engine.workers != "auto" and worker_count(engine.workers) <= 1
