"""Trials of one model on one dataset, judged on validation alone. In: a `Search`. Out: the best settings.

Optuna draws the settings (tree-structured Parzen estimator) and ends trials that lag behind (median rule). Trials are
kept in a journal: a search that was killed, or is asked for more trials, goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from matplotlib.axes import Axes

from lacuna.commands.tune.space import DECADE, Choice, Range
from lacuna.figures.drawing import SERIES, WIDE, Picture, drawing
from lacuna.params import Train
from lacuna.storage.cache import digest_of
from lacuna.storage.files import replacing
from lacuna.train.plan import Plan, plan
from lacuna.train.run import Fitting, train_model
from lacuna.train.trainer import Progress
from lacuna.types import MalformedInput

TRIAL = "tuning_trial"  # the name that a trial's settings go by while it runs


@dataclass(frozen=True)
class Search:
    """What is searched: a model's settings on processed/<dataset>, within a space. A trial trains once a seed, as the
    section `train` says but for what is drawn."""

    processed: Path
    model: str
    space: Sequence[Choice | Range]
    train: Train
    label_range: tuple[float, float]
    seeds: Sequence[int]

    def plan(self) -> Plan:
        """The model as the section has it."""
        return plan(self.train, self.model, self.processed.name, self.label_range)

    def trial(self, drawn: Mapping[str, object]) -> Plan:
        """The model under the settings of a trial."""
        varied = Train(**(self.train.model_dump() | {TRIAL: like(self.train, self.model, drawn)}))
        return plan(varied, TRIAL, self.processed.name, self.label_range)

    @property
    def folder(self) -> Path:
        """Where journals, tables and figures of searches lie."""
        return self.processed / "tuning"


def tune(search: Search, trials: int) -> Any:  # noqa: ANN401
    """The Optuna study after `trials` trials in all; each minimises the validation loss."""
    optuna = _optuna()
    search.trial({one.key: one.first for one in search.space})  # a setting that there is not stops here
    study = optuna.create_study(
        storage=_storage(optuna, search),
        study_name=_name(search),
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=search.seeds[0]),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
    )
    left = trials - len([trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")])
    if left > 0:
        study.optimize(partial(_tried, search), n_trials=left)
    return study


def _optuna() -> Any:  # noqa: ANN401
    try:
        import optuna
    except ImportError as error:
        raise MalformedInput("tune: expected the package optuna (pip install 'lacuna[tune]'), found none") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what stops a trial is told in one line
    return optuna


def _storage(optuna: Any, search: Search) -> Any:  # noqa: ANN401
    search.folder.mkdir(parents=True, exist_ok=True)
    backend = optuna.storages.journal.JournalFileBackend(str(search.folder / f"{search.model}.journal"))
    return optuna.storages.JournalStorage(backend)


def _name(search: Search) -> str:
    """Trials under other settings, code or ranges are of another study."""
    return f"{search.model} {digest_of(search.plan().values(), [repr(one) for one in search.space])[:12]}"


def _tried(search: Search, trial: Any) -> float:  # noqa: ANN401
    """The best validation loss of the model under the trial's settings, the mean over the seeds."""
    made = search.trial({one.key: one.draw(trial) for one in search.space})
    losses: list[float] = []
    with TemporaryDirectory() as folder, _cache(folder):
        for seed in search.seeds:
            watch: list[Callable[[Fitting], Any]] = [] if losses else [lambda fitting: _Watch(trial)]
            _, history = train_model(made, search.processed, seed, Path(folder, str(seed)), watch, search.train.device)
            losses.append(history.best_loss)
    return sum(losses) / len(losses)


@contextmanager
def _cache(folder: str) -> Iterator[None]:
    """What a trial keeps to go on after a kill goes with the trial."""
    before = os.environ.get("LACUNA_CACHE")
    os.environ["LACUNA_CACHE"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["LACUNA_CACHE"]
        else:
            os.environ["LACUNA_CACHE"] = before


class _Watch:
    """Ends a trial whose validation loss lags behind the others' at the same epoch."""

    def __init__(self, trial: Any) -> None:  # noqa: ANN401
        self._trial = trial

    def __call__(self, progress: Progress) -> None:
        self._trial.report(progress.history.best_loss, progress.epoch)
        if self._trial.should_prune():
            raise _optuna().TrialPruned

    def finish(self, folder: Path) -> None:
        """Nothing is kept."""


def like(train: Train, model: str, drawn: Mapping[str, object]) -> dict[str, Any]:
    """What stands under `train.<name>` for a model that is like `model` but for {"training.…" | "model.…": value}."""
    own = {key: value for key, value in (train.model_extra or {}).get(model, {}).items() if key != "like"}
    parts: dict[str, dict[str, object]] = {name: dict(own.get(name, {})) for name in ("training", "model")}
    for key, value in drawn.items():
        part, _, name = key.partition(".")
        parts[part][name] = value
    return {"like": train.file_of(model), **own, **{name: values for name, values in parts.items() if values}}


def write_study(search: Search, study: Any) -> str:  # noqa: ANN401
    """<model>.csv, .svg and .png of the trials and <model>.yaml, the best as a `like:` block, which is returned."""
    folder, model, done = search.folder, search.model, [t for t in study.trials if t.value is not None]
    if not any(t.state.name == "COMPLETE" for t in study.trials):
        raise MalformedInput(f"{folder}: expected at least one whole trial, got none")
    table = study.trials_dataframe(attrs=("number", "value", "params", "state", "duration"))
    with replacing(folder / f"{model}.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    picture = _picture(model, done, list(study.best_params))
    (folder / f"{model}.svg").write_bytes(picture.svg)
    (folder / f"{model}.png").write_bytes(picture.png)
    block = {"train": {f"{model}_tuned": like(search.train, model, study.best_params)}}
    told = yaml.safe_dump(block, sort_keys=False, allow_unicode=True)
    (folder / f"{model}.yaml").write_text(told, encoding="utf-8")
    return told


def _picture(model: str, trials: Sequence[Any], keys: Sequence[str]) -> Picture:
    """Validation loss over the trials, and against each setting."""
    caption = "Each dot is a trial; the line is the best so far. Trials that were ended early are hollow."
    with drawing(f"tuning-{model}", f"Trials of {model}", caption, WIDE) as drawn:
        first, *others = drawn.figure.subplots(1, 1 + len(keys), sharey=True, squeeze=False)[0]
        losses = [trial.value for trial in trials]
        first.plot([min(losses[: i + 1]) for i in range(len(losses))], color=SERIES[1])
        _dots(first, "trial", list(range(len(trials))), trials)
        first.set_ylabel("validation loss")
        for axes, key in zip(others, keys):
            _dots(axes, key, [trial.params[key] for trial in trials], trials)
    assert drawn.picture is not None  # the figure is finished
    return drawn.picture


def _dots(axes: Axes, name: str, values: Sequence[Any], trials: Sequence[Any]) -> None:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    shown: list[Any] = list(values) if numbers else [str(value) for value in values]
    paint = [SERIES[0] if trial.state.name == "COMPLETE" else "none" for trial in trials]
    axes.scatter(shown, [trial.value for trial in trials], s=16, color=paint, edgecolors=SERIES[0])
    axes.set_xlabel(name.partition(".")[2] or name)
    if numbers and min(shown) > 0 and max(shown) >= DECADE * min(shown):
        axes.set_xscale("log")
