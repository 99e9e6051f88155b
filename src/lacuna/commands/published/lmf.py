"""LMF's checkpoint of MMSA. In: its state dict. Out: ours, settings and spec."""

from __future__ import annotations

import re

from torch import Tensor

from lacuna.commands.published import _subnets

_MODALITIES = {"text": "text", "audio": "audio", "video": "vision"}
_RULES = (
    (r"^(text|audio|video)_factor$", lambda m: f"fusion.factors.{_MODALITIES[m[1]]}"),
    (r"^fusion_(weights|bias)$", r"fusion.\1"),
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    return {_ours(name): tensor for name, tensor in _subnets.bare(state).items()}


def _ours(name: str) -> str:
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return _subnets.ours(name)


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of lmf.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    renamed = rename(state)
    settings, widths = _subnets.describe(renamed)
    settings["rank"] = renamed["fusion.weights"].shape[1]
    outputs = renamed["fusion.bias"].shape[1]
    return settings, {"widths": widths, "lengths": _subnets.lengths(widths), "classes": 0 if outputs == 1 else outputs}
