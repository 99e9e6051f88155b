"""TFN's checkpoint of MMSA. In: its state dict. Out: ours, settings and spec."""

from __future__ import annotations

import re

from torch import Tensor

from lacuna.commands.published import _subnets

_UNREAD = ("output_range", "output_shift")  # constants: ±3
_LAYERS = {"1": "first", "2": "second", "3": "out"}


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    own = {name: tensor for name, tensor in _subnets.bare(state).items() if name not in _UNREAD}
    return {_ours(name): tensor for name, tensor in own.items()}


def _ours(name: str) -> str:
    return _subnets.ours(re.sub(r"^post_fusion_layer_(\d)", lambda m: _LAYERS[m[1]], name))


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of tfn.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    renamed = rename(state)
    settings, widths = _subnets.describe(renamed)
    outputs = len(renamed["out.bias"])
    settings["fusion"] = len(renamed["first.bias"])
    return settings, {"widths": widths, "lengths": _subnets.lengths(widths), "classes": 0 if outputs == 1 else outputs}
