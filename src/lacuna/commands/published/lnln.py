"""LNLN's published checkpoint. In: its state dict, BERT included. Out: ours, and the settings and spec behind it."""

from __future__ import annotations

import re

from torch import Tensor

from lacuna.commands.published import _bert

BERT = "bertmodel.model."
_MODALITIES = {"l": "text", "a": "audio", "v": "vision"}
_RECONSTRUCTED = ("audio", "vision", "text")  # the order of the published list

# Order matters: a rule sees what the rules before it made of a name.
_RULES = (
    (r"^h_hyper$", "hyper"),
    (r"^h_p$", "proxy_start"),
    (r"^proj_([lav])\.0\.", lambda m: f"embeddings.{_MODALITIES[m[1]]}.project."),
    (r"^proj_([lav])\.1\.", lambda m: f"embeddings.{_MODALITIES[m[1]]}.transformer."),
    (r"^proxy_dominate_modality_generator\.", "proxy."),
    (r"^effective_discriminator\.", "discriminator."),
    (r"^completeness_check\.0\.", "completeness.transformer."),
    (r"^completeness_check\.1\.", "completeness.head."),
    (r"^reconstructor\.(\d)\.", lambda m: f"reconstructors.{_RECONSTRUCTED[int(m[1])]}."),
    (r"^dmml\.0\.", "dominant_encoder."),
    (r"^dmml\.1\.layers\.(\d+)\.0\.", r"hyper_layers.\1."),
    (r"^dmml\.2\.", "cross."),
    (r"^dmml\.3\.", "head."),
    # within hyper-modality layers
    (r"^(hyper_layers\.\d+)\.norm1\.", r"\1.norm_dominant."),
    (r"^(hyper_layers\.\d+)\.norm2\.", r"\1.norms.audio."),
    (r"^(hyper_layers\.\d+)\.norm3\.", r"\1.norms.vision."),
    (r"^(hyper_layers\.\d+)\.norm4\.", r"\1.norm_hyper."),
    (r"\.fn\.to_([kv])_t([av])\.", lambda m: f".to_{m[1]}.{_MODALITIES[m[2]]}."),
    # within transformers
    (r"\.(?:CrossTransformerEncoder|encoder)\.layers\.(\d+)\.0\.fn\.", r".layers.\1.attention."),
    (r"\.(?:CrossTransformerEncoder|encoder)\.layers\.(\d+)\.0\.norm_", r".layers.\1.attention.norm_"),
    (r"\.(?:CrossTransformerEncoder|encoder)\.layers\.(\d+)\.1\.norm\.", r".layers.\1.feed.0."),
    (r"\.(?:CrossTransformerEncoder|encoder)\.layers\.(\d+)\.1\.fn\.net\.0\.", r".layers.\1.feed.1."),
    (r"\.(?:CrossTransformerEncoder|encoder)\.layers\.(\d+)\.1\.fn\.net\.3\.", r".layers.\1.feed.3."),
    (r"\.fn\.", "."),
    (r"\.to_out\.0\.", ".to_out."),
    (r"\.pos_embedding$", ".positions"),
    (r"\.pos_embedding_s$", ".source_positions"),
    (r"\.pos_embedding_t$", ".target_positions"),
    (r"^cross\.extra_token$", "cross.token"),
    (r"\.extra_token$", ".tokens"),
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}  # saved from DataParallel
    own = {name: tensor for name, tensor in state.items() if not name.startswith("bertmodel.")}
    return {_ours(name): tensor for name, tensor in own.items()} | _bert.rename(state, BERT)


def _ours(name: str) -> str:
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of lnln.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    ours = rename(state)
    tokens, width = ours["hyper"].shape[1:]
    inner = len(ours["proxy.layers.0.attention.to_q.weight"])
    settings: dict[str, object] = {
        "width": width,
        "tokens": tokens,
        "heads": inner // 64,
        "hidden": len(ours["proxy.layers.0.feed.1.weight"]),
        "discriminator_hidden": len(ours["discriminator.0.weight"]),
        "depth": _depth(ours, "embeddings.text.transformer"),
        "proxy_depth": _depth(ours, "proxy"),
        "completeness_depth": _depth(ours, "completeness.transformer"),
        "reconstructor_depth": _depth(ours, "reconstructors.text"),
        "dominant_depth": _depth(ours, "dominant_encoder"),
        "hyper_depth": len({name.split(".")[1] for name in ours if name.startswith("hyper_layers.")}),
        "cross_depth": _depth(ours, "cross"),
    }
    modalities = _MODALITIES.values()
    outputs = len(ours["head.bias"])
    spec: dict[str, object] = {
        "widths": {m: ours[f"embeddings.{m}.project.weight"].shape[1] for m in modalities},
        "lengths": {m: ours[f"embeddings.{m}.transformer.positions"].shape[1] - tokens for m in modalities},
        "classes": 0 if outputs == 1 else outputs,
    }
    if any(name.startswith(BERT) for name in state):
        settings["encoder"] = _bert.describe(state, BERT)
        spec |= {"widths": spec["widths"] | {"text": 3}, "tokens": True}
    return settings, spec


def _depth(ours: dict[str, Tensor], transformer: str) -> int:
    start = f"{transformer}.layers."
    return len({name.removeprefix(start).split(".")[0] for name in ours if name.startswith(start)})
