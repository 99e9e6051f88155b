"""MISA's published checkpoint, MMSA's or its authors'. In: its state dict. Out: ours, and what it was built with."""

from __future__ import annotations

import re

from torch import Tensor

from lacuna.commands.published import _bert

_MODALITIES = {"t": "text", "v": "vision", "a": "audio"}
_LAYERS = {"1": "first", "2": "second"}
_FUSION = "transformer_encoder.layers.0"
_UNREAD = ("sp_discriminator.", "embed.", "bertmodel.")  # no loss reads the first; GloVe's table comes as features
_RULES = (
    (r"^([tva])rnn([12])\.", lambda m: f"recurrence.{_MODALITIES[m[1]]}.{_LAYERS[m[2]]}."),
    (r"^([tva])layer_norm\.", lambda m: f"recurrence.{_MODALITIES[m[1]]}.norm."),
    (r"^project_([tva])\.project_[tva]\.", lambda m: f"project.{_MODALITIES[m[1]]}.0."),
    (r"^project_([tva])\.project_[tva]_layer_norm\.", lambda m: f"project.{_MODALITIES[m[1]]}.2."),
    (r"^private_([tva])\.private_[tva]_\d\.", lambda m: f"subspaces.private.{_MODALITIES[m[1]]}."),
    (r"^shared\.shared_1\.", "subspaces.shared."),
    (r"^recon_([tva])\.recon_[tva]_1\.", lambda m: f"subspaces.decoder.{_MODALITIES[m[1]]}."),
    (r"^discriminator\.discriminator_layer_1\.", "discriminator.0."),
    (r"^discriminator\.discriminator_layer_2\.", "discriminator.3."),
    (r"^fusion\.fusion_layer_1\.", "head.0."),
    (r"^fusion\.fusion_layer_3\.", "head.3."),
    (rf"^{_FUSION}\.self_attn\.in_proj_", "fusion.qkv."),
    (rf"^{_FUSION}\.self_attn\.out_proj\.", "fusion.out."),
    (rf"^{_FUSION}\.linear1\.", "fusion.feed.0."),
    (rf"^{_FUSION}\.linear2\.", "fusion.feed.3."),
    (rf"^{_FUSION}\.norm1\.", "fusion.norm_attention."),
    (rf"^{_FUSION}\.norm2\.", "fusion.norm_feed."),
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    state = _bare(state)
    recurrent_text = any(name.startswith("trnn1.") for name in state)
    own = {
        _ours(name): tensor
        for name, tensor in state.items()
        # With BERT there is a layer norm for a recurrence over text that nobody runs.
        if not name.startswith(_UNREAD) and (recurrent_text or not name.startswith("tlayer_norm."))
    }
    return own | _bert.rename(state, _bert_prefix(state), "text_encoder.encoder.")


def _bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("module.").removeprefix("Model."): tensor for name, tensor in state.items()}


def _bert_prefix(state: dict[str, Tensor]) -> str:
    mmsa = any(name.startswith("bertmodel.model.") for name in state)
    return "bertmodel.model." if mmsa else "bertmodel."


def _ours(name: str) -> str:
    for pattern, replacement in _RULES:
        new, hits = re.subn(pattern, replacement, name)
        if hits:
            return new
    return name


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of misa.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    state = _bare(state)
    ours = rename(state)
    recurrent = tuple(m for m in _MODALITIES.values() if f"recurrence.{m}.norm.bias" in ours)
    widths = {m: ours[f"project.{m}.0.weight"].shape[1] // (4 if m in recurrent else 1) for m in _MODALITIES.values()}
    gates = len(ours["recurrence.audio.first.bias_hh_l0"]) // widths["audio"]
    settings: dict[str, object] = {
        "size": len(ours["subspaces.shared.bias"]),
        "cell": {3: "gru", 4: "lstm"}[gates],
        "recurrent": recurrent,
        "similarity": "adversarial" if "discriminator.0.bias" in ours else "cmd",
        "text_mean": "padded" if any(name.startswith("bertmodel.embeddings.") for name in state) else "real",
    }
    outputs = len(ours["head.3.bias"])
    spec: dict[str, object] = {"widths": widths, "lengths": {}, "classes": 0 if outputs == 1 else outputs}
    prefix = _bert_prefix(state)
    if any(name.startswith(prefix) for name in state):
        settings["encoder"] = _bert.describe(state, prefix)
        spec |= {"widths": widths | {"text": 3}, "tokens": True}
    return settings, spec
