"""ALMT's published checkpoint. In: its state dict, BERT included. Out: ours, and the settings and spec behind it."""

from __future__ import annotations

from torch import Tensor

from lacuna.commands.published import _bert
from lacuna.commands.published._names import LNLN_BLOCKS, MODALITIES, Rule, bare, count, renamed

BERT = "bertmodel.model."
_HEAD_WIDTH = 16  # of the hyper-modality's attention
_RULES: tuple[Rule, ...] = (
    (r"^h_hyper$", "hyper"),
    (r"^proj_([lav])\.0\.", lambda m: f"embeddings.{MODALITIES[m[1]]}.project."),
    (r"^proj_([lav])\.1\.", lambda m: f"embeddings.{MODALITIES[m[1]]}.transformer."),
    (r"^l_encoder\.", "guide_encoder."),
    (r"^h_hyper_layer\.layers\.(\d+)\.0\.", r"hyper_layers.\1."),
    (r"^fusion_layer\.", "fusion."),
    (r"^regression_layer\.0\.", "head."),
    *LNLN_BLOCKS,
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    state = bare(state)
    own = {name: tensor for name, tensor in state.items() if not name.startswith("bertmodel.")}
    return renamed(own, _RULES) | _bert.rename(state, BERT)


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of almt.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    state = bare(state)
    ours = rename(state)
    tokens, width = ours["hyper"].shape[1:]
    first = "embeddings.text.transformer.layers.0."
    settings: dict[str, object] = {
        "width": width,
        "tokens": tokens,
        "heads": len(ours["hyper_layers.0.to_q.weight"]) // _HEAD_WIDTH,
        "hyper_head": _HEAD_WIDTH,
        "hidden": len(ours[f"{first}feed.1.weight"]),
        "depth": count(ours, "embeddings.text.transformer.layers."),
        "hyper_depth": count(ours, "hyper_layers."),
        "fusion_depth": count(ours, "fusion.layers."),
    }
    outputs = len(ours["head.bias"])
    widths = {m: ours[f"embeddings.{m}.project.weight"].shape[1] for m in MODALITIES.values()}
    places = {m: ours[f"embeddings.{m}.transformer.positions"].shape[1] for m in MODALITIES.values()}
    spec: dict[str, object] = {
        "widths": widths,
        "lengths": {m: count_ - tokens for m, count_ in places.items()},
        "classes": 0 if outputs == 1 else outputs,
    }
    if any(name.startswith(BERT) for name in state):
        settings["encoder"] = _bert.describe(state, BERT)
        spec |= {"widths": widths | {"text": 3}, "tokens": True}
    return settings, spec
