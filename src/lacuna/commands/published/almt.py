"""ALMT's published checkpoint. In: its state dict, BERT included. Out: ours, and the settings and spec behind it."""

from __future__ import annotations

from torch import Tensor

from lacuna.commands.published import _hyper
from lacuna.commands.published._names import Rule, count

_HEAD_WIDTH = 16  # of the hyper-modality's attention
_RULES: tuple[Rule, ...] = (
    (r"^l_encoder\.", "guide_encoder."),
    (r"^h_hyper_layer\.layers\.(\d+)\.0\.", r"hyper_layers.\1."),
    (r"^fusion_layer\.", "fusion."),
    (r"^regression_layer\.0\.", "head."),
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    return _hyper.rename(state, _RULES)


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of almt.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    ours = rename(state)
    shared, spec = _hyper.describe(state, ours)
    first = "embeddings.text.transformer.layers.0."
    settings = {
        "heads": len(ours["hyper_layers.0.to_q.weight"]) // _HEAD_WIDTH,
        "hyper_head": _HEAD_WIDTH,
        "hidden": len(ours[f"{first}feed.1.weight"]),
        "depth": count(ours, "embeddings.text.transformer.layers."),
        "hyper_depth": count(ours, "hyper_layers."),
        "fusion_depth": count(ours, "fusion.layers."),
    }
    return shared | settings, spec
