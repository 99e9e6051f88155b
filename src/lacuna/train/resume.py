"""The state of a training run between epochs, on disk. In: `Progress`. Out: the same `Progress` after a kill.

Tensors go into safetensors and plain values into JSON, in one file that is replaced whole: nothing unpickles.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lacuna.storage.features import replacing
from lacuna.train.trainer import History, Progress


def write_progress(path: Path, progress: Progress) -> None:
    """Replace the state at `path`."""
    tensors = {f"model.{k}": v for k, v in progress.model.items()}
    tensors |= {f"best.{k}": v for k, v in progress.best.items()}
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
        copies = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        save_file(copies, temporary, {"progress": json.dumps(plain)})


def read_progress(path: Path) -> Progress | None:
    """The state at `path`, or None where no run was interrupted."""
    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        plain = json.loads(file.metadata()["progress"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
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
    )


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
