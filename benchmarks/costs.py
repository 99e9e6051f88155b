"""What each model costs on one dataset's features: weights, and CPU seconds an epoch. Out: a row a model.

    python benchmarks/costs.py [processed/demo] [--models tfn lmf …]

Each trains with its own TRAINING on tokens, voice and face (all columns), the text encoder frozen. The first epoch
encodes every text and is not counted; of the next three the fastest is. Weights are those that learn.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import torch

from lacuna.data.batches import InputSpec
from lacuna.data.task import Inputs
from lacuna.params import checked, plugin, plugin_names
from lacuna.storage import pretrained
from lacuna.train.run import read_corpus
from lacuna.train.trainer import Data, Settings, fit

CLASSES = ("rcml", "rcml_misa")  # count evidence for classes
LENGTHS = {"text": 50, "audio": 500, "vision": 500}


def cost(name: str, folder: Path) -> tuple[int, float, int]:
    """Weights that learn, CPU seconds of an epoch, and the batch size."""
    task = "polarity" if name in CLASSES else "regression"
    corpus = read_corpus(folder, Inputs(features=["tokens", "librosa", "face"], task=task))
    module, splits = plugin("models", name), corpus.splits
    spec = InputSpec.of(splits["train"], LENGTHS, corpus.task.classes)
    known = {field.name for field in fields(module.Settings)}
    frozen = {key: value for key, value in (("encoder", pretrained.EMBEDDED), ("finetune", False)) if key in known}
    torch.manual_seed(0)
    model = module.Model(replace(module.Settings(), **frozen), spec)
    training = replace(checked(Settings, module.TRAINING, name), epochs=4, early_stop=0)
    pattern = None if training.pattern == "none" else plugin("patterns", training.pattern)
    ends = [time.process_time()]
    fit(
        model, Data(splits["train"], splits["valid"], spec, pattern), training, 1,
        on_epoch=lambda progress: ends.append(time.process_time()),
    )  # fmt: skip
    epochs = [after - before for before, after in pairwise(ends[1:])] or [ends[-1] - ends[0]]  # a ridge is solved once
    return sum(p.numel() for p in model.parameters() if p.requires_grad), min(epochs), training.batch_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("processed/demo"))
    known = [name for name in plugin_names("models") if name != "image_only"]
    parser.add_argument("--models", nargs="*", default=known, choices=known)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | weights that learn | CPU seconds an epoch | batch |\n|---|---|---|---|", flush=True)
    for name in arguments.models:
        weights, seconds, batch = cost(name, arguments.folder)
        print(f"| {name} | {weights:,} | {seconds:.2f} | {batch} |", flush=True)


if __name__ == "__main__":
    main()
