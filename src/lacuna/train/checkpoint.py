"""Trained models on disk. In: a model and what built it. Out: `model.safetensors` + `model.json`, and the model again.

Nothing here unpickles. A frozen text encoder's weights are not copied into each checkpoint: they are read again from
their source, and the fingerprint in model.json says if that source is still what the model was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from torch import nn

from lacuna.data.batches import InputSpec
from lacuna.data.samples import Sample
from lacuna.data.scaler import Scaler
from lacuna.params import checked, plugin
from lacuna.storage.features import Origin, replacing
from lacuna.types import MalformedInput


@dataclass(frozen=True)
class Card:
    """What built a model, all of it plain values: the content of model.json."""

    model: str
    settings: dict[str, object]
    spec: dict[str, object]
    task: str
    label_range: tuple[float, float]
    origins: dict[str, dict[str, object]]  # what made the features of each modality
    scaler: dict[str, dict[str, list[float]]]  # {"mean" | "scale": {modality: (D,)}}
    training: dict[str, object]
    seed: int
    params_hash: str
    dataset: str
    versions: dict[str, str]
    best_epoch: int = 0
    published: bool = False
    chosen_on_test: dict[str, float] = field(default_factory=dict)  # the metric, and its value; empty: on validation


def save(folder: Path, model: nn.Module, card: Card) -> None:
    """Write both files, weights first: a folder with a model.json is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    card = replace(card, settings=_portable(model, card.settings))
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    left_out = _frozen_names(model) if isinstance(card.settings.get("encoder"), str) else set()
    kept = {name: value for name, value in state.items() if name not in left_out}
    with replacing(folder / "model.safetensors") as temporary:
        save_file(kept, temporary)
    with replacing(folder / "model.json") as temporary:
        temporary.write_text(json.dumps(asdict(card), indent=1, sort_keys=True), encoding="utf-8")


def _portable(model: nn.Module, settings: dict[str, object]) -> dict[str, object]:
    """Settings that need no source for a text encoder whose weights are in the checkpoint."""
    encoder = getattr(model, "text_encoder", None)
    inside = encoder is not None and not _frozen_names(model)
    return settings | {"encoder": encoder.portable} if inside else settings


def _frozen_names(model: nn.Module) -> set[str]:
    """Names of a text encoder's tensors that training never touched."""
    encoder = getattr(model, "text_encoder", None)
    if encoder is None or any(p.requires_grad for p in encoder.parameters()):
        return set()
    return {f"text_encoder.{name}" for name in encoder.state_dict()}


def read_card(folder: Path) -> Card:
    """The card of a checkpoint folder."""
    path = Path(folder) / "model.json"
    if not path.is_file():
        raise MalformedInput(f"{folder}: expected a checkpoint with model.json and model.safetensors, found none")
    return Card(**json.loads(path.read_text(encoding="utf-8")))


def load(folder: Path) -> tuple[nn.Module, Card]:
    """The model as it was saved, on the CPU and in evaluation mode, with its card."""
    card = read_card(folder)
    module = plugin("models", card.model)
    settings = checked(module.Settings, card.settings, f"{folder}: settings")
    model = module.Model(settings, InputSpec(**card.spec))
    missing, unexpected = model.load_state_dict(load_file(Path(folder) / "model.safetensors"), strict=False)
    missing = set(missing) - _frozen_names(model)
    if missing or unexpected:
        raise MalformedInput(
            f"{folder}: expected the weights of {card.model}; missing {sorted(missing)[:3]}, "
            f"unexpected {sorted(unexpected)[:3]}"
        )
    return model.eval(), card


def scaler_of(card: Card) -> Scaler:
    """The scaler that the model's inputs went through; without one, an identity."""
    arrays = {k: {m: np.asarray(v, np.float32) for m, v in card.scaler.get(k, {}).items()} for k in ("mean", "scale")}
    return Scaler(arrays["mean"], arrays["scale"])


def check_features(card: Card, origins: Mapping[str, Origin]) -> None:
    """Refuse features that are not what the model was trained on, naming the columns and the way to make them."""
    for modality, wanted in card.origins.items():
        if modality not in origins:
            continue  # a modality may be missing: that is what these models are for
        columns, expected = origins[modality].columns, tuple(wanted["columns"])
        if columns != expected:
            odd = [c for c in columns if c not in expected], [c for c in expected if c not in columns]
            raise MalformedInput(
                f"{modality}: expected {len(expected)} columns of {wanted['extractor']} with settings "
                f"{wanted['settings']}, got {len(columns)}; not known to the model: {odd[0][:5]}, lacking: {odd[1][:5]}"
            )


def scaler_values(scaler: Scaler) -> dict[str, dict[str, list[float]]]:
    """A scaler as plain values for a card."""
    return {name: {m: v.tolist() for m, v in getattr(scaler, name).items()} for name in ("mean", "scale")}


def lacking(sample: Sample, card: Card) -> list[str]:
    """Modalities the model reads and the sample has no frames of."""
    return [m for m in card.spec["widths"] if not len(sample.features.get(m, ()))]
