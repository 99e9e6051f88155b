"""A checkpoint of real extractors and random weights, for tests of prediction. In: a folder. Out: it, filled."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from lacuna.data.batches import InputSpec
from lacuna.extract.cached import Extraction
from lacuna.params import plugin, plugin_settings
from lacuna.train import checkpoint
from lacuna.train.checkpoint import Card

FEATURES = {"bert": {"source": "embedded", "max_length": 20}, "librosa": {"recipe": "sims33", "rate": 16000}}
MODELS = {
    "lnln": {"width": 16, "heads": 2, "hidden": 16},
    "rcml": {},
}


def write_checkpoint(
    folder: Path, model: str = "lnln", features: dict[str, dict] = FEATURES, task: str = "regression"
) -> Path:
    """model.json and model.safetensors of a model that was never trained, over features that can be extracted."""
    origins = {}
    for extractor, settings in features.items():
        origin = Extraction(extractor, settings, folder / "cache").origin
        origins[origin.modality] = origin
    widths = {m: len(origin.columns) for m, origin in origins.items()}
    spec = InputSpec(widths, dict.fromkeys(widths, 100), False, 3 if task == "polarity" else 0)
    torch.manual_seed(0)
    settings = plugin_settings("models", model, MODELS[model])
    network = plugin("models", model).Model(settings, spec)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # zero-initialised parts would hide their inputs
    card = Card(
        model=model,
        settings=asdict(settings),
        spec=spec,
        task=task,
        label_range=(-3.0, 3.0),
        origins=origins,
        scaler={k: {m: np.full(w, v).tolist() for m, w in widths.items()} for k, v in (("mean", 0.0), ("scale", 1.0))},
        training={},
        seed=0,
        params_hash="",
        dataset="none",
        versions={},
    )
    checkpoint.save(folder, network, card)
    return folder
