"""What trained models tell of the test split beside scores. In: checkpoints and features. Out: `inside.Asked`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lacuna.data.samples import Sample, Samples
from lacuna.data.task import Inputs
from lacuna.figures.sections.inside import Asked
from lacuna.mask.variants import Variants
from lacuna.train import checkpoint
from lacuna.train.run import read_corpus
from lacuna.train.trainer import choose_device, predict
from lacuna.types import specials

TOLD_BY_RATE = ("completeness", "uncertainty")  # outputs that are worth asking for at every missing rate


def ask(processed: Path, models: Mapping[str, Inputs], seed: int, most: int, device: str = "auto") -> list[Asked]:
    """Each model trained with `seed`, on at most `most` clips of the test split."""
    asked = []
    for model, inputs in models.items():
        folder = processed / "models" / model / str(seed)
        if (folder / "model.json").is_file():
            corpus = read_corpus(processed, inputs, checkpoint.scaler_of(checkpoint.read_card(folder)))
            test = corpus.splits["test"][:most]
            asked.append(_ask(model, folder, test, _frames(processed / "variants", test), device))
    return asked


def _frames(folder: Path, test: Samples) -> Variants | None:
    """The pattern that loses single frames, for a missing rate that means the same for each clip."""
    path = folder / "frames.h5"
    return Variants(path, [clip.id for clip in test.clips]) if path.is_file() else None


def _ask(model: str, folder: Path, test: Samples, variants: Variants | None, device: str) -> Asked:
    network, card = checkpoint.load(folder)
    spec, place = card.spec, choose_device(device)
    outputs = predict(network, test, spec, place)
    by_rate, left = {}, {}
    if variants is not None and any(name in outputs for name in TOLD_BY_RATE):
        for rate in (level for level in variants.levels if isinstance(level, float)):
            lossy = [variants.apply(sample, rate, variants.seeds[0]) for sample in test]
            told = predict(network, lossy, spec, place)
            by_rate[rate] = {name: told[name] for name in TOLD_BY_RATE if name in told}
            left[rate] = np.array([_left(sample) for sample in lossy])
    return Asked(
        model=model,
        labels=test.labels,
        classes=spec.classes,
        outputs=outputs,
        by_rate=by_rate,
        left=left if "text" in spec.widths else {},
        pairs=tuple(getattr(network, "pairs", ())),
        settings=card.settings,
        names=card.class_names(),
    )


def _left(sample: Sample) -> float:
    """The share of a clip's words that survived; [CLS] and [SEP], which always do, left out."""
    text = sample.features.get("text")
    if text is None or not len(text):
        return 0.0
    seen = text.seen[~specials(text)]
    return float(seen.mean()) if len(seen) else 0.0
