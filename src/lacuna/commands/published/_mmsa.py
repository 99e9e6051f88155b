"""What MMSA's checkpoints share: the sub-networks of TFN and LMF, and lengths. In: names and shapes. Out: ours."""

from __future__ import annotations

from torch import Tensor

from lacuna.commands.published._names import Rule

MODALITIES = {"text": "text", "audio": "audio", "video": "vision"}
OUTER = ("Model.", "model.")  # what MMSA wraps its models in
RULES: tuple[Rule, ...] = (
    (r"^(audio|video)_subnet\.norm\.", lambda m: f"subnets.{MODALITIES[m[1]]}.norm."),
    (r"^(audio|video)_subnet\.linear_(\d)\.", lambda m: f"subnets.{MODALITIES[m[1]]}.layers.{int(m[2]) - 1}."),
    (r"^text_subnet\.rnn\.", "subnets.text.rnn."),
    (r"^text_subnet\.linear_1\.", "subnets.text.out."),
)


def described(renamed: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, int]]:
    """Widths of the sub-networks as arguments of their Settings, and the widths of InputSpec."""
    first = {m: renamed[f"subnets.{m}.layers.0.weight"] for m in ("audio", "vision")}
    text = renamed["subnets.text.rnn.weight_ih_l0"]  # four gates of the hidden width
    hidden = {"text": len(text) // 4} | {m: len(weight) for m, weight in first.items()}
    widths = {"text": text.shape[1]} | {m: weight.shape[1] for m, weight in first.items()}
    return {"hidden": hidden, "text_out": len(renamed["subnets.text.out.bias"])}, widths


def spec_of(widths: dict[str, int], outputs: int) -> dict[str, object]:
    """Arguments of InputSpec. MMSA's lengths are of a data set, which is told by the width of its audio."""
    lengths = (39, 400, 55) if widths["audio"] == 33 else (50, 500, 375)
    of_modality = dict(zip(("text", "audio", "vision"), lengths))
    return {"widths": widths, "lengths": of_modality, "classes": 0 if outputs == 1 else outputs}
