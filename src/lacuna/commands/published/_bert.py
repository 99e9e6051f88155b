"""BERT inside a published checkpoint. In: its state dict. Out: ours, and the config that rebuilds it."""

from __future__ import annotations

from torch import Tensor

_UNREAD = ("pooler.", "embeddings.position_ids")  # nobody reads its output; a buffer of old versions
_HEAD_WIDTH = 64  # of every published BERT


def rename(state: dict[str, Tensor], prefix: str, ours: str = "text_encoder.encoder.") -> dict[str, Tensor]:
    """The tensors below `prefix`, under `ours`, where layers.TextEncoder keeps its encoder."""
    below = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return {ours + name: tensor for name, tensor in below.items() if not name.startswith(_UNREAD)}


def describe(state: dict[str, Tensor], prefix: str) -> dict[str, object]:
    """What layers.TextEncoder builds the encoder below `prefix` from, read off its shapes."""
    words, width = state[f"{prefix}embeddings.word_embeddings.weight"].shape
    layers = {name.removeprefix(prefix).split(".")[2] for name in state if name.startswith(f"{prefix}encoder.layer.")}
    config = {
        "model_type": "bert",
        "vocab_size": words,
        "hidden_size": width,
        "num_hidden_layers": len(layers),
        "num_attention_heads": width // _HEAD_WIDTH,
        "intermediate_size": len(state[f"{prefix}encoder.layer.0.intermediate.dense.weight"]),
        "max_position_embeddings": len(state[f"{prefix}embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(state[f"{prefix}embeddings.token_type_embeddings.weight"]),
    }
    return {"source": "published", "config": config, "unknown": 100, "padding": 0}
