"""Map a function over clips, with processes or on Ray. In: a picklable function and items. Out: results in order.

An item that kills every worker it is given, or takes too long, comes back as a `Lost` instead of a result; the rest
goes on. Each worker unpickles the function once, so that what it loads (weights, graphs) is loaded once a worker and
not once a clip.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from lacuna.compute.engine import Engine, Lost, worker_count
from lacuna.compute.on_ray import Ray
from lacuna.compute.processes import Processes

__all__ = ["Engine", "Lost", "map_items", "progress", "worker_count"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def progress(items: Iterable[Item], total: int, title: str, unit: str = "clip") -> Iterator[Item]:
    """A bar with a rate on a terminal, and a line now and then elsewhere."""
    tty = sys.stderr.isatty()
    yield from tqdm(items, title, total, unit=unit, mininterval=0.1 if tty else 10, ascii=not tty, dynamic_ncols=tty)


class Pool(AbstractContextManager, Protocol):
    """What an engine gives: `submit` an item, and later its `result`."""

    workers: int

    def submit(self, item: object) -> object: ...

    def result(self, ticket: Any) -> Any: ...  # noqa: ANN401 (what the function gives)


def map_items(
    function: Callable[[Item], Result], items: Iterable[Item], engine: Engine | int | str = 1
) -> Iterator[Result | Lost]:
    """function(item) for each item, in order, with at most a few results held; a number stands for local processes.

    One worker that was asked for by its number is this process itself.
    """
    engine = engine if isinstance(engine, Engine) else Engine(workers=engine)
    count = worker_count(engine.workers)
    if engine.kind == "local" and engine.workers != "auto" and count <= 1:
        yield from map(function, items)
        return
    items = iter(items)
    first = list(islice(items, count))  # for three items there are no more than three processes; for none, none
    if not first:
        return
    pool: Pool = Ray(function, engine) if engine.kind == "ray" else Processes(function, len(first), engine)
    with pool:
        waiting: deque[Any] = deque()
        for item in chain(first, items):
            waiting.append(pool.submit(item))
            if len(waiting) >= 4 * pool.workers:
                yield pool.result(waiting.popleft())
        while waiting:
            yield pool.result(waiting.popleft())
