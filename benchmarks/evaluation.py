"""What judging under loss costs beside the bare forward passes. In: model and pattern names. Out: a table of ratios.

    python benchmarks/evaluation.py [--models lnln misa] [--patterns frames modality noise] [--clock cpu]

The bare passes are as many as there are different variants, on tensors that were collated beforehand. Against them
stand `predict_variants` (collating, drawing noise, masking, gathering outputs) and the same with all scores and their
bootstrap intervals. Clips have MOSI's shape and lengths. All take turns `rounds` times; medians are shown. With
`--clock cpu` processor time is counted, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lacuna.compute import linear
from lacuna.data.batches import InputSpec
from lacuna.data.samples import TOKEN_COLUMNS, Sample, Samples
from lacuna.evaluate.judged import Judged
from lacuna.evaluate.under_loss import BATCH, Lossy, predict_variants
from lacuna.mask.variants import Grid, Variants, counted, levels_of, write_variants
from lacuna.params import plugin
from lacuna.types import Clip, FeatureSequence

LONGEST = {"text": (50, 3), "vision": (500, 20), "audio": (375, 5)}  # frames and columns, unaligned
JUDGED = Judged("regression", "mosi", 0)


def clips(count: int) -> list[Sample]:
    """Samples whose lengths are spread as MOSI's are."""
    rng = np.random.default_rng(0)
    shares = np.clip(rng.lognormal(np.log(0.27), 0.65, count), 0.06, 1)
    return [_sample(rng, i, share) for i, share in enumerate(shares)]


def _sample(rng: np.random.Generator, index: int, share: float) -> Sample:
    features = {}
    for modality, (most, width) in LONGEST.items():
        length, columns = max(3, round(share * most)), tuple(f"{modality}_{i}" for i in range(width))
        values = rng.normal(size=(length, width)).astype(np.float32)
        if modality == "text":
            columns, ids = TOKEN_COLUMNS, [101, *rng.integers(1000, 30000, length - 2), 102]
            values = np.stack([ids, np.ones(length), np.zeros(length)], 1).astype(np.int64)
        features[modality] = FeatureSequence(values, np.arange(length) / 25, np.ones(length, bool), columns)
    clip = Clip(str(index), "noise", "test", "", {"M": float(rng.integers(-15, 16) / 5)})
    return Sample(clip, features)


def measure(
    model: nn.Module, samples: list[Sample], spec: InputSpec, variants: Variants, device: str, clock: str
) -> list[float]:
    """Seconds of the bare passes, of predicting, and of predicting and counting."""
    labels = np.array([sample.clip.label for sample in samples])
    order = sorted(samples, key=lambda sample: len(sample.features["vision"]))
    batches = [Lossy(order[k : k + BATCH], spec, variants, device).whole for k in range(0, len(order), BATCH)]
    passes = len({variants.identity(level, seed) for level in variants.levels for seed in variants.seeds})

    @torch.inference_mode()
    def bare() -> None:
        with linear.fast(torch.device(device)):
            for _ in range(passes):
                for batch in batches:
                    model(batch)

    def predicted() -> None:
        list(predict_variants(model, samples, spec, variants, torch.device(device)))

    def counted() -> None:
        for _, _, outputs in predict_variants(model, samples, spec, variants, torch.device(device)):
            JUDGED.scores(outputs["prediction"], labels)
            JUDGED.intervals(outputs["prediction"], labels, 1000)

    return [_seconds(work, device, clock) for work in (bare, predicted, counted)]


def _seconds(work: Callable[[], None], device: str, clock: str) -> float:
    now = {"cpu": time.process_time, "wall": time.perf_counter}[clock]
    start = now()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return now() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["lnln", "misa"])
    parser.add_argument("--patterns", nargs="+", default=["frames", "modality", "noise"])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--rates", nargs="+", type=float, default=[i / 10 for i in range(10)])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"))
    options = parser.parse_args()
    samples = clips(options.clips)
    spec = InputSpec.of(samples, {})
    print(f"{options.clips} clips, {options.device}, {options.clock} clock,", end=" ")
    print(f"median of {options.rounds} (lowest to highest)\n")
    print("| model | pattern | bare s | predicted / bare | predicted and counted / bare |\n|---|---|---|---|---|")
    for name in options.models:
        module = plugin("models", name)
        model = module.Model(module.Settings(), spec).to(options.device).eval()
        for pattern in options.patterns:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "v.h5")
                levels = levels_of(pattern, options.rates, list(LONGEST), True)
                read = Samples.of(samples)
                grid = Grid(plugin("patterns", pattern), levels, options.seeds)
                write_variants(path, read.clips, counted(read), grid)
                variants = Variants(path)
            given = (model, samples, spec, variants, options.device, options.clock)
            told = [measure(*given) for _ in range(options.rounds + 1)][1:]  # the first one warms up
            cells = [f"{statistics.median(bare for bare, *_ in told):.2f}"]
            for k in (1, 2):
                ratios = [times[k] / times[0] for times in told]
                cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
            print(f"| {name} | {pattern} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
