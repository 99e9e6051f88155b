"""What LNLN's and ALMT's checkpoints share: transformers, input layers, BERT. In: tensors. Out: our names, the spec."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lacuna.commands.published import _bert
from lacuna.commands.published._names import MODALITIES, Rule, bare, renamed

_BERT = "bertmodel.model."
_LAYERS = r"\.(?:CrossTransformerEncoder|encoder)\.layers\.(\d+)"
_INPUTS: tuple[Rule, ...] = (
    (r"^h_hyper$", "hyper"),
    (r"^proj_([lav])\.0\.", lambda m: f"embeddings.{MODALITIES[m[1]]}.project."),
    (r"^proj_([lav])\.1\.", lambda m: f"embeddings.{MODALITIES[m[1]]}.transformer."),
)
# Order matters: a rule sees what the rules before it made of a name.
_BLOCKS: tuple[Rule, ...] = (
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


def rename(state: dict[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """The published tensors under our names; `rules` are those of the model's own parts."""
    state = bare(state)
    own = {name: tensor for name, tensor in state.items() if not name.startswith("bertmodel.")}
    return renamed(own, (*_INPUTS, *rules, *_BLOCKS)) | _bert.rename(state, _BERT)


def describe(state: dict[str, Tensor], ours: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """What the shapes tell: the settings that both have, and keyword arguments of InputSpec."""
    tokens, width = ours["hyper"].shape[1:]
    settings: dict[str, object] = {"width": width, "tokens": tokens}
    widths = {m: ours[f"embeddings.{m}.project.weight"].shape[1] for m in MODALITIES.values()}
    places = {m: ours[f"embeddings.{m}.transformer.positions"].shape[1] for m in MODALITIES.values()}
    outputs = len(ours["head.bias"])
    spec: dict[str, object] = {
        "widths": widths,
        "lengths": {m: count - tokens for m, count in places.items()},
        "classes": 0 if outputs == 1 else outputs,
    }
    if any(name.startswith(_BERT) for name in bare(state)):
        settings["encoder"] = _bert.describe(bare(state), _BERT)
        spec |= {"widths": widths | {"text": 3}, "tokens": True}
    return settings, spec
