"""What the parity adapters share: a fixture's case, and comparisons at the tolerances of the issue."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from lacuna.data.batches import Batch, Padded

OUTPUT = 1e-5  # absolute, and relative where values are above 1
LOSS = 1e-5  # relative
GRADIENT = 1e-4  # relative to the gradient's norm


@dataclass(frozen=True)
class Case:
    """One fixture: `settings` is its JSON; `tensors` by prefix: case["state"] -> {name: tensor}."""

    model: str
    name: str
    settings: dict
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> "Case":
        tensors = load_file(path.with_suffix(".safetensors")) if path.with_suffix(".safetensors").exists() else {}
        return cls(path.parent.name, path.stem, json.loads(path.read_text(encoding="utf-8")), tensors)

    def __getitem__(self, prefix: str) -> dict[str, Tensor]:
        start = f"{prefix}."
        return {name.removeprefix(start): t for name, t in self.tensors.items() if name.startswith(start)}

    def numbers(self, prefix: str) -> dict[str, float]:
        """The JSON's numbers below "prefix.": {name: value}."""
        start = f"{prefix}."
        return {name.removeprefix(start): v for name, v in self.settings.items() if name.startswith(start)}


def padded(values: Tensor, lengths: Tensor | None = None, seen: Tensor | None = None) -> Padded:
    """A modality of B samples; without `lengths` every frame is real, without `seen` every real frame is seen."""
    count, frames = values.shape[:2]
    lengths = torch.full((count,), frames) if lengths is None else lengths.to(torch.int64)
    if seen is None:
        seen = torch.arange(frames) < lengths[:, None]
    return Padded(values, torch.arange(frames).expand(count, -1).float(), seen, lengths)


def batch_of(modalities: dict[str, Padded], labels: dict[str, Tensor]) -> Batch:
    count = len(next(iter(modalities.values())).values)
    return Batch(tuple(str(i) for i in range(count)), modalities, labels)


def close(ours: Tensor, theirs: Tensor, name: str) -> None:
    """Outputs: to 1e-5."""
    difference = (ours.reshape(theirs.shape).detach() - theirs).abs()
    worst = float((difference / theirs.abs().clamp(min=1)).max())
    assert worst <= OUTPUT, f"{name}: expected a difference of at most {OUTPUT}, got {worst:.2e}"


def close_losses(ours: dict[str, Tensor], theirs: dict[str, float]) -> None:
    """Every loss term: to 1e-5 relative (absolute below 1e-2, where float32 has no more digits to give)."""
    for name, value in theirs.items():
        got = float(ours[name].detach())
        error = abs(got - value) / max(abs(value), 1e-2)
        assert error <= LOSS, f"loss {name}: expected {value:.8g}, got {got:.8g}"


def close_gradients(model: torch.nn.Module, theirs: dict[str, Tensor], norms: dict[str, float]) -> None:
    """Gradients by OUR names: whole tensors to 1e-4 of their norm, and every published norm to 1e-4.

    Gradients that are zero but for rounding (the biases of keys, which softmax does not feel) may differ by 1e-7 of the
    whole gradient.
    """
    parameters = dict(model.named_parameters())
    dust = 1e-7 * sum(n * n for n in norms.values()) ** 0.5 if norms else 1e-7
    unknown = (set(theirs) | set(norms)) - set(parameters)
    assert not unknown, f"gradients of parameters that the model has not: {sorted(unknown)[:5]}"
    compared = 0
    for name, parameter in parameters.items():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if name in theirs:
            error = float((gradient - theirs[name]).norm())
            allowed = GRADIENT * float(theirs[name].norm()) + dust
            assert error <= allowed, f"gradient of {name}: off by {error:.2e}, allowed {allowed:.2e}"
        if name in norms:
            error = abs(float(gradient.norm()) - norms[name])
            allowed = GRADIENT * norms[name] + dust
            assert error <= allowed, f"gradient norm of {name}: off by {error:.2e}, allowed {allowed:.2e}"
        compared += name in theirs or name in norms
    assert compared, "expected gradients to compare, found none"
