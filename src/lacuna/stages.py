"""One run of a stage. In: a script's `main`. Out: its errors in one line, and what it cost in processed/stages.jsonl.

DVC does not know that file, so it makes nothing run again and is in no out: a stage's outs have the same bytes however
long they took. The report shows the last run of each stage.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from lacuna.types import MalformedInput

try:
    import resource
except ImportError:  # Windows counts memory otherwise
    resource = None

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
    """Run a stage's `main` with the command line's words; what is wrong with the input is told in one line."""
    stage, words, start = Path(sys.argv[0]).stem, tuple(sys.argv[1:]), time.monotonic()
    try:
        main(*words)
    except MalformedInput as error:
        sys.exit(f"{stage}: {error}")
    cost = Cost(stage, words, round(time.monotonic() - start, 2), _memory(), _device())
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(cost)) + "\n")


def read_costs(path: Path, known: Iterable[str]) -> list[Cost]:
    """The last run of each stage with the same words, all of them `known`, by the order in which stages first ran."""
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    costs = [Cost(**line | {"words": tuple(line["words"])}) for line in lines]
    last = {(cost.stage, cost.words): cost for cost in costs if {*cost.words} <= {*known}}
    order = list(dict.fromkeys(cost.stage for cost in costs))
    return sorted(last.values(), key=lambda cost: order.index(cost.stage))


def _memory() -> int | None:
    """Bytes: the most that this process or one of its workers held."""
    if resource is None:
        return None
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most * (1 if sys.platform == "darwin" else 1024)


def _device() -> str:
    """The accelerator, where torch was asked to use it, and the most of its memory that was held."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return "CPU"
    return f"{torch.cuda.get_device_name()}, {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"
