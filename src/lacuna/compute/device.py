"""Where to compute, and in which precision. In: names. Out: the device, the type of numbers."""

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


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """What matrices are multiplied in: bfloat16 where asked for, or where `auto` finds a GPU that has it."""
    auto = precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if precision == "bf16" or auto else torch.float32


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """Within it matrices are multiplied in `dtype`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)
