"""What the errata of MMSA's TFN, LMF, MulT and Self-MM do, without training. Out: the figures of docs/errata.md.

    python benchmarks/errata_mmsa.py

Each model is the published form with MOSI's settings and random weights (ten draws), which tests/test_live_parity.py
holds against MMSA's own class; clips are normal numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from lacuna.data.batches import Batch, InputSpec, Padded
from lacuna.models import lmf, mult, self_mm, tfn

WIDTHS = {"text": 768, "audio": 5, "vision": 20}
LENGTHS = {"text": 50, "audio": 500, "vision": 375}
OWN = {"text": 15, "audio": 120, "vision": 90}
DRAWS = 10
STEPS = {"MOSI": (40, 32), "MOSEI": (254, 32), "SIMS": (20, 64)}  # of the first two epochs, and the text head's size
MODULES = {"TFN": tfn, "LMF": lmf, "MulT": mult}
PADDED = {"TFN": {"padding": "read"}, "LMF": {"padding": "read"}, "MulT": {"readout": "last"}}


def clip(seed: int, lengths: dict[str, int]) -> Batch:
    """One clip of normal numbers, of its own length."""
    generator = torch.Generator().manual_seed(seed)
    modalities = {}
    for m, frames in lengths.items():
        values = torch.randn(1, frames, WIDTHS[m], generator=generator)
        seen = torch.ones(1, frames, dtype=torch.bool)
        modalities[m] = Padded(values, torch.zeros(1, frames), seen, torch.tensor([frames]))
    return Batch(("clip",), modalities, {"M": torch.tensor([1.0])})


def model_of(name: str, seed: int, lengths: dict[str, int], **changes: object) -> nn.Module:
    torch.manual_seed(seed)
    module = MODULES[name]
    return module.Model(replace(module.PUBLISHED, **changes), InputSpec(WIDTHS, lengths)).eval()


def mean_difference(told: Callable[[int], tuple[Tensor, Tensor]]) -> str:
    """Mean and largest |difference| of two predictions over the draws."""
    gaps = torch.stack([(a - b).abs().max() for a, b in map(told, range(DRAWS))])
    return f"{float(gaps.mean()):.5f} on average, {float(gaps.max()):.5f} at most"


@torch.no_grad()
def padding(name: str, **changes: object) -> str:
    """A clip of a quarter of the lengths, with and without padding up to them."""

    def told(seed: int) -> tuple[Tensor, Tensor]:
        batch = clip(seed, OWN)
        padded, alone = (model_of(name, seed, lengths, **changes) for lengths in (LENGTHS, OWN))
        alone.load_state_dict(padded.state_dict())
        return padded(batch)["prediction"], alone(batch)["prediction"]

    return mean_difference(told)


@torch.no_grad()
def order(positions: str) -> str:
    """Audio frames but the last in another order."""

    def told(seed: int) -> tuple[Tensor, Tensor]:
        model = model_of("MulT", seed, OWN, positions=positions, kernels=dict.fromkeys(WIDTHS, 1), causal=False)
        batch = clip(seed, OWN)
        audio, places = batch["audio"], torch.randperm(OWN["audio"] - 1)
        values = torch.cat([audio.values[:, places], audio.values[:, -1:]], 1)
        changed = replace(batch, modalities=batch.modalities | {"audio": replace(audio, values=values)})
        return model(batch)["prediction"], model(changed)["prediction"]

    return mean_difference(told)


def decay(steps: int, size: int, unimodal: str) -> str:
    """Norm of the text head's first layer before and after the steps of two epochs, by Adam with decay 1e-3."""
    torch.manual_seed(0)
    settings = replace(self_mm.PUBLISHED, features={"M": 128, "text": size}, unimodal=unimodal)
    model = self_mm.Model(settings, InputSpec({"text": 768}, {"text": 1})).train()
    weight = model.heads["text"].first.weight
    before = float(weight.norm().detach())
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-3)
    batch = clip(0, {"text": 1})
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(batch, batch, epoch=1)["loss"].backward()
        optimizer.step()
    return f"{before:.2f} → {float(weight.norm().detach()):.4f}"


def main() -> None:
    torch.set_num_threads(1)
    for name, published in PADDED.items():
        mended = {next(iter(published)): {"read": "masked", "last": "real"}[next(iter(published.values()))]}
        print(f"{name}, padded or not: {padding(name)}; mended {padding(name, **mended)}", flush=True)
    print(f"MulT, kernel 1, no mask, audio shuffled: {order('none')}; with positions {order('sines')}")
    for data, (steps, size) in STEPS.items():
        print(f"Self-MM, {data}, {steps} steps: {decay(steps, size, 'always')}; waiting {decay(steps, size, 'wait')}")


if __name__ == "__main__":
    main()
