"""Metrics while a model trains, in TensorBoard, W&B, MLflow or DVCLive. In: `Progress` after each epoch. Out: theirs.

accelerate's trackers write them. What goes to files lies under live/, which Git ignores. Trackers are no part of the
pipeline: they change no result, and neither dvc.yaml nor a DVC experiment is written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lacuna.train.run import Fitting
from lacuna.train.trainer import Progress
from lacuna.types import MalformedInput

ROOT = Path("live")
PROJECT = "lacuna"
# What they raise where nobody is logged in, no server answers, or a repository has no commit.
REFUSALS = {
    "wandb": "wandb.errors.Error",
    "mlflow": "mlflow.exceptions.MlflowException",
    "dvclive": "scmrepo.exceptions.SCMError",
}


class Tracking:
    """An observer of training that tells every tracker each epoch's losses, and at first what the run is."""

    def __init__(self, names: Sequence[str], folder: Path, told: Mapping[str, str], fitting: Fitting) -> None:
        """`told`: what the run is, and where its scores will be: shown as its settings."""
        self._told, self._folder = 0, folder
        self._trackers = [_started(name, folder, {**told, **_flat(fitting.card.training)}) for name in names]

    def __call__(self, progress: Progress) -> None:
        """All rows at first: a run that was killed goes on with the whole of its curve."""
        for row in progress.history.rows[self._told :]:
            named = {_grouped(name): value for name, value in row.items()}
            step = int(named.pop("epoch"))
            for tracker in self._trackers:
                tracker.log(named, step=step)
        self._told = len(progress.history.rows)

    def finish(self, folder: Path) -> None:
        """The run is over."""
        for tracker in self._trackers:
            tracker.finish()


def _started(name: str, folder: Path, told: Mapping[str, str | int | float | bool]) -> Any:  # noqa: ANN401 (accelerate's)
    tracker = _tracker(name, folder)
    module, _, kind = REFUSALS.get(name, "builtins.ConnectionError").rpartition(".")
    try:
        if hasattr(tracker, "start"):
            tracker.start()
        tracker.store_init_configuration(told)
    except getattr(import_module(module), kind) as error:
        said = str(error).splitlines()[0]
        hint = " (git add -A && git commit -m start)" if name == "dvclive" else ""
        raise MalformedInput(f"train.track: expected {name} to start, it said: {said}{hint}") from error
    return tracker


def _tracker(name: str, folder: Path) -> Any:  # noqa: ANN401 (accelerate's)
    from accelerate import PartialState, tracking  # slow to import, and seldom asked for

    PartialState()  # or its log refuses to be written
    if name not in {known.value for known in tracking.get_available_trackers()}:
        raise MalformedInput(f"train.track: expected trackers that are installed (pip install {name}), got {name!r}")
    run = "/".join(folder.parts[-3:])
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DIR", str(folder))
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{(ROOT / 'mlflow.db').absolute().as_posix()}")
    options: dict[str, dict[str, object]] = {
        "tensorboard": {"run_name": "tensorboard", "logging_dir": folder},
        "wandb": {"run_name": PROJECT, "name": run},
        "mlflow": {"experiment_name": PROJECT, "run_name": run},
        "dvclive": {"dir": str(folder), "dvcyaml": None, "save_dvc_exp": False},
    }
    return tracking.LOGGER_TYPE_TO_CLASS[name](**options[name])


def _grouped(name: str) -> str:
    """A column of history.csv as trackers group them: train/adv beside valid/adv."""
    return name.replace("_", "/", 1) if name.startswith(("train_", "valid_")) else name


def _flat(settings: Mapping[str, object]) -> dict[str, str | int | float | bool]:
    """Settings as trackers take them: a value that is no number or word is told as words."""
    return {k: v if isinstance(v, str | int | float | bool) else str(v) for k, v in settings.items()}
