"""Lacuna: from raw videos to reproducible features, seeded incomplete variants and robust sentiment models.

import lacuna
answer = lacuna.predict("clip.mp4", "processed/demo/models/lnln/1111", text="what a day")
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["load", "predict"]

import_module("lacuna.predict")  # the room, before the function of that name takes its place as an attribute


def predict(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """See `lacuna.predict.run.predict`, which is imported on first use: a plain `import lacuna` stays fast."""
    return import_module("lacuna.predict.run").predict(*args, **kwargs)


def load(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """See `lacuna.predict.run.load`."""
    return import_module("lacuna.predict.run").load(*args, **kwargs)
