"""Trained models on disk. In: a model and what built it. Out: `model.safetensors` + `model.json`, and the model again.

Nothing here unpickles, and nothing is believed: both files hold a digest of themselves, model.json that of the weights
too, and sizes are checked before a model is built. A frozen text encoder's weights are not copied into each checkpoint:
they are read again from their source, and the fingerprint in model.json says if that source is still what the model was
trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import nn

from lacuna.data.batches import InputSpec
from lacuna.data.samples import Sample
from lacuna.data.scaler import Scaler
from lacuna.params import checked, plugin
from lacuna.storage import pretrained
from lacuna.storage.cache import digest_of
from lacuna.storage.features import Origin
from lacuna.storage.files import damaged, read_json, replacing
from lacuna.storage.tensors import read_tensors, shapes_of, write_tensors
from lacuna.train.sizes import check_sizes, check_spec
from lacuna.types import MalformedInput

WEIGHTS, CARD = "model.safetensors", "model.json"
REMEDY = "copy it anew, or delete it and run `dvc repro train`"


@dataclass(frozen=True)
class Card:
    """What built a model, all of it plain values: the content of model.json."""

    model: str
    settings: dict[str, object]
    spec: InputSpec
    task: str
    label_range: tuple[float, float]
    origins: dict[str, Origin]  # what made the features of each modality
    scaler: dict[str, dict[str, list[float]]]  # {"mean" | "scale": {modality: (D,)}}
    training: dict[str, object]
    seed: int
    params_hash: str
    dataset: str
    versions: dict[str, str]
    best_epoch: int = 0
    published: bool = False
    classes: tuple[str, ...] = ()  # names of the classes, where they have any
    chosen_on_test: dict[str, float] = field(default_factory=dict)  # the metric, and its value; empty: on validation
    weights: str = ""  # the digest that model.safetensors holds of itself; empty: an older Lacuna wrote it

    def class_names(self) -> list[str]:
        """Names of a classifier's classes; none for scores."""
        if self.spec.classes == 3 and self.task == "polarity":
            return ["negative", "neutral", "positive"]
        named = list(self.classes)[: self.spec.classes]  # a class that no clip of training has is never told
        return named or [str(k) for k in range(self.spec.classes)]


def save(folder: Path, model: nn.Module, card: Card) -> None:
    """Write both files, weights first: a folder with a model.json is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    card = replace(card, settings=_portable(model, card.settings))
    left_out = _frozen_names(model) if isinstance(card.settings.get("encoder"), str) else set()
    kept = {name: value for name, value in state.items() if name not in left_out}
    with replacing(folder / WEIGHTS) as temporary:
        digest = write_tensors(temporary, kept)
    card = replace(card, weights=digest)
    record = json.loads(json.dumps(asdict(card)))  # lists for tuples, as it is read
    with replacing(folder / CARD) as temporary:
        temporary.write_text(
            json.dumps(record | {"digest": digest_of(record)}, indent=1, sort_keys=True), encoding="utf-8"
        )


def _portable(model: nn.Module, settings: dict[str, object]) -> dict[str, object]:
    """Settings that need no source for a text encoder whose weights are in the checkpoint."""
    encoder = getattr(model, "text_encoder", None)
    if encoder is None or _frozen_names(model):
        return settings
    return settings | {"encoder": encoder.portable}


def _frozen_names(model: nn.Module) -> set[str]:
    """Names of a text encoder's tensors that training never touched."""
    encoder = getattr(model, "text_encoder", None)
    if encoder is None or any(p.requires_grad for p in encoder.parameters()):
        return set()
    return {f"text_encoder.{name}" for name in encoder.state_dict()}


def read_card(folder: Path) -> Card:
    """The card of a checkpoint folder; MalformedInput where it is damaged, or says what no card says."""
    path = Path(folder) / CARD
    if not path.is_file():
        raise MalformedInput(f"{folder}: expected a checkpoint with model.json and model.safetensors, found none")
    record = read_json(path, REMEDY)
    if not isinstance(record, dict):
        raise damaged(path, "a record", type(record).__name__, REMEDY)
    wanted = record.pop("digest", None)
    if wanted is not None and wanted != digest_of(record):
        raise damaged(path, f"digest {str(wanted)[:12]}… as it says itself", f"{digest_of(record)[:12]}…", REMEDY)
    card = checked(Card, record, str(path))
    check_spec(card.spec, path)
    for modality, width in card.spec.widths.items():
        columns = len(card.origins[modality].columns) if modality in card.origins else 0
        if columns != width:
            raise MalformedInput(f"{path}: {modality}: expected the {width} columns of its width, got {columns}")
    for name, values in card.scaler.items():
        for modality, row in values.items():
            if len(row) != card.spec.widths.get(modality):
                raise MalformedInput(f"{path}: scaler: expected one {name} a column of {modality}, got {len(row)}")
    return card


def load(folder: Path, encoder: str = "") -> tuple[nn.Module, Card]:
    """The model as it was saved, on the CPU and in evaluation mode, with its card.

    encoder: where the text encoder's weights are, in place of what the card says.
    """
    folder = Path(folder)
    card = read_card(folder)
    if not (folder / WEIGHTS).is_file():
        raise MalformedInput(f"{folder}: expected {WEIGHTS} beside {CARD}, found none")
    settings = card.settings | ({"encoder": encoder} if encoder else {})
    module, saved = plugin("models", card.model), shapes_of(folder / WEIGHTS, REMEDY)
    check_sizes(lambda: _built(module, _by_config(settings, card.spec), card.spec, folder), saved, folder / CARD)
    state, _, digest = read_tensors(folder / WEIGHTS, REMEDY)
    if card.weights and digest != card.weights:
        raise damaged(folder / WEIGHTS, f"digest {card.weights[:12]}… as {CARD} has it", f"{digest[:12]}…", REMEDY)
    model = _built(module, settings, card.spec, folder)
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = set(missing) - _frozen_names(model)
    if missing or unexpected:
        raise MalformedInput(
            f"{folder}: expected the weights of {card.model}; missing {sorted(missing)[:3]}, "
            f"unexpected {sorted(unexpected)[:3]}"
        )
    return model.eval(), card


def _built(module: ModuleType, settings: Mapping[str, Any], spec: InputSpec, folder: Path) -> nn.Module:
    return module.Model(checked(module.Settings, settings, f"{folder}: settings"), spec)


def _by_config(settings: dict[str, Any], spec: InputSpec) -> dict[str, Any]:
    """The settings with a text encoder that needs no weights; MalformedInput where it is none of transformers' own."""
    encoder = settings.get("encoder") if spec.tokens else None  # embeddings need none
    if isinstance(encoder, str):
        return settings | {"encoder": pretrained.architecture(encoder)}
    if isinstance(encoder, Mapping):
        pretrained.check_architecture(encoder)
    return settings


def scaler_of(card: Card) -> Scaler:
    """The scaler that the model's inputs went through; without one, an identity."""
    arrays = {k: {m: np.asarray(v, np.float32) for m, v in card.scaler.get(k, {}).items()} for k in ("mean", "scale")}
    return Scaler(arrays["mean"], arrays["scale"])


def check_features(card: Card, origins: Mapping[str, Origin]) -> None:
    """Refuse features that are not what the model was trained on, naming the columns and the way to make them."""
    for modality, wanted in card.origins.items():
        if modality not in origins:
            continue  # a modality may be missing: that is what these models are for
        columns, expected = origins[modality].columns, wanted.columns
        if columns != expected:
            odd = [c for c in columns if c not in expected], [c for c in expected if c not in columns]
            raise MalformedInput(
                f"{modality}: expected {len(expected)} columns of {wanted.extractor} with settings "
                f"{wanted.settings}, got {len(columns)}; not known to the model: {odd[0][:5]}, lacking: {odd[1][:5]}"
            )


def scaler_values(scaler: Scaler) -> dict[str, dict[str, list[float]]]:
    """A scaler as plain values for a card."""
    return {name: {m: v.tolist() for m, v in getattr(scaler, name).items()} for name in ("mean", "scale")}


def lacking(sample: Sample, card: Card) -> list[str]:
    """Modalities the model reads and the sample has no frames of."""
    return [m for m in card.spec.widths if not len(sample.features.get(m, ()))]
