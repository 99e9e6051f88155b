"""TFN's checkpoint of MMSA. In: its state dict. Out: ours, settings and spec."""

from __future__ import annotations

from torch import Tensor

from lacuna.commands.published import _mmsa, _names

_UNREAD = ("output_range", "output_shift")  # constants: ±3
_LAYERS = {"1": "first", "2": "second", "3": "out"}
_RULES: tuple[_names.Rule, ...] = (*_mmsa.RULES, (r"^post_fusion_layer_(\d)", lambda m: _LAYERS[m[1]]))


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    own = {name: t for name, t in _names.bare(state, *_mmsa.OUTER).items() if name not in _UNREAD}
    return _names.renamed(own, _RULES)


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of tfn.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    ours = rename(state)
    settings, widths = _mmsa.described(ours)
    return settings | {"fusion": len(ours["first.bias"])}, _mmsa.spec_of(widths, len(ours["out.bias"]))
