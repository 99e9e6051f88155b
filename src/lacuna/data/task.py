"""What models read of one data set, and are asked for. In: names, labels, their range. Out: `Inputs`; a `Task`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lacuna.params import checked
from lacuna.storage.files import read_json, replacing

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
        """The task over these labels (not NaN), whose range is `label_range`."""
        if task == "regression":
            return cls(task, "sims" if label_range[1] <= 1 else "mosi", 0)
        return cls(task, "", 3 if task == "polarity" else 1 + int(max(labels)))


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


def class_names(processed: Path) -> tuple[str, ...]:
    """Names of the classes of processed/<dataset>, as its layout gave them to `prepare`; none where it has none."""
    path = processed / LAYOUT
    if not path.is_file():
        return ()
    return tuple(checked(Layout, read_json(path, "delete it and run `dvc repro prepare`"), str(path)).classes)
