"""What errata of ALMT, EMT-DLFR, TFR-Net, MMIM, P-RMF and TF-Mamba do, without training. Out: docs/errata.md's figures.

    python benchmarks/errata_restoring.py [unverified]

With `unverified` only P-RMF and TF-Mamba. Each model is the published form with MOSI's settings, without dropout, and
random weights (ten draws); clips are normal numbers.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from errata_mmsa import DRAWS, LENGTHS, OWN, WIDTHS, clip
from torch import nn

from lacuna.data.batches import Batch, InputSpec, Padded
from lacuna.models import almt, emt_dlfr, mmim, p_rmf, tf_mamba, tfr_net

QUIET = {
    almt: {},
    emt_dlfr: {"attention_dropout": 0.0, "feed_dropout": 0.0, "head_dropout": 0.0},
    tfr_net: {
        "attention_dropout": {},
        **{f"{part}_dropout": 0.0 for part in ("text", "memory", "relu", "residual", "embed", "fusion")},
    },
    mmim: {"dropout": 0.0},
    p_rmf: {"dropout": 0.0},
    tf_mamba: {"dropout": 0.0},
}
SHORT = {"text": 10, "audio": 25, "vision": 25}  # that 25 heads divide; the text takes 5


def model_of(module: type, seed: int, lengths: dict[str, int], **changes: object) -> nn.Module:
    """The published form with some switches thrown, in training mode."""
    torch.manual_seed(seed)
    settings = replace(module.PUBLISHED, encoder="embedded", **(QUIET[module] | changes))
    return module.Model(settings, InputSpec(WIDTHS, lengths)).train()


def batch_of(seed: int, count: int, lengths: dict[str, int], rate: float = 0.0) -> Batch:
    """Clips of these lengths that lost a share of their frames."""
    clips = [clip(100 * seed + i, lengths) for i in range(count)]
    modalities = {}
    for m in lengths:
        parts = [c[m] for c in clips]
        values, times, seen, own = (
            torch.cat([getattr(p, n) for p in parts]) for n in ("values", "times", "seen", "lengths")
        )
        seen = seen & (torch.rand(seen.shape, generator=torch.Generator().manual_seed(seed)) >= rate)
        modalities[m] = Padded(values * seen[..., None], times, seen, own)
    labels = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    return Batch(tuple(str(i) for i in range(count)), modalities, {"M": labels})


def told(values: list[float], form: str = ".4f") -> str:
    return f"{statistics.mean(values):{form}} on average, {min(values):{form}} to {max(values):{form}}"


def start(kind: str) -> str:
    """The gradient norm of ALMT's hyper-modality over the median of all norms, and all together."""
    ratios, totals = [], []
    for seed in range(DRAWS):
        model, batch = model_of(almt, seed, SHORT, hyper_start=kind), batch_of(seed, 8, SHORT)
        model.loss(batch, batch, 1)["loss"].backward()
        norms = {name: float(p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None}
        ratios.append(norms["hyper"] / statistics.median(norms.values()))
        totals.append(sum(n * n for n in norms.values()) ** 0.5)
    return f"{told(ratios, '.0f')} times the median; all together {told(totals, '.1f')}"


@torch.no_grad()
def padding(module: type, **changes: object) -> str:
    """|difference| of one clip's prediction with and without padding to MOSI's lengths."""
    gaps = []
    for seed in range(DRAWS):
        batch = clip(seed, OWN)
        padded, alone = (model_of(module, seed, lengths, **changes).eval() for lengths in (LENGTHS, OWN))
        shapes = {name: tensor.shape for name, tensor in alone.state_dict().items()}
        same = {n: t for n, t in padded.state_dict().items() if t.shape == shapes.get(n)}
        tables = {
            n: t[:, : shapes[n][1]] for n, t in padded.state_dict().items() if n.endswith("transformer.positions")
        }
        alone.load_state_dict(same | tables, strict=False)
        gaps.append(float((padded(batch)["prediction"] - alone(batch)["prediction"]).abs().max()))
    return told(gaps)


@torch.no_grad()
def company(**changes: object) -> str:
    """How far changing the first of four clips moves the rebuilt audio of the others."""
    gaps = []
    for seed in range(DRAWS):
        model, batch = model_of(tfr_net, seed, SHORT, **changes), batch_of(seed, 4, SHORT, 0.4)
        audio = batch["audio"]
        values = audio.values.clone()
        values[0] += 1
        other = replace(batch, modalities=batch.modalities | {"audio": replace(audio, values=values)})
        rebuilt = [
            model.reconstruct["audio"](model._attended("audio", model.streams(b)["audio"])) for b in (batch, other)
        ]
        gaps.append(float((rebuilt[0] - rebuilt[1])[1:].abs().max()))
    return told(gaps)


def target(kind: str) -> str:
    """Norm of the reconstruction's gradient with respect to the complete text."""
    norms = []
    for seed in range(DRAWS):
        model, batch, whole = (
            model_of(tfr_net, seed, SHORT, target=kind),
            batch_of(seed, 4, SHORT, 0.4),
            batch_of(seed, 4, SHORT),
        )
        values = whole["text"].values.requires_grad_()
        model.reconstruction("text", model.streams(batch)["text"], batch, whole).backward()
        norms.append(0.0 if values.grad is None else float(values.grad.norm()))
    return told(norms)


@torch.no_grad()
def moments(**changes: object) -> str:
    """What the moments add to the weighted reconstruction, and what it is without them."""
    without, added = [], []
    for seed in range(DRAWS):
        batch, whole = batch_of(seed, 8, SHORT, 0.4), batch_of(seed, 8, SHORT)
        totals = []
        for weight in ({}, {"discrepancy_weight": 0.0}):
            losses = model_of(tfr_net, seed, SHORT, **(changes | weight)).loss(batch, whole, 2)
            totals.append(float(losses["loss"] - losses["task"]))
        without.append(totals[1]), added.append(totals[0] - totals[1])
    return f"{told(added, '.2f')} beside {told(without, '.2f')}"


def entropy(each: int) -> str:
    """MMIM's entropy of one pair, published, with so many clips of either sign in a batch and the one before."""
    signs = torch.tensor([1.0, -1.0]).repeat(2 * each)
    drawn = torch.Generator().manual_seed(0)
    values = [
        float(mmim._entropy(torch.randn(4 * each, 4, generator=drawn).tanh(), signs, 0.0, 0)) for _ in range(DRAWS)
    ]
    lost = sum(not -50 < v < 50 for v in values)
    return f"{lost} of {DRAWS} NaN or beyond ±50" if lost else told(values, ".1f")


def variance(likelihood: str) -> str:
    """Log variance that MMIM's bound tells of noise of variance 1 after 1000 steps."""
    values = []
    for seed in range(3):
        torch.manual_seed(seed)
        bound, x, y = mmim.Bound(8, 16, likelihood), torch.randn(512, 8), torch.randn(512, 16)
        optimizer = torch.optim.Adam(bound.parameters(), 1e-3)
        for _ in range(1000):
            optimizer.zero_grad()
            (-bound(x, y)).backward()
            optimizer.step()
        values.append(float(bound.log_variance(torch.randn(512, 8)).mean().detach()))
    return told(values, ".1f")


@torch.no_grad()
def views() -> str:
    """EMT-DLFR's CPU time in evaluation: both views with all frames, over the incomplete one's prediction alone."""
    model, batch = model_of(emt_dlfr, 0, OWN).eval(), batch_of(0, 2, OWN, 0.4)

    def seconds(work: Callable[[], object]) -> float:
        work()
        began = time.process_time()
        for _ in range(3):
            work()
        return time.process_time() - began

    both = seconds(lambda: (model.view(batch, restored=True), model.view(batch, restored=True)))
    return f"{both / seconds(lambda: model(batch)):.1f} times"


@torch.no_grad()
def maxima() -> str:
    """The share of TF-Mamba's columns whose largest value over time stands behind the last word."""
    shares = []
    for seed in range(DRAWS):
        model, batch = model_of(tf_mamba, seed, LENGTHS).eval(), clip(seed, OWN)
        states: list[torch.Tensor] = []
        model.layers[-1].register_forward_hook(lambda _, asked, told, kept=states: kept.append(told))
        model(batch)
        shares.append(float((states[0][0].argmax(0) >= OWN["text"]).float().mean()))
    return told(shares, ".2f")


def unverified() -> None:
    for module in (p_rmf, tf_mamba):
        weights = sum(p.numel() for p in model_of(module, 0, LENGTHS).parameters())
        print(f"{module.__name__}: {weights:,} weights")
    for kind in ("read", "masked"):
        print(f"P-RMF, padding {kind}: {padding(p_rmf, padding=kind)}")
    print(f"TF-Mamba, padding read: columns whose maximum is padding's: {maxima()}")


def main() -> None:
    torch.set_num_threads(1)
    unverified()
    if "unverified" in sys.argv:
        return
    for kind in ("ones", "drawn"):
        print(f"ALMT, H from {kind}: its gradient is {start(kind)}")
    for kind in ("read", "masked"):
        print(f"ALMT, padding {kind}: {padding(almt, padding=kind)}")
        print(f"TFR-Net, padding {kind}: {padding(tfr_net, padding=kind, final='time')}")
    for kind in ("batch", "time"):
        print(f"TFR-Net, final over {kind}: other clips move by {company(final=kind)}")
    for kind in ("learnt", "fixed"):
        print(f"TFR-Net, target {kind}: gradient {target(kind)}")
    for name, changes in (
        ("divided, 5", {}),
        ("plain, 5", {"discrepancy": "plain"}),
        ("plain, .05", {"discrepancy": "plain", "discrepancy_weight": 0.05}),
    ):
        print(f"TFR-Net, moments {name}: {moments(**changes)}")
    for each in (1, 2, 3, 4, 16):
        print(f"MMIM, {each} of each sign a batch: {entropy(each)}")
    for kind in ("published", "complete"):
        print(f"MMIM, likelihood {kind}: log variance {variance(kind)}")
    print(f"EMT-DLFR: both views cost {views()}")


if __name__ == "__main__":
    main()
