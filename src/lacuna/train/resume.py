"""The state of a training run between epochs, on disk. In: `Progress`. Out: the same `Progress` after a kill.

Tensors go into safetensors and plain values into JSON, in one file that is replaced whole and holds its own digest:
nothing unpickles. A damaged state is told and dropped: training starts over, as it would without one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from lacuna.storage.files import reading, replacing
from lacuna.storage.tensors import read_tensors, write_tensors
from lacuna.train.trainer import History, Progress
from lacuna.types import MalformedInput

REMEDY = "training starts over"


def write_progress(path: Path, progress: Progress) -> None:
    """Replace the state at `path`."""
    tensors = {f"model.{k}": v for k, v in progress.model.items()}
    tensors |= {f"best.{k}": v for k, v in progress.best.items()}
    tensors |= {f"average.{k}": v for k, v in progress.average.items()}
    moments: dict[str, dict[str, object]] = {}
    for index, state in progress.optimizer["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                moments.setdefault(str(index), {})[name] = value
    plain = {
        "epoch": progress.epoch,
        "rows": progress.history.rows,
        "best": progress.history.best,
        "groups": progress.optimizer["param_groups"],
        "moments": moments,
        "schedule": {k: v for k, v in progress.schedule.items() if not k.startswith("lr_lambdas")},
    }
    with replacing(path) as temporary:
        copies = {k: v.detach().cpu().clone() for k, v in tensors.items()}
        write_tensors(temporary, copies, json.dumps(plain))


def read_progress(path: Path) -> Progress | None:
    """The state at `path`; None where no run was interrupted, or its state is damaged, which is told."""
    if not path.is_file():
        return None
    try:
        tensors, note, _ = read_tensors(path, REMEDY)
        with reading(path, "the state of a training run", REMEDY):
            return _progress(tensors, json.loads(note))
    except MalformedInput as error:
        print(f"lacuna: {error}", file=sys.stderr, flush=True)
        path.unlink(missing_ok=True)  # another process of this training may have been faster
        return None


def _progress(tensors: dict[str, Tensor], plain: dict[str, Any]) -> Progress:
    state: dict[int, dict[str, object]] = {int(i): dict(values) for i, values in plain["moments"].items()}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            index, _, name = rest.partition(".")
            state.setdefault(int(index), {})[name] = value
    schedule = plain["schedule"]
    if schedule and "mode" not in schedule:
        schedule["lr_lambdas"] = [None] * len(plain["groups"])
    return Progress(
        plain["epoch"],
        History(plain["rows"], plain["best"]),
        _part(tensors, "model."),
        _part(tensors, "best."),
        {"state": state, "param_groups": plain["groups"]},
        schedule,
        _part(tensors, "average."),
    )


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
