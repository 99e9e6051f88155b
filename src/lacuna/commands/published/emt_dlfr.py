"""EMT-DLFR's published checkpoint. In: its state dict, BERT included. Out: ours, and its settings and spec."""

from __future__ import annotations

from torch import Tensor

from lacuna.commands.published import _bert
from lacuna.commands.published._names import RECURRENT, Rule, bare, renamed

BERT = "text_model.model."
_NAMES = {"text": "text", "audio": "audio", "video": "vision", "gmc_tokens": "global"}
_UNIT = r"^fusion\.mpus\.0\.0\.0\.layers\.0\."
_ANY = "(text|audio|video|gmc_tokens)"
_RULES: tuple[Rule, ...] = (
    (r"^(audio|video)_model\.rnn\.", lambda m: f"recurrent.{_NAMES[m[1]]}.recurrence."),
    (r"^(audio|video)_model\.linear_1\.", lambda m: f"recurrent.{_NAMES[m[1]]}.out."),
    *RECURRENT,
    (rf"^proj_{_ANY}\.", lambda m: f"project.{_NAMES[m[1]]}."),
    (rf"^{_ANY}_projector\.net\.", lambda m: f"projectors.{_NAMES[m[1]]}."),
    (rf"^{_ANY}_predictor\.net\.", lambda m: f"predictors.{_NAMES[m[1]]}."),
    (rf"^recon_{_ANY}\.", lambda m: f"reconstruct.{_NAMES[m[1]]}."),
    (r"^post_fusion_layer_([123])\.", lambda m: f"head.{2 * int(m[1]) - 1}."),
    (r"^fusion\.attn_pools\.0\.attention\.", "fusion.pool."),
    (rf"{_UNIT}0\.norm_context\.", "fusion.unit.norm_source."),
    (rf"{_UNIT}0\.norm\.", "fusion.unit.norm_cross."),
    (rf"{_UNIT}1\.norm\.", "fusion.unit.norm_self."),
    (rf"{_UNIT}2\.norm\.", "fusion.unit.norm_feed."),
    (rf"{_UNIT}0\.fn\.", "fusion.unit.cross."),
    (rf"{_UNIT}1\.fn\.", "fusion.unit.own."),
    (rf"{_UNIT}2\.fn\.net\.0\.", "fusion.unit.widen."),
    (rf"{_UNIT}2\.fn\.net\.2\.", "fusion.unit.narrow."),
)
_SHARED = ("fusion.mpus.", "fusion.attn_pools.")  # one module under many names: the first stands for all
_FIRST = ("fusion.mpus.0.0.0.", "fusion.attn_pools.0.")


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names; modules that are shared come once."""
    state = bare(state, "Model.")
    own = {n: t for n, t in state.items() if not n.startswith(BERT) and n != "fusion.pos_embed.inv_freq"}
    once = {n: t for n, t in own.items() if not n.startswith(_SHARED) or n.startswith(_FIRST)}
    return renamed(once, _RULES) | _bert.rename(state, BERT)


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of emt_dlfr.Settings (those that differ from PUBLISHED's) and of InputSpec.

    Depth and heads leave no trace in the weights: they stay PUBLISHED's.
    """
    state = bare(state, "Model.")
    ours = rename(state)
    recurrent = ("audio", "vision")
    sizes = {m: len(ours[f"projectors.{m}.0.bias"]) for m in recurrent}
    width = len(ours["fusion.unit.norm_self.weight"])
    settings: dict[str, object] = {
        "recurrent": {m: ours[f"recurrent.{m}.recurrence.layers.0.0.weight_hh_l0"].shape[1] for m in recurrent},
        "sizes": sizes,
        "width": width,
        "expansion": ours["fusion.unit.narrow.weight"].shape[1] // width,
        "head_hidden": len(ours["head.3.bias"]),
        "predictors": {name: len(ours[f"predictors.{name}.0.weight"]) for name in _NAMES.values()},
    }
    outputs = len(ours["head.5.bias"])
    widths = {m: len(ours[f"reconstruct.{m}.bias"]) for m in ("text", *recurrent)}
    spec: dict[str, object] = {
        "widths": widths,
        "lengths": dict.fromkeys(widths, 1024),  # as many as there are positions
        "classes": 0 if outputs == 1 else outputs,
    }
    if any(name.startswith(BERT) for name in state):
        settings["encoder"] = _bert.describe(state, BERT)
        spec |= {"widths": widths | {"text": 3}, "tokens": True}
    return settings, spec
