"""One run of a stage. In: a script's `main`. Out: its errors in one line, and what it cost in processed/stages.jsonl.

What is wrong with the input, and what is wrong with the machine, both end the stage with status 1: DVC then keeps none
of its outs.

DVC does not know that file, so it makes nothing run again and is in no out: a stage's outs have the same bytes however
long they took. The report shows the last run of each stage.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lacuna.storage.cache import default_root
from lacuna.storage.files import reading
from lacuna.storage.runs import Run
from lacuna.types import MalformedInput

if sys.platform != "win32":  # which counts memory otherwise
    import resource

LOG = Path("processed", "stages.jsonl")


@dataclass(frozen=True)
class Cost:
    """A stage's run: its words, s of wall time, bytes of its largest process's memory, and the device it used."""

    stage: str
    words: tuple[str, ...]
    seconds: float
    memory: int | None
    device: str


def run_stage(main: Callable[..., None]) -> None:
    """Run a stage's `main` with the command line's words; what goes wrong is told in one line.

    Where an equal run was kept (`lacuna train`, `lacuna evaluate`), its outs are put into place instead.
    """
    stage, words, start = Path(sys.argv[0]).stem, tuple(sys.argv[1:]), time.monotonic()
    tell_what_is_done()
    with told_in_one_line(stage):
        if _placed(stage, words):
            print(f"{stage} {' '.join(words)}: found in the cache", flush=True)
            return
        main(*words)
        cost = Cost(stage, words, round(time.monotonic() - start, 2), _memory(), _device())
        _note(cost)


def _placed(stage: str, words: tuple[str, ...]) -> bool:
    """Whether the cache had the run's outs; not asked by one of several processes that train together."""
    root = default_root()
    if "WORLD_SIZE" in os.environ or not (root / "runs" / stage).is_dir():
        return False
    run = Run.of(stage, words)
    return run is not None and run.place(root)


def _note(cost: Cost) -> None:
    """Append a line; what a full disk took of it is taken back, so that the next line is one."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("ab", buffering=0) as file:
        line = (json.dumps(asdict(cost)) + "\n").encode()
        written = file.write(line)
        if written < len(line):
            file.truncate(file.tell() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(LOG))


def tell_what_is_done() -> None:
    """Show what the library logs, on the error stream: for stages and the command, which are programs of their own."""
    from rich.console import Console
    from rich.logging import RichHandler

    log = logging.getLogger("lacuna")
    if not any(isinstance(handler, RichHandler) for handler in log.handlers):
        log.addHandler(RichHandler(console=Console(stderr=True), show_time=False, show_path=False, show_level=False))
        log.setLevel(logging.INFO)


@contextmanager
def told_in_one_line(who: str) -> Iterator[None]:
    """Within it, the input's errors and the machine's (a full disk, no permission, no memory) end the program."""
    try:
        yield
    except (MalformedInput, OSError, MemoryError) as error:
        sys.exit(shown(" ".join(f"{who}: {told(error)}".split())))


def told(error: Exception) -> str:
    """An error in one line, and whose it is."""
    if isinstance(error, MalformedInput):
        return str(error)
    if isinstance(error, MemoryError):
        return f"this machine: out of memory; free some, or set fewer workers or smaller batches ({error})"
    if isinstance(error, OSError) and error.errno is not None:
        return f"this machine: {error.filename or 'a file'}: {os.strerror(error.errno)}; what was begun is not kept"
    return f"this machine: {error}; what was begun is not kept"


def shown(text: object) -> str:
    """Text from files and file names as a screen may show it: commands to the terminal stand there as letters."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(text))


def read_costs(path: Path, known: Iterable[str]) -> list[Cost]:
    """The last run of each stage with the same words, all of them `known`, by the order in which stages first ran."""
    if not path.is_file():
        return []
    with reading(path, "a stage's cost in each line", "delete it: only the report shows it"):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        costs = [Cost(**line | {"words": tuple(line["words"])}) for line in lines]
    last = {(cost.stage, cost.words): cost for cost in costs if {*cost.words} <= {*known}}
    order = list(dict.fromkeys(cost.stage for cost in costs))
    return sorted(last.values(), key=lambda cost: order.index(cost.stage))


def _memory() -> int | None:
    """Bytes: the most that this process or one of its workers held."""
    if sys.platform == "win32":
        return None
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most * (1 if sys.platform == "darwin" else 1024)


def _device() -> str:
    """The accelerator, where torch was asked to use it, and the most of its memory that was held."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return "CPU"
    return f"{torch.cuda.get_device_name()}, {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"
