"""Where an extractor computes. In: a device's name. Out: the device."""

from __future__ import annotations

import torch

from lacuna.types import MalformedInput


def device_of(name: str) -> torch.device:
    """The device of a name; "auto" is a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise MalformedInput(f"device: expected auto, cpu or cuda[:n], got {name!r}") from error
