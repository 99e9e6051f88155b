"""What a name in `models` stands for on one dataset. In: the section `train`. Out: a `Plan`, as values and as JSON.

Stage `models` writes a model's plan; training and evaluation depend on that file and not on all of the section `train`.
So what is said of one model, or the code of one, makes no other model run again; nor do features it does not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lacuna.data.task import Inputs
from lacuna.params import Train, checked, plugin
from lacuna.source.closure import digest, plugin_file
from lacuna.source.reads import encoding_after_loss
from lacuna.storage.files import digest_of_file, replacing
from lacuna.train.trainer import Settings
from lacuna.types import MalformedInput


@dataclass(frozen=True)
class Plan:
    """A model's name, its file, the settings of its architecture (the file's own `Settings`) and of its training, what
    it reads of the dataset, and the protocol that its checkpoints are chosen by."""

    name: str
    file: str
    model: Any
    training: Settings
    inputs: Inputs
    protocol: str = "validation"

    @property
    def module(self) -> ModuleType:
        """The model's file, imported."""
        return plugin("models", self.file)

    def values(self) -> dict[str, object]:
        """All that decides a training run beside data, seed and shared code, as plain values."""
        told = asdict(self.inputs) | {"model": asdict(self.model), "training": asdict(self.training)}
        return {"file": self.file, "code": digest([*self.files()]), "protocol": self.protocol, **told}

    def files(self) -> Iterator[Path]:
        """The model's file, those of the patterns that it is trained and selected under, and of the extractors that
        encode again what a loss leaves; with all that they import they decide a run."""
        yield plugin_file("models", self.file)
        for pattern in {self.training.pattern, self.training.select_pattern} - {"none"}:
            yield plugin_file("patterns", pattern)
        for extractor in encoding_after_loss(self.inputs.features):
            yield plugin_file(*extractor)


def plan(train: Train, name: str, dataset: str, label_range: tuple[float, float]) -> Plan:
    """Every setting of a model on a dataset with labels in a range, checked."""
    own = train.of_model(name, dataset)
    return Plan(
        name=name,
        file=train.file_of(name),
        model=train.model_settings(name, dataset),
        training=checked(Settings, train.training_settings(name, dataset), f"train.{name}.training"),
        inputs=Inputs(own.features, own.task, own.standardize, own.lengths, label_range),
        protocol=own.protocol,
    )


def digests_of(processed: Path, features: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of each features file, by name."""
    told = {}
    for name in features:
        file = processed / "features" / f"{name.partition('/')[0]}.h5"
        if not file.is_file():
            raise MalformedInput(f"{file}: expected features to train on, found none (run `dvc repro extract`)")
        told[name] = digest_of_file(file)
    return told


def write_plan(processed: Path, made: Plan) -> None:
    """`settings/<model>.json`: the plan, and what its features files hold, so that others may change as they like."""
    with replacing(_place(processed, made)) as temporary:
        temporary.write_text(_told(processed, made), encoding="utf-8")


def check_plan(processed: Path, made: Plan) -> None:
    """MalformedInput unless the plan on disk is what stage `models` would write now."""
    path = _place(processed, made)
    if not path.is_file() or path.read_text(encoding="utf-8") != _told(processed, made):
        raise MalformedInput(
            f"{path}: expected the plan of today's code, settings and features (run `dvc repro models`)"
        )


def _place(processed: Path, made: Plan) -> Path:
    return processed / "settings" / f"{made.name}.json"


def _told(processed: Path, made: Plan) -> str:
    return json.dumps(made.values() | {"read": digests_of(processed, made.inputs.features)}, indent=1, sort_keys=True)
