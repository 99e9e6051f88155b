"""What renames published tensors. In: names, rules. Out: our names; also the rules of blocks that models share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from torch import Tensor

MODALITIES = {"l": "text", "a": "audio", "v": "vision"}
Rule = tuple[str, str | Callable[[re.Match[str]], str]]
_LAYERS = r"\.(?:CrossTransformerEncoder|encoder)\.layers\.(\d+)"

# The transformers of LNLN and ALMT; order matters: a rule sees what the rules before it made of a name.
LNLN_BLOCKS: tuple[Rule, ...] = (
    # within hyper-modality layers
    (r"^(hyper_layers\.\d+)\.norm1\.", r"\1.norm_dominant."),
    (r"^(hyper_layers\.\d+)\.norm2\.", r"\1.norms.audio."),
    (r"^(hyper_layers\.\d+)\.norm3\.", r"\1.norms.vision."),
    (r"^(hyper_layers\.\d+)\.norm4\.", r"\1.norm_hyper."),
    (r"\.fn\.to_([kv])_t([av])\.", lambda m: f".to_{m[1]}.{MODALITIES[m[2]]}."),
    # within transformers
    (rf"{_LAYERS}\.0\.fn\.", r".layers.\1.attention."),
    (rf"{_LAYERS}\.0\.norm_", r".layers.\1.attention.norm_"),
    (rf"{_LAYERS}\.1\.norm\.", r".layers.\1.feed.0."),
    (rf"{_LAYERS}\.1\.fn\.net\.0\.", r".layers.\1.feed.1."),
    (rf"{_LAYERS}\.1\.fn\.net\.3\.", r".layers.\1.feed.3."),
    (r"\.fn\.", "."),
    (r"\.to_out\.0\.", ".to_out."),
    (r"\.pos_embedding$", ".positions"),
    (r"\.pos_embedding_s$", ".source_positions"),
    (r"\.pos_embedding_t$", ".target_positions"),
    (r"^(cross|fusion)\.extra_token$", r"\1.token"),
    (r"\.extra_token$", ".tokens"),
)
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
