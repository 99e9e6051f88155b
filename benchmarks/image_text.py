"""How well text, image and their fusions do on a folder of posts, and what attention across the batch does.

    python benchmarks/image_text.py RAW [--weights random|imagenet|FILE] [--source embedded|DIR] [--seeds 3]

RAW holds train.txt and data/. Features are extracted once, every model is trained on the train split, chosen on valid
and scored on test; the table shows mean ± std over seeds. Every model is also asked for the test split again with its
batches shuffled: how far the predictions of the published form of the streams move is the measure of that erratum.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lacuna.data.batches import InputSpec, collate
from lacuna.data.samples import Sample, Samples, polarity
from lacuna.evaluate import metrics
from lacuna.extractors import bert, resnet50
from lacuna.params import Prepare, checked
from lacuna.prepare.run import prepare
from lacuna.train.run import fit_scaler
from lacuna.train.trainer import Data, Settings, fit, predict
from lacuna.types import Clip

CLEAN = ("retweets", "mentions", "links", "hashes")
STREAMS = ("single_stream", "dual_stream")
# Name in the table: the model's file, its settings, the modalities it is given.
BOTH = ("text", "image")
RUNS: dict[str, tuple[str, dict[str, object], tuple[str, ...]]] = {
    "text alone": ("text_only", {}, ("text",)),
    "image alone": ("image_only", {}, ("image",)),
    "concat": ("concat", {}, BOTH),
    "gated by image": ("gated", {"gate": "image"}, BOTH),
    "gated by text": ("gated", {"gate": "text"}, BOTH),
    "single stream": ("single_stream", {}, BOTH),
    "dual stream": ("dual_stream", {}, BOTH),
    "RCML": ("rcml", {}, BOTH),
    "RCML-MISA": ("rcml_misa", {}, BOTH),
    "single stream, published form": ("single_stream", {"published": True}, BOTH),
    "dual stream, published form": ("dual_stream", {"published": True}, BOTH),
}
SHOWN = ("accuracy", "macro_f1", "weighted_f1")


def read(arguments: argparse.Namespace) -> list[Sample]:
    """Labelled posts with text embeddings and image regions, labels as classes."""
    clips, _ = prepare(Path(arguments.raw), "posts", Prepare())
    clips = [clip for clip in clips if clip.labels]
    pictures = resnet50.Settings(weights=arguments.weights, output="regions", size=arguments.size)
    text = bert.Extractor(bert.Settings(source=arguments.source, clean=CLEAN)).many(clips)
    image = extracted(resnet50.Extractor(pictures), clips)
    return [Sample(polarity(c), {"text": t, "image": i}) for c, t, i in zip(clips, text, image)]


def extracted(extractor: resnet50.Extractor, clips: Sequence[Clip]) -> list:
    return [sequence for start in range(0, len(clips), 64) for sequence in extractor.many(clips[start : start + 64])]


def only(samples: Sequence[Sample], names: Sequence[str]) -> list[Sample]:
    return [replace(s, features={m: s.features[m] for m in names}) for s in samples]


def moved(model: torch.nn.Module, test: Sequence[Sample], size: int, shuffles: int = 10) -> tuple[float, float]:
    """Mean absolute move of a probability, and share of decisions that change, when the batches are shuffled."""
    first = in_batches(model, test, np.arange(len(test)), size)
    moves, changes = [], []
    for seed in range(shuffles):
        other = in_batches(model, test, np.random.default_rng(seed).permutation(len(test)), size)
        moves.append(np.abs(other - first).mean())
        changes.append((other.argmax(1) != first.argmax(1)).mean())
    return float(np.mean(moves)), float(np.mean(changes))


@torch.no_grad()
def in_batches(model: torch.nn.Module, samples: Sequence[Sample], order: np.ndarray, size: int) -> np.ndarray:
    model.eval()
    parts = [
        model(collate([samples[i] for i in order[k : k + size]]))["prediction"] for k in range(0, len(order), size)
    ]
    return torch.cat(parts).numpy()[np.argsort(order)]


def run(name: str, samples: Sequence[Sample], seed: int, arguments: argparse.Namespace) -> tuple[dict, tuple]:
    """Scores on test, and how far predictions move when batches are shuffled."""
    file, changes, names = RUNS[name]
    module = importlib.import_module(f"lacuna.models.{file}")
    read = Samples.of(only(samples, names))
    scaler = fit_scaler(read.of_split("train"))
    train, valid, test = (read.of_split(split).scaled(scaler) for split in ("train", "valid", "test"))
    spec = InputSpec.of(train, {}, classes=3)
    torch.manual_seed(seed)
    balance = {"balance": arguments.balance} if hasattr(module.Settings, "balance") else {}
    model = module.Model(module.Settings(**changes, **balance), spec)
    settings = checked(Settings, module.TRAINING | {"epochs": arguments.epochs}, file)
    fit(model, Data(train, valid, spec), settings, seed)
    labels = test.labels
    told = predict(model, test, spec)["prediction"]
    return metrics.classification(told, labels), moved(model, test, settings.batch_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--source", default="embedded")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--balance", default="weights")
    parser.add_argument("--runs", nargs="*", default=list(RUNS), choices=list(RUNS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    samples = read(arguments)
    train, test = (Samples.of(samples).of_split(split).labels for split in ("train", "test"))
    print(f"{len(train)} train, {len(test)} test; weights {arguments.weights}, text {arguments.source}")
    print("| model | " + " | ".join(SHOWN) + " | recall neg / neu / pos | moved by shuffling | decisions changed |")
    print("|---" * (len(SHOWN) + 4) + "|")
    baseline = metrics.baseline_classification(train, test, 3)
    print("| majority | " + " | ".join(f"{100 * baseline[k]:.1f}" for k in SHOWN) + " | 0 / 0 / 100 | 0 | 0 |")
    for name in arguments.runs:
        results = [run(name, samples, seed, arguments) for seed in range(1111, 1111 + arguments.seeds)]
        cells = []
        for key in SHOWN:
            mean, std = metrics.mean_std([scores[key] for scores, _ in results])
            cells.append(f"{100 * mean:.1f} ± {100 * (std or 0):.1f}")
        recall = np.mean([scores["recall"] for scores, _ in results], 0)
        shift, changed = np.mean([effect for _, effect in results], 0)
        cells.append(" / ".join(f"{100 * r:.0f}" for r in recall))
        print(f"| {name} | " + " | ".join(cells) + f" | {shift:.4f} | {100 * changed:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
