"""One training run of the pipeline, whole. In: features on disk. Out: a checkpoint and its history."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pandas as pd
import torch
from torch import nn

from lacuna.compute import distributed
from lacuna.data.batches import InputSpec
from lacuna.data.samples import Samples, polarity, read_samples
from lacuna.data.scaler import Scaler
from lacuna.data.task import Inputs, Task, check_task, class_names
from lacuna.mask.after_loss import made_again
from lacuna.params import plugin
from lacuna.storage import pretrained
from lacuna.storage.cache import default_root, digest_of
from lacuna.storage.features import Origin
from lacuna.storage.files import digest_of_file, replacing
from lacuna.train import checkpoint
from lacuna.train.checkpoint import Card
from lacuna.train.feed import Loss
from lacuna.train.plan import Plan, digests_of
from lacuna.train.resume import read_progress, write_progress
from lacuna.train.trainer import Data, History, Progress, Settings, choose_device, fit
from lacuna.types import SPLITS, TOKEN_COLUMNS, UNKNOWN

VERSIONS = ("torch", "transformers", "numpy")


@dataclass(frozen=True)
class Corpus:
    """Samples as a model is to see them (scaled, labels as the task has them), by split, and what made them.

    A sample is read when it is asked for: a split that nobody asks is not read.
    """

    splits: dict[str, Samples]
    origins: dict[str, Origin]
    scaler: Scaler
    task: Task


def read_corpus(folder: Path, inputs: Inputs, scaler: Scaler | None = None) -> Corpus:
    """The samples of `processed/<dataset>`, also unlabelled; a scaler is fitted on the train split if none is given."""
    check_task(folder, inputs.task)
    samples, origins = read_samples(folder, inputs.features)
    if inputs.task == "polarity":
        samples = samples.relabelled(polarity)
    splits = {split: samples.of_split(split) for split in (*SPLITS, UNKNOWN)}
    if scaler is None:
        scaler = fit_scaler(splits["train"]) if inputs.standardize else Scaler({}, {})
    labels = (clip.label for clip in samples.clips if clip.labels)
    task, again = Task.of(inputs.task, labels, inputs.label_range), made_again(origins, scaler)
    splits = {name: members.scaled(scaler).bound(again, task.classes) for name, members in splits.items()}
    return Corpus(splits, origins, scaler, task)


def fit_scaler(train: Samples) -> Scaler:
    """The scaler of a train split; token ids are no quantities."""
    return Scaler.fit({m: store for m, store in train.stores.items() if store.columns != TOKEN_COLUMNS})


@dataclass(frozen=True)
class Fitting:
    """A run under way, as its observers see it: the corpus, the model and its card, the loss that it is trained under,
    and a folder for what an observer keeps until the run is over, which survives a kill."""

    corpus: Corpus
    model: nn.Module
    card: Card
    loss: Loss
    kept: Path


class Observer(Protocol):
    """Called after each epoch, and once with the run's folder when the run is over.

    One that also has `measure(model) -> float` (lower is better) chooses the epoch in place of the validation loss.
    """

    def __call__(self, progress: Progress) -> None: ...

    def finish(self, folder: Path) -> None: ...


def train_model(
    made: Plan,
    processed: Path,
    seed: int,
    folder: Path,
    observers: Sequence[Callable[[Fitting], Observer]] = (),
    device: str = "auto",
) -> tuple[Card, History]:
    """Train one model with one seed on `processed` and write its checkpoint and history.csv into `folder`.

    A run that was killed goes on after the last epoch that was kept and ends with the same numbers.
    """
    place, inputs = distributed.join(choose_device(device)), made.inputs
    corpus = read_corpus(processed, inputs)
    spec = InputSpec.of(corpus.splits["train"], inputs.lengths, corpus.task.classes, inputs.label_range)
    torch.manual_seed(seed)
    model, card = made.module.Model(made.model, spec), _card(made, corpus, spec, processed.name, seed)
    read = [digest_of_file(processed / "clips.jsonl"), *digests_of(processed, inputs.features).values()]
    read.append(_weights(made.model))
    key = digest_of(made.name, made.values(), asdict(spec), seed, *read)
    state = default_root() / "training" / f"{key}.safetensors"
    data = Data(corpus.splits["train"], corpus.splits["valid"], spec, _pattern(made.training))
    fitting = Fitting(corpus, model, card, data.loss(made.training, seed), state.with_suffix(""))
    watching = [observer(fitting) for observer in observers]
    criterion = next((one.measure for one in watching if hasattr(one, "measure")), None)
    # Observers come first: what a state on disk has been through, they have seen.
    keepers: list[Callable[[Progress], None]] = [*watching, Keeper(state)]
    if distributed.rank():
        keepers.clear()  # the first process writes for all
    history = fit(
        model, replace(data, criterion=criterion), made.training, seed, place, read_progress(state),
        lambda progress: [keep(progress) for keep in keepers],
    )  # fmt: skip
    names = class_names(processed) if inputs.task == "class" else ()
    card = replace(card, best_epoch=history.best, classes=names)
    if distributed.rank() == 0:
        checkpoint.save(folder, model, card)
        write_history(folder / "history.csv", history)
        for observer in watching:
            observer.finish(folder)
        state.unlink(missing_ok=True)
    return card, history


def _card(made: Plan, corpus: Corpus, spec: InputSpec, dataset: str, seed: int) -> Card:
    return Card(
        model=made.file,
        settings=asdict(made.model),
        spec=spec,
        task=made.inputs.task,
        label_range=made.inputs.label_range,
        origins=corpus.origins,
        scaler=checkpoint.scaler_values(corpus.scaler),
        training=asdict(made.training),
        seed=seed,
        params_hash=digest_of(made.values()),
        dataset=dataset,
        versions={p: importlib.metadata.version(p) for p in VERSIONS},
    )


class Keeper:
    """Writes a run's state after an epoch, at most once in `every` seconds: it is three times the model's size."""

    def __init__(self, path: Path, every: float = 30.0) -> None:
        self._path, self._every, self._last = path, every, time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._last >= self._every:
            write_progress(self._path, progress)
            self._last = time.monotonic()


def write_history(path: Path, history: History) -> None:
    """One row an epoch, one column a loss term."""
    with replacing(path) as temporary:
        pd.DataFrame(history.rows).to_csv(temporary, index=False, float_format="%.6g")


def _weights(model_settings: object) -> str:
    """The fingerprint of a text encoder in a folder, which may hold other weights by the time a killed run goes on."""
    source = getattr(model_settings, "encoder", None)
    return pretrained.fingerprint(source) if isinstance(source, str) and Path(source).is_dir() else ""


def _pattern(settings: Settings) -> ModuleType | None:
    return None if settings.pattern == "none" else plugin("patterns", settings.pattern)
