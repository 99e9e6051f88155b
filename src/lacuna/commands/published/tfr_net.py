"""TFR-Net's published checkpoint, MMSA's or its authors'. In: its state dict. Out: ours, and its settings and spec."""

from __future__ import annotations

from torch import Tensor

from lacuna.commands.published import _bert
from lacuna.commands.published._names import CROSSMODAL, MODALITIES, RECURRENT, Rule, bare, count, renamed

BERT = "text_model.model."
_BUFFERS = (".version", "._float_tensor")
_GENERATED = {"t": "text", "a": "audio", "v": "vision"}
_HEAD = {"norm": 0, "hidden": 1, "final": 4}
_RULES: tuple[Rule, ...] = (
    (r"^align_subnet\.Model\.proj_([lav])\.", lambda m: f"project.{MODALITIES[m[1]]}."),
    (
        r"^align_subnet\.Model\.trans_([lav])_with_([lav])\.",
        lambda m: f"crossmodal.{MODALITIES[m[1]]}_with_{MODALITIES[m[2]]}.",
    ),
    (r"^align_subnet\.Model\.trans_([lav])_mem\.", lambda m: f"memory.{MODALITIES[m[1]]}."),
    (r"^align_subnet\.Model\.trans_([lav])_final\.", lambda m: f"final.{MODALITIES[m[1]]}."),
    (r"^generator_([tav])\.Model\.linear\.", lambda m: f"reconstruct.{_GENERATED[m[1]]}."),
    (r"^fusion_subnet\.Model\.(text|audio|vision)_encoder\.gru\.gru\.", r"readers.\1.recurrence."),
    (r"^fusion_subnet\.Model\.(text|audio|vision)_encoder\.cnn\.", r"readers.\1.gate."),
    (r"^fusion_subnet\.Model\.(text|audio|vision)_encoder\.fc\.", r"readers.\1.out."),
    (
        r"^fusion_subnet\.Model\.classifier\.linear_trans_(norm|hidden|final)\.",
        lambda m: f"head.{_HEAD[m[1]]}.",
    ),
    *RECURRENT,
    *CROSSMODAL,
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    state = bare(state, "Model.")
    own = {n: t for n, t in state.items() if not n.startswith("text_model.") and not n.endswith(_BUFFERS)}
    return renamed(own, _RULES) | _bert.rename(state, BERT)


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of tfr_net.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    state = bare(state, "Model.")
    ours = rename(state)
    names = tuple(MODALITIES.values())
    settings: dict[str, object] = {
        "width": len(ours["project.text.weight"]),
        "depth": count(ours, "crossmodal.text_with_audio.layers."),
        "memory_depth": count(ours, "memory.text.layers."),
        "kernels": {m: ours[f"project.{m}.weight"].shape[2] for m in names},
        "hidden": {m: len(ours[f"readers.{m}.out.bias"]) for m in names},
        "recurrent_layers": count(ours, "readers.text.recurrence.layers."),
        "head_hidden": len(ours["head.1.bias"]),
    }
    outputs = len(ours["head.4.bias"])
    widths = {m: len(ours[f"reconstruct.{m}.bias"]) for m in names}
    spec: dict[str, object] = {
        "widths": widths,
        "lengths": {m: len(ours[f"final.{m}.norm.bias"]) for m in names},
        "classes": 0 if outputs == 1 else outputs,
    }
    if any(name.startswith(BERT) for name in state):
        settings["encoder"] = _bert.describe(state, BERT)
        spec |= {"widths": widths | {"text": 3}, "tokens": True}
    return settings, spec
