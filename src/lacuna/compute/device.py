"""Where to compute, and in which precision. In: names. Out: the device, the type of numbers; memory that is kept."""

from __future__ import annotations

import ctypes
import sys

import torch

from lacuna.types import MalformedInput

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


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


def keep_memory() -> None:
    """Let the C library keep what tensors free, where it is glibc, for the rest of the process.

    Otherwise it gives every large block back, and each step asks for it anew, page by page: a tenth of the processor
    time of training on a CPU. The most memory that is held at a time stays the same.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
