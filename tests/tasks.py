"""What tests give to workers. Light to import, since each worker imports it. In: items. Out: what the tests count."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

from lacuna.extract.cached import Extraction
from lacuna.types import Clip


class KeyedHere(Extraction):
    """An extraction of which no worker may ask for a clip's key, and so hash its media."""

    def key(self, clip: Clip) -> str:
        if multiprocessing.parent_process() is not None:
            raise OSError("a worker asked for a key")
        return super().key(clip)


def raylet(item: tuple[int, float]) -> tuple[int, str]:
    """The item's number, and which machine of a Ray cluster had it for so many seconds."""
    time.sleep(item[1])
    return item[0], os.environ["RAY_RAYLET_PID"]


def at_once(item: tuple[int, str]) -> int:
    """How many of these work at the same time, this one included."""
    mark = Path(item[1], f"{item[0]}.now")
    mark.touch()
    time.sleep(0.3)
    count = len(list(mark.parent.glob("*.now")))
    mark.unlink()
    return count


def visible(_: int) -> str:
    """The GPUs that Ray lets a task see."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


def counting(item: tuple[int, str]) -> int:
    """Leaves a file; the first item waits for 300 others, or until no more come, and tells how many there were."""
    number, folder = item
    if number:
        Path(folder, str(number)).touch()
        return number
    count, since = -1, time.monotonic()
    while count < 300 and time.monotonic() - since < 5:
        found = len(os.listdir(folder))
        count, since = found, time.monotonic() if found != count or not found else since
        time.sleep(0.02)
    return count


def alive(pid: int) -> bool:
    """Whether a process runs: one that ended and that no one has asked about is a zombie."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status


def wait_until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Fails when it is not so after these seconds."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    assert true()
