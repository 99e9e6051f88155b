"""MulT's checkpoint of MMSA. In: its state dict. Out: ours, settings and spec."""

from __future__ import annotations

from torch import Tensor

from lacuna.commands.published import _bert, _mmsa, _names
from lacuna.commands.published._names import MODALITIES

BERT = "text_model.model."
_HEAD_WIDTH = 5  # of every published MulT
_BUFFERS = (".version", "._float_tensor")
_RULES: tuple[_names.Rule, ...] = (
    (r"^proj_([lav])\.", lambda m: f"project.{MODALITIES[m[1]]}."),
    (r"^trans_([lav])_with_([lav])\.", lambda m: f"crossmodal.{MODALITIES[m[1]]}_with_{MODALITIES[m[2]]}."),
    (r"^trans_([lav])_mem\.", lambda m: f"memory.{MODALITIES[m[1]]}."),
    (r"^proj1\.", "head.first."),
    (r"^proj2\.", "head.second."),
    (r"^out_layer\.", "head.out."),
    *_names.CROSSMODAL,
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    state = _names.bare(state, *_mmsa.OUTER)
    own = {n: t for n, t in state.items() if not n.startswith("text_model.") and not n.endswith(_BUFFERS)}
    return _names.renamed(own, _RULES) | _bert.rename(state, BERT)


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of mult.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    ours = rename(state)
    convolutions = {m: ours[f"project.{m}.weight"] for m in MODALITIES.values()}
    width = len(convolutions["text"])
    settings: dict[str, object] = {
        "width": width,
        "heads": width // _HEAD_WIDTH,
        "depth": _names.count(ours, "crossmodal.text_with_audio.layers."),
        "memory_depth": _names.count(ours, "memory.text.layers."),
        "kernels": {m: weight.shape[2] for m, weight in convolutions.items()},
    }
    spec = _mmsa.spec_of({m: weight.shape[1] for m, weight in convolutions.items()}, len(ours["head.out.bias"]))
    return settings, spec
