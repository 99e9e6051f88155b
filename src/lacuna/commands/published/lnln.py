"""LNLN's published checkpoint. In: its state dict, BERT included. Out: ours, and the settings and spec behind it."""

from __future__ import annotations

from torch import Tensor

from lacuna.commands.published import _bert
from lacuna.commands.published._names import LNLN_BLOCKS, MODALITIES, Rule, bare, count, renamed

BERT = "bertmodel.model."
_RECONSTRUCTED = ("audio", "vision", "text")  # the order of the published list

# Order matters: a rule sees what the rules before it made of a name.
_RULES: tuple[Rule, ...] = (
    (r"^h_hyper$", "hyper"),
    (r"^h_p$", "proxy_start"),
    (r"^proj_([lav])\.0\.", lambda m: f"embeddings.{MODALITIES[m[1]]}.project."),
    (r"^proj_([lav])\.1\.", lambda m: f"embeddings.{MODALITIES[m[1]]}.transformer."),
    (r"^proxy_dominate_modality_generator\.", "proxy."),
    (r"^effective_discriminator\.", "discriminator."),
    (r"^completeness_check\.0\.", "completeness.transformer."),
    (r"^completeness_check\.1\.", "completeness.head."),
    (r"^reconstructor\.(\d)\.", lambda m: f"reconstructors.{_RECONSTRUCTED[int(m[1])]}."),
    (r"^dmml\.0\.", "dominant_encoder."),
    (r"^dmml\.1\.layers\.(\d+)\.0\.", r"hyper_layers.\1."),
    (r"^dmml\.2\.", "cross."),
    (r"^dmml\.3\.", "head."),
    *LNLN_BLOCKS,
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    state = bare(state)
    own = {name: tensor for name, tensor in state.items() if not name.startswith("bertmodel.")}
    return renamed(own, _RULES) | _bert.rename(state, BERT)


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of lnln.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    state = bare(state)
    ours = rename(state)
    tokens, width = ours["hyper"].shape[1:]
    inner = len(ours["proxy.layers.0.attention.to_q.weight"])
    settings: dict[str, object] = {
        "width": width,
        "tokens": tokens,
        "heads": inner // 64,
        "hidden": len(ours["proxy.layers.0.feed.1.weight"]),
        "discriminator_hidden": len(ours["discriminator.0.weight"]),
        "depth": count(ours, "embeddings.text.transformer.layers."),
        "proxy_depth": count(ours, "proxy.layers."),
        "completeness_depth": count(ours, "completeness.transformer.layers."),
        "reconstructor_depth": count(ours, "reconstructors.text.layers."),
        "dominant_depth": count(ours, "dominant_encoder.layers."),
        "hyper_depth": count(ours, "hyper_layers."),
        "cross_depth": count(ours, "cross.layers."),
    }
    modalities = MODALITIES.values()
    widths = {m: ours[f"embeddings.{m}.project.weight"].shape[1] for m in modalities}
    outputs = len(ours["head.bias"])
    spec: dict[str, object] = {
        "widths": widths,
        "lengths": {m: ours[f"embeddings.{m}.transformer.positions"].shape[1] - tokens for m in modalities},
        "classes": 0 if outputs == 1 else outputs,
    }
    if any(name.startswith(BERT) for name in state):
        settings["encoder"] = _bert.describe(state, BERT)
        spec |= {"widths": widths | {"text": 3}, "tokens": True}
    return settings, spec
