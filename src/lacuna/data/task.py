"""What models read of one data set, and are asked for. In: names, labels, their range. Out: `Inputs`; a `Task`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


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


def class_names(processed: Path) -> tuple[str, ...]:
    """Names of the classes of processed/<dataset>, as its layout gave them to `prepare`; none where it has none."""
    path = processed / "layout.json"
    return tuple(json.loads(path.read_text(encoding="utf-8")).get("classes", ())) if path.is_file() else ()
