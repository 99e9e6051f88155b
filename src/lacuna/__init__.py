"""Lacuna: from raw videos to reproducible features, seeded incomplete variants and robust sentiment models.

import lacuna
answer = lacuna.predict("clip.mp4", "processed/demo/models/lnln/1111", text="what a day")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lacuna.data.batches import Batch
    from lacuna.data.samples import Sample
    from lacuna.train.opened import Opened

__version__ = "0.1.0"
__all__ = ["collate", "load", "open", "predict"]

import_module("lacuna.predict")  # the room, before the function of that name takes its place as an attribute


def predict(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """See `lacuna.predict.run.predict`, which is imported on first use: a plain `import lacuna` stays fast."""
    return import_module("lacuna.predict.run").predict(*args, **kwargs)


def load(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """See `lacuna.predict.run.load`."""
    return import_module("lacuna.predict.run").load(*args, **kwargs)


def open(
    folder: Path | str,
    features: Sequence[str],
    split: str = "train",
    pattern: str = "",
    rate: float | str = 0.5,
    seed: int = 0,
) -> Opened:
    """The samples of `processed/<dataset>` as a torch Dataset: read when asked for, scaled by the train split, and,
    where a `pattern` is named, without the frames that it takes at this `rate` and `seed`. See `lacuna.train.opened`."""
    opened = import_module("lacuna.train.opened")
    return opened.open_dataset(folder, features, split, opened.Loss(pattern, rate, seed) if pattern else None)


def collate(samples: Sequence[Sample], lengths: Mapping[str, int] | None = None) -> Batch:
    """Samples as one padded batch, for DataLoader's `collate_fn`. See `lacuna.data.batches.collate`."""
    return import_module("lacuna.data.batches").collate(samples, lengths)
