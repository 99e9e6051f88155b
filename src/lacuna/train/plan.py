"""What a name in `models` stands for on one dataset. In: params.yaml. Out: a `Plan`, as values and as JSON.

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

from lacuna.params import Params, Train, checked, plugin
from lacuna.source.closure import digest, plugin_file
from lacuna.source.reads import encoding_after_loss
from lacuna.storage.files import digest_of_file, replacing
from lacuna.train.trainer import Settings
from lacuna.types import MalformedInput

COMMON = ("features", "task", "standardize", "lengths", "protocol")  # of the section train; the rest changes no result


@dataclass(frozen=True)
class Plan:
    """A model's name, its file, the settings of its architecture (the file's own `Settings`) and of its training, the
    section `train` as the model has it, and the range of labels."""

    name: str
    file: str
    model: Any
    training: Settings
    train: Train
    label_range: tuple[float, float]

    @property
    def module(self) -> ModuleType:
        """The model's file, imported."""
        return plugin("models", self.file)

    def values(self) -> dict[str, object]:
        """All that decides a training run beside data, seed and shared code, as plain values."""
        told = {name: getattr(self.train, name) for name in COMMON}
        told |= {"label_range": self.label_range, "model": asdict(self.model), "training": asdict(self.training)}
        return {"file": self.file, "code": digest([*self.files()]), **told}

    def files(self) -> Iterator[Path]:
        """The model's file, those of the patterns that it is trained and selected under, and of the extractors that
        encode again what a loss leaves; with all that they import they decide a run."""
        yield plugin_file("models", self.file)
        for pattern in {self.training.pattern, self.training.select_pattern} - {"none"}:
            yield plugin_file("patterns", pattern)
        for extractor in encoding_after_loss(self.train.features):
            yield plugin_file(*extractor)


def plan(params: Params, dataset: str, name: str) -> Plan:
    """Every setting of a model, checked."""
    return Plan(
        name=name,
        file=params.train.file_of(name),
        model=params.train.model_settings(name, dataset),
        training=checked(Settings, params.train.training_settings(name, dataset), f"train.{name}.training"),
        train=params.train.of_model(name, dataset),
        label_range=params.prepare.of(dataset).label_range,
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
    told = made.values() | {"read": digests_of(processed, made.train.features)}
    with replacing(processed / "settings" / f"{made.name}.json") as temporary:
        temporary.write_text(json.dumps(told, indent=1, sort_keys=True), encoding="utf-8")
