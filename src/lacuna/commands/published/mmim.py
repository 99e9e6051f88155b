"""MMIM's published checkpoint, MMSA's or its authors'. In: its state dict. Out: ours, and its settings and spec."""

from __future__ import annotations

from torch import Tensor

from lacuna.commands.published import _bert
from lacuna.commands.published._names import RECURRENT, Rule, bare, renamed

BERT = "bertmodel.model."
_ENCODERS = {"visual": "vision", "acoustic": "audio"}
_LETTERS = {"t": "text", "a": "audio", "v": "vision"}
_STEPS = {"1": "first", "2": "second", "3": "out"}
_RULES: tuple[Rule, ...] = (
    (r"^(visual|acoustic)_enc\.rnn\.", lambda m: f"recurrent.{_ENCODERS[m[1]]}.recurrence."),
    (r"^(visual|acoustic)_enc\.linear_1\.", lambda m: f"recurrent.{_ENCODERS[m[1]]}.out."),
    *RECURRENT,
    (r"^mi_t([av])\.mlp_mu\.", lambda m: f"bounds.{_LETTERS[m[1]]}.mean."),
    (r"^mi_t([av])\.mlp_logvar\.", lambda m: f"bounds.{_LETTERS[m[1]]}.log_variance."),
    (r"^mi_t([av])\.entropy_prj\.", lambda m: f"entropies.{_LETTERS[m[1]]}."),
    (r"^cpc_z([tav])\.net\.", lambda m: f"contrasts.{_LETTERS[m[1]]}."),
    (r"^fusion_prj\.linear_([123])\.", lambda m: f"{_STEPS[m[1]]}."),
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    state = bare(state, "Model.")
    own = {name: tensor for name, tensor in state.items() if not name.startswith("bertmodel.")}
    return renamed(own, _RULES) | _bert.rename(state, BERT)


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of mmim.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    state = bare(state, "Model.")
    ours = rename(state)
    recurrent = ("audio", "vision")
    settings: dict[str, object] = {
        "recurrent": ours["recurrent.audio.recurrence.layers.0.0.weight_hh_l0"].shape[1],
        "sizes": {m: len(ours[f"recurrent.{m}.out.bias"]) for m in recurrent},
        "fused": len(ours["first.bias"]),
    }
    outputs = len(ours["out.bias"])
    widths = {m: ours[f"recurrent.{m}.recurrence.layers.0.0.weight_ih_l0"].shape[1] for m in recurrent}
    widths = {"text": len(ours["contrasts.text.bias"])} | widths
    spec: dict[str, object] = {
        "widths": widths,
        "lengths": dict.fromkeys(widths, 512),  # recurrences read any length; BERT reads as many
        "classes": 0 if outputs == 1 else outputs,
    }
    if any(name.startswith(BERT) for name in state):
        settings["encoder"] = _bert.describe(state, BERT)
        spec |= {"widths": widths | {"text": 3}, "tokens": True}
    return settings, spec
