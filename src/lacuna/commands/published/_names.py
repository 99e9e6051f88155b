"""What renames published tensors. In: names, rules. Out: our names; also the rules of blocks that models share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from torch import Tensor

MODALITIES = {"l": "text", "a": "audio", "v": "vision"}
Rule = tuple[str, str | Callable[[re.Match[str]], str]]

# MulT's encoder, as DMD, MulT and TFR-Net have it.
CROSSMODAL: tuple[Rule, ...] = (
    (r"\.self_attn\.in_proj_", ".qkv."),
    (r"\.self_attn\.out_proj\.", ".out."),
    (r"\.layer_norms\.0\.", ".norm_attention."),
    (r"\.layer_norms\.1\.", ".norm_feed."),
    (r"\.layer_norm\.", ".norm."),
    (r"\.fc1\.", ".widen."),
    (r"\.fc2\.", ".narrow."),
)
# torch's recurrent layers, as models.parts.recurrent has them: layer by layer, forward before backward.
RECURRENT: tuple[Rule, ...] = (
    (r"\.(weight|bias)_(ih|hh)_l(\d+)_reverse$", r".layers.\3.1.\1_\2_l0"),
    (r"(?<!\d)\.(weight|bias)_(ih|hh)_l(\d+)$", r".layers.\3.0.\1_\2_l0"),
)


def renamed(state: dict[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """The tensors by our names: every rule is applied to every name, in order."""
    told = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        told[name] = tensor
    return told


def bare(state: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """Without what wrappers put before every name."""
    for prefix in ("module.", *prefixes):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def count(names: Sequence[str] | dict[str, Tensor], start: str) -> int:
    """How many layers there are: different words right after `start`."""
    return len({name.removeprefix(start).split(".")[0] for name in names if name.startswith(start)})
