"""LNLN's published checkpoint. In: its state dict, BERT included. Out: ours, and the settings and spec behind it."""

from __future__ import annotations

from torch import Tensor

from lacuna.commands.published import _hyper
from lacuna.commands.published._names import Rule, count

_RECONSTRUCTED = ("audio", "vision", "text")  # the order of the published list

_RULES: tuple[Rule, ...] = (
    (r"^h_p$", "proxy_start"),
    (r"^proxy_dominate_modality_generator\.", "proxy."),
    (r"^effective_discriminator\.", "discriminator."),
    (r"^completeness_check\.0\.", "completeness.transformer."),
    (r"^completeness_check\.1\.", "completeness.head."),
    (r"^reconstructor\.(\d)\.", lambda m: f"reconstructors.{_RECONSTRUCTED[int(m[1])]}."),
    (r"^dmml\.0\.", "dominant_encoder."),
    (r"^dmml\.1\.layers\.(\d+)\.0\.", r"hyper_layers.\1."),
    (r"^dmml\.2\.", "cross."),
    (r"^dmml\.3\.", "head."),
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under our names."""
    return _hyper.rename(state, _RULES)


def describe(state: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments of lnln.Settings (those that differ from PUBLISHED's) and of InputSpec."""
    ours = rename(state)
    shared, spec = _hyper.describe(state, ours)
    inner = len(ours["proxy.layers.0.attention.to_q.weight"])
    settings = {
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
    return shared | settings, spec
