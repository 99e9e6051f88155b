"""The sub-networks of TFN and LMF in MMSA's checkpoints. In: their names and shapes. Out: ours."""

from __future__ import annotations

import re

from torch import Tensor

_MODALITIES = {"text": "text", "audio": "audio", "video": "vision"}
_RULES = (
    (r"^(audio|video)_subnet\.norm\.", lambda m: f"subnets.{_MODALITIES[m[1]]}.norm."),
    (r"^(audio|video)_subnet\.linear_(\d)\.", lambda m: f"subnets.{_MODALITIES[m[1]]}.layers.{int(m[2]) - 1}."),
    (r"^text_subnet\.rnn\.", "subnets.text.rnn."),
    (r"^text_subnet\.linear_1\.", "subnets.text.out."),
)
_OUTER = ("Model.", "model.", "module.")  # MMSA saves what wraps its models


def bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the names of what wraps the model."""
    for prefix in _OUTER:
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def ours(name: str) -> str:
    """Our name of a sub-network's tensor; other names as they are."""
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def lengths(widths: dict[str, int]) -> dict[str, int]:
    """MMSA's lengths of a data set, which is told by the width of its audio; the weights do not depend on them."""
    return (
        {"text": 39, "audio": 400, "vision": 55} if widths["audio"] == 33 else {"text": 50, "audio": 500, "vision": 375}
    )


def describe(renamed: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, object]]:
    """Widths of the sub-networks as arguments of their Settings, and the widths of InputSpec."""
    first = {m: renamed[f"subnets.{m}.layers.0.weight"] for m in ("audio", "vision")}
    text = renamed["subnets.text.rnn.weight_ih_l0"]  # four gates of the hidden width
    hidden = {"text": len(text) // 4} | {m: len(weight) for m, weight in first.items()}
    widths = {"text": text.shape[1]} | {m: weight.shape[1] for m, weight in first.items()}
    return {"hidden": hidden, "text_out": len(renamed["subnets.text.out.bias"])}, widths
