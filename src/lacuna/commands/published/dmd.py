"""DMD's published checkpoint with its distillation units. In: their state dicts as one. Out: ours, settings and spec.

The authors save the model alone; the units, which only training uses, are given beside it with names that start with
`homo.` and `hetero.`.
"""

from __future__ import annotations

import re

from torch import Tensor

from lacuna.commands.published import _bert, _names

BERT = "text_model.model."
_MODALITIES = {"l": "text", "a": "audio", "v": "vision"}
_HEAD_WIDTH = 5  # of every published DMD
_UNREAD = ("proj_cosine_", "text_model.")  # no loss reads the first
_BUFFERS = (".version", "._float_tensor")
_STEPS = {"proj1": "first", "proj2": "second", "out_layer": "out"}
_SPACES = {"low": "homo_head", "high": "hetero_head"}
_HEAD = r"^(proj1|proj2|out_layer)"
_RULES: tuple[_names.Rule, ...] = (
    (r"^proj_([lav])\.", lambda m: f"project.{_MODALITIES[m[1]]}."),
    (r"^encoder_s_([lav])\.", lambda m: f"private.{_MODALITIES[m[1]]}."),
    (r"^encoder_c\.", "shared."),
    (r"^decoder_([lav])\.", lambda m: f"decoder.{_MODALITIES[m[1]]}."),
    (r"^align_c_([lav])\.", lambda m: f"align.{_MODALITIES[m[1]]}."),
    (
        r"^(proj1|proj2|out_layer)_([lav])_(low|high)\.",
        lambda m: f"{_SPACES[m[3]]}.{_MODALITIES[m[2]]}.{_STEPS[m[1]]}.",
    ),
    (rf"{_HEAD}_c\.", lambda m: f"common_head.{_STEPS[m[1]]}."),
    (rf"{_HEAD}\.", lambda m: f"final_head.{_STEPS[m[1]]}."),
    (r"^weight_([lav])\.", lambda m: f"private_gate.{_MODALITIES[m[1]]}."),
    (r"^weight_c\.", "common_gate."),
    (r"^self_attentions_c_([lav])\.", lambda m: f"self_attention.{_MODALITIES[m[1]]}."),
    (r"^trans_([lav])_with_([lav])\.", lambda m: f"crossmodal.{_MODALITIES[m[1]]}_with_{_MODALITIES[m[2]]}."),
    (r"^trans_([lav])_mem\.", lambda m: f"memory.{_MODALITIES[m[1]]}."),
    (r"^(homo|hetero)\.W_logit\.", r"\1.logit."),
    (r"^(homo|hetero)\.W_repr\.", r"\1.representation."),
    (r"^(homo|hetero)\.W_edge\.", r"\1.edge."),
    *_names.CROSSMODAL,
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names and in our layout."""
    state = _bare(state)
    own = {n: t for n, t in state.items() if not n.startswith(_UNREAD) and not n.endswith(_BUFFERS)}
    own = _names.renamed({name: _laid_out(name, tensor) for name, tensor in own.items()}, _RULES)
    return own | _bert.rename(state, BERT)


def _bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return _names.bare(state, "dmd.")


def _laid_out(name: str, tensor: Tensor) -> Tensor:
    if re.match(r"encoder_|decoder_", name) and tensor.dim() == 3:
        return tensor[..., 0]  # a convolution of one frame is a linear layer
    if re.match(r"align_c_.\.weight", name) and tensor.dim() == 2:
        width = len(tensor)  # published: all frames of one feature, then the next; ours: frame by frame
        return tensor.unflatten(1, (width, -1)).transpose(1, 2).flatten(1).contiguous()
    return tensor


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of dmd.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    state = _bare(state)
    ours = rename(state)
    modalities = _MODALITIES.values()
    width = len(ours["shared.weight"])
    kernels = {m: ours[f"project.{m}.weight"].shape[2] for m in modalities}
    settings: dict[str, object] = {
        "width": width,
        "heads": width // _HEAD_WIDTH,
        "depth": len({n.split(".")[3] for n in ours if n.startswith("memory.text.layers.")}),
        "kernels": kernels,
    }
    for unit in ("homo", "hetero"):
        if f"{unit}.logit.bias" in ours:
            settings[f"{unit}_size"] = len(ours[f"{unit}.logit.bias"])
    outputs = len(ours["final_head.out.bias"])
    widths = {m: ours[f"project.{m}.weight"].shape[1] for m in modalities}
    frames = {m: ours[f"align.{m}.weight"].shape[1] // width for m in modalities}
    spec: dict[str, object] = {
        "widths": widths,
        "lengths": {m: frames[m] + (kernels[m] - 1 if widths[m] != width else 0) for m in modalities},
        "classes": 0 if outputs == 1 else outputs,
    }
    if any(name.startswith(BERT) for name in state):
        settings["encoder"] = _bert.describe(state, BERT)
        spec |= {"widths": widths | {"text": 3}, "tokens": True}
    return settings, spec
