"""Answers for clips without a label. In: a corpus and a model's checkpoints. Out: scores/<model>.unlabelled.csv.

The file has the columns that are asked for, `guid,tag`. Of several seeds the mean output decides. Where the dataset has
no such clips, or its task has classes without names, the file has no rows: it is an out of the stage either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lacuna.datasets.image_text import write_tags
from lacuna.train import checkpoint
from lacuna.train.run import Corpus
from lacuna.train.trainer import choose_device, predict
from lacuna.types import UNKNOWN


def answer(corpus: Corpus, folders: Sequence[Path], path: Path, device: str) -> int:
    """Write the tags of the corpus's unlabelled clips; how many there are."""
    unlabelled = corpus.splits[UNKNOWN]
    samples = unlabelled.select(np.flatnonzero(unlabelled.frames).tolist())
    if corpus.task.task == "class" or not samples:
        write_tags(path, ())
        return 0
    outputs = []
    for folder in folders:
        network, card = checkpoint.load(folder)
        outputs.append(predict(network, samples, card.spec, choose_device(device))["prediction"])
    classes = polarity_of(np.mean(outputs, 0))
    write_tags(path, zip((clip.id for clip in samples.clips), classes.tolist()))
    return len(samples)


def polarity_of(outputs: np.ndarray) -> np.ndarray:
    """(N,) classes 0, 1, 2 (negative, neutral, positive) of probabilities (N, 3) or scores (N,)."""
    return outputs.argmax(1) if outputs.ndim == 2 else np.sign(outputs).astype(int) + 1
