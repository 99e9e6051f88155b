"""LMF's checkpoint of MMSA. In: its state dict. Out: ours, settings and spec."""

from __future__ import annotations

from torch import Tensor

from lacuna.commands.published import _mmsa, _names

_RULES: tuple[_names.Rule, ...] = (
    *_mmsa.RULES,
    (r"^(text|audio|video)_factor$", lambda m: f"fusion.factors.{_mmsa.MODALITIES[m[1]]}"),
    (r"^fusion_(weights|bias)$", r"fusion.\1"),
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    return _names.renamed(_names.bare(state, *_mmsa.OUTER), _RULES)


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of lmf.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    ours = rename(state)
    settings, widths = _mmsa.described(ours)
    rank, outputs = ours["fusion.weights"].shape[1], ours["fusion.bias"].shape[1]
    return settings | {"rank": rank}, _mmsa.spec_of(widths, outputs)
