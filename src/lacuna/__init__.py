"""Lacuna: from raw videos to reproducible features, seeded incomplete variants and robust sentiment models.

    import lacuna
    answer = lacuna.predict("clip.mp4", "processed/demo/models/lnln/1111", text="what a day")

`load` and `predict` ask a trained model, `extract` and `mask` make and damage features, `metrics` scores predictions,
`open` and `collate` feed a model of your own. What each of them needs is imported when it is first called: a plain
`import lacuna` takes milliseconds.
"""

from __future__ import annotations

import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from lacuna.data.batches import Batch
    from lacuna.data.samples import Sample
    from lacuna.predict.answers import Answer
    from lacuna.predict.run import Predictor
    from lacuna.train.opened import Opened
    from lacuna.types import FeatureSequence

__version__ = "0.1.0"
__all__ = ["collate", "extract", "load", "mask", "metrics", "open", "predict"]

# Before torch comes: its threads wait for each other awake, and where other work shares the cores, each keeps the one
# that it waits for from running. A short wait costs nothing on an idle machine (docs/scaling.md).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

logging.getLogger(__name__).addHandler(logging.NullHandler())  # who uses the library decides what is told

for _room in ("extract", "mask", "predict"):  # before the functions of these names take their place as attributes
    import_module(f"lacuna.{_room}")


def load(checkpoint: Path | str, device: str = "auto", use: Mapping[str, str] | None = None) -> Predictor:
    """A trained model that answers for files: `load(folder)("clip.mp4", text="…")`.

    checkpoint: a folder with model.json and model.safetensors, as `train` and `convert` write it, or "hf://org/name" of
    a model hub; use: programs, folders and weights that the checkpoint asks for and you trust, {"bert.source": "…"}.
    Raises MalformedInput where it is no checkpoint. Nothing is unpickled.
    """
    from lacuna.commands.share.hub import fetched
    from lacuna.predict.run import Predictor

    return Predictor(fetched(str(checkpoint)), device, use=use)


def predict(path: Path | str, checkpoint: Path | str, device: str = "auto", **options: Any) -> Answer:  # noqa: ANN401
    """What a model says of one video, sound file or picture: score, contributions, curve by the second, what it missed.

    options: fields of `lacuna.predict.answers.Question`: text (what is said), transcript (.srt, .vtt, .txt), asr (a
    recogniser to hear it with), start and end (s), drop (modalities), missing ({modality: share}), seed.
    """
    return load(checkpoint, device)(path, **options)


def extract(
    path: Path | str,
    extractor: str,
    text: str = "",
    span: tuple[float, float | None] = (0.0, None),
    **settings: Any,  # noqa: ANN401
) -> FeatureSequence:
    """Features of one file: `values` (T, D) float32 (token ids: int64), `times` (T,) s, `seen` (T,) bool, `columns`.

    extractor: a file of lacuna/extractors (librosa, face, bert, image, speech …); settings: its own, as params.yaml has
    them under `extract.<extractor>`; text: what is said, for extractors of text; span: s from the file's start.
    """
    from lacuna.extract.one import extract_file

    return extract_file(path, extractor, text, span, settings)


def mask(
    sequence: FeatureSequence, rate: float | str, pattern: str = "frames", seed: int = 1, modality: str = ""
) -> FeatureSequence:
    """The sequence after a simulated loss: lost frames are zeros with `seen` false, lost words keep their place.

    rate: share of frames in [0, 1], or what the pattern names ("text+audio": the modalities that are left); pattern: a
    file of lacuna/patterns; the same seed loses the same frames, and more at a higher rate; modality: the sequence's,
    where the pattern asks for it.
    """
    from lacuna.mask.mask import Draw, checked_level, harm
    from lacuna.params import plugin

    module = plugin("patterns", pattern)
    draw = Draw("given", "given", modality, pattern, checked_level(rate), seed)
    return harm(sequence, module, module.survivors(sequence, draw), draw)


def metrics(predictions: Sequence | np.ndarray, labels: Sequence | np.ndarray, scale: str = "mosi") -> dict[str, Any]:
    """The field's scores: of (N,) sentiment, "mosi" in [-3, 3] or "sims" in [-1, 1], or of (N, K) class probabilities.

    Labels are (N,) scores, or class indices; clips whose label is NaN are left out. See `lacuna.evaluate.metrics`.
    """
    import numpy

    from lacuna.evaluate.metrics import classification, regression

    told, known = numpy.asarray(predictions, float), numpy.asarray(labels, float)
    return classification(told, known) if told.ndim == 2 else dict(regression(told, known, scale))


def open(
    folder: Path | str,
    features: Sequence[str],
    split: str = "train",
    pattern: str = "",
    rate: float | str = 0.5,
    seed: int = 0,
) -> Opened:
    """The samples of `processed/<dataset>` as a torch Dataset: read when asked for, scaled by the train split, and,
    where a `pattern` is named, without the frames that it takes at this `rate` and `seed`."""
    opened = import_module("lacuna.train.opened")
    return opened.open_dataset(folder, features, split, opened.Loss(pattern, rate, seed) if pattern else None)


def collate(samples: Sequence[Sample], lengths: Mapping[str, int] | None = None) -> Batch:
    """Samples as one padded batch, for DataLoader's `collate_fn`. See `lacuna.data.batches.collate`."""
    return import_module("lacuna.data.batches").collate(samples, lengths)
