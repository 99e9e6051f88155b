"""Where work is done, and what became of an item. In: plain values. Out: records that every engine shares."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lacuna.types import MalformedInput


@dataclass(frozen=True)
class Lost:
    """What stands for the result of an item that no worker could finish; machine: not the item is to blame, as far as
    one can tell (killed from outside, as the kernel does when memory runs out)."""

    reason: str
    machine: bool = False


@dataclass(frozen=True)
class Engine:
    """Where work is done. kind: local (processes) or ray; workers: how many at once.

    retries: how often an item whose worker died is tried again (with processes at least once, alone: it may have been
    a neighbour that took the memory); address: of a running Ray cluster ("auto", host:port, ray://host:port), empty
    to start one on this machine; limit: s that one item may take, counted from when it starts (none where work is done
    without a worker); gpu: each item is given a GPU, where the Ray cluster has any.
    """

    kind: str = "local"
    workers: int | str = "auto"
    address: str = ""
    retries: int = 1
    limit: float | None = None
    gpu: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("local", "ray"):
            raise MalformedInput(f"compute.engine: expected local or ray, got {self.kind!r}")
        if self.address and self.kind != "ray":
            raise MalformedInput(f"compute.address: expected none for the engine {self.kind}, got {self.address!r}")
        if self.retries < 0:
            raise MalformedInput(f"compute.retries: expected 0 or more, got {self.retries}")
        if self.limit is not None and not self.limit > 0:
            raise MalformedInput(f"limit: expected more than 0 s, got {self.limit}")


def worker_count(asked: int | str) -> int:
    """`auto` is one per core that this process may use."""
    if asked == "auto" and not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len(os.sched_getaffinity(0)) if asked == "auto" else int(asked)


def lost(times: int, why: str, machine: bool) -> Lost:
    told = "once" if times == 1 else f"{times} times"
    return Lost(f"the worker process died on it {told} ({why})", machine)


def too_slow(limit: float) -> Lost:
    return Lost(f"given up after {limit:g} s (extract.max_seconds)")
