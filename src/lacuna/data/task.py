"""What models read of one data set, and are asked for. In: names, labels, their range. Out: `Inputs`; a `Task`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lacuna.params import checked
from lacuna.storage.files import read_json, replacing
from lacuna.types import MalformedInput

LAYOUT = "layout.json"


@dataclass(frozen=True)
class Inputs:
    """What a model reads of a dataset: a features file a modality, the labels as the `task` has them, whether columns
    are scaled by the train split, the most frames of a modality, and the range of labels."""

    features: Sequence[str]
    task: str = "regression"
    standardize: bool = True
    lengths: Mapping[str, int] = field(default_factory=dict)
    label_range: tuple[float, float] = (-3.0, 3.0)


@dataclass(frozen=True)
class Task:
    """`task` as in params.yaml (regression, polarity or class), the `scale` of scores ("mosi" for [-3, 3], "sims" for
    [-1, 1], "" for classes) and the number of `classes` (0: scores)."""

    task: str
    scale: str
    classes: int

    @classmethod
    def of(cls, task: str, labels: Iterable[float], label_range: tuple[float, float]) -> Task:
        """The task over these labels (not NaN), whose range is `label_range`; MalformedInput where classes are none."""
        if task == "regression":
            return cls(task, "sims" if label_range[1] <= 1 else "mosi", 0)
        if task == "polarity":
            return cls(task, "", 3)
        known = list(labels)
        odd = next((label for label in known if label < 0 or not float(label).is_integer()), None)
        if odd is not None:
            raise MalformedInput(f"train.task: class expects labels that are whole numbers from 0, got {odd:g}")
        return cls(task, "", 1 + int(max(known)))


@dataclass(frozen=True)
class Layout:
    """What stage prepare found of the raw data: the layout's name, the digest of its code where it gives features too,
    and the names of its classes, if it has any. In and out: processed/<dataset>/layout.json."""

    layout: str
    code: str | None
    classes: Sequence[str] = ()

    def write(self, processed: Path) -> None:
        """The file, whole or not at all."""
        with replacing(processed / LAYOUT) as temporary:
            temporary.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")


def check_task(processed: Path, task: str, key: str = "train.task") -> None:
    """Refuse to learn the numbers of classes as if they were scores."""
    names = class_names(processed)
    if names and task != "class":
        told = f"{task!r}, but labels of {processed.name} are classes: {', '.join(names)}"
        raise MalformedInput(f"{key}: expected class (or prepare.target: sentiment), got {told}")


def class_names(processed: Path) -> tuple[str, ...]:
    """Names of the classes of processed/<dataset>, as its layout gave them to `prepare`; none where it has none."""
    path = processed / LAYOUT
    if not path.is_file():
        return ()
    return tuple(checked(Layout, read_json(path, "delete it and run `dvc repro prepare`"), str(path)).classes)
