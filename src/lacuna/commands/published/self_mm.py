"""Self-MM's checkpoint of MMSA or its authors. In: its state dict. Out: ours, settings and spec.

Its trainer's labels are not in it: they start anew where training goes on.
"""

from __future__ import annotations

from torch import Tensor

from lacuna.commands.published import _bert, _mmsa, _names

BERT = "text_model.model."
_HEADS = {"fusion": "M", "text": "text", "audio": "audio", "video": "vision"}
_LAYERS = {"1": "first", "2": "second", "3": "out"}
_RULES: tuple[_names.Rule, ...] = (
    (r"^(audio|video)_model\.rnn\.", lambda m: f"sequences.{_mmsa.MODALITIES[m[1]]}.rnn."),
    (r"^(audio|video)_model\.linear_1\.", lambda m: f"sequences.{_mmsa.MODALITIES[m[1]]}.out."),
    (r"^post_(fusion|text|audio|video)_layer_(\d)\.", lambda m: f"heads.{_HEADS[m[1]]}.{_LAYERS[m[2]]}."),
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    state = _names.bare(state, *_mmsa.OUTER)
    own = {name: tensor for name, tensor in state.items() if not name.startswith("text_model.")}
    return _names.renamed(own, _RULES) | _bert.rename(state, BERT)


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of self_mm.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    ours = rename(state)
    gates = {m: ours[f"sequences.{m}.rnn.weight_ih_l0"] for m in ("audio", "vision")}  # four of the hidden width
    settings: dict[str, object] = {
        "hidden": {m: len(weight) // 4 for m, weight in gates.items()},
        "outputs": {m: len(ours[f"sequences.{m}.out.bias"]) for m in gates},
        "features": {name: len(ours[f"heads.{name}.first.bias"]) for name in _HEADS.values()},
        "encoder": _bert.describe(_names.bare(state, *_mmsa.OUTER), BERT),
    }
    widths = {"text": 3} | {m: weight.shape[1] for m, weight in gates.items()}
    return settings, _mmsa.spec_of(widths, len(ours["heads.M.out.bias"])) | {"tokens": True}
