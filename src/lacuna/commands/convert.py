"""Checkpoints of published code as ours. In: a model's name and the authors' .pth. Out: a checkpoint folder."""

from __future__ import annotations

import importlib.metadata
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from lacuna.data.batches import InputSpec
from lacuna.data.samples import HIDDEN_COLUMN, TOKEN_COLUMNS
from lacuna.params import plugin
from lacuna.storage.features import Origin
from lacuna.train import checkpoint
from lacuna.train.checkpoint import Card
from lacuna.types import MalformedInput

NESTED = ("state_dict", "model_state_dict", "model", "net")  # where trainers keep a state dict among other things
# DMD's distillation units and Self-MM's labels, which only training reads and their authors do not save.
UNITS = ("homo", "hetero", "own_labels")
BERT_WIDTHS = (768, 1024)  # text of such a width is hidden states, as in the official pickles


@dataclass(frozen=True)
class Source:
    """What is converted: the file, files of units that were saved apart ({prefix: file}), and the scale of labels."""

    path: Path
    units: Mapping[str, Path] = field(default_factory=dict)
    label_range: tuple[float, float] = (-3.0, 3.0)


def convert(name: str, source: Source, folder: Path) -> list[str]:
    """Write the checkpoint into `folder` with the model's published settings; lines that tell what it came to.

    The features it was trained on are known by their widths alone, so its card says that they were given, under the
    column names that an official pickle gets.
    """
    renaming, module = plugin("commands.published", name), plugin("models", name)
    state = read_state(source.path)
    for prefix, path in source.units.items():
        state |= {f"{prefix}.{key}": tensor for key, tensor in read_state(path).items()}
    try:
        settings, spec = renaming.describe(state)
        spec |= dict(zip(("low", "high"), source.label_range))
        renamed = renaming.rename(state)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise MalformedInput(f"{source.path}: expected a published checkpoint of {name}; it lacks {error}") from error
    inputs = InputSpec(**spec)
    model = module.Model(replace(module.PUBLISHED, **settings), inputs)
    absent = _fill(model, renamed, name, source)
    checkpoint.save(folder, model, _card(name, module, settings, inputs, source))
    return _told(name, folder, model, inputs, absent)


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of torch.save; nothing in it is run."""
    if not Path(path).is_file():
        raise MalformedInput(f"{path}: expected a checkpoint of published code (.pth), found none")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        # What torch says of other pickles is how to run them: no advice to pass on.
        plain = str(error) and not isinstance(error, pickle.UnpicklingError)
        said = str(error).splitlines()[0] if plain else f"it holds something else ({type(error).__name__})"
        raise MalformedInput(f"{path}: expected a state dict of tensors, as torch.save writes it: {said}") from error
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        found = f"a dict of {', '.join(map(str, list(content)[:5]))}" if isinstance(content, dict) else type(content)
        raise MalformedInput(f"{path}: expected a state dict of tensors, got {found}")
    return dict(content)


def _fill(model: nn.Module, state: dict[str, Tensor], name: str, source: Source) -> set[str]:
    """Put the weights in; returns the units that were not among them and keep their fresh weights."""
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a tensor of another shape
        said = str(error).splitlines()[-1].strip()
        raise MalformedInput(f"{source.path}: expected a published checkpoint of {name}: {said}") from error
    units = {key.split(".")[0] for key in missing if key.startswith(UNITS)}
    lacking = sorted(key for key in missing if not key.startswith(UNITS))
    if lacking or unexpected:
        raise MalformedInput(
            f"{source.path}: expected a published checkpoint of {name}; lacking {lacking[:3]}, unknown {unexpected[:3]}"
        )
    return units


def _card(name: str, module: ModuleType, settings: dict[str, object], spec: InputSpec, source: Source) -> Card:
    return Card(
        model=name,
        settings=asdict(replace(module.PUBLISHED, **settings)),
        spec=spec,
        task="regression" if not spec.classes else "polarity" if spec.classes == 3 else "class",
        label_range=source.label_range,
        origins={m: _origin(m, width, spec.tokens, source.path) for m, width in spec.widths.items()},
        scaler={},
        training={},
        seed=0,
        params_hash="",
        dataset="published",
        versions={"torch": importlib.metadata.version("torch")},
        published=True,
    )


def _origin(modality: str, width: int, tokens: bool, path: Path) -> Origin:
    """Columns as an official pickle's features are named, so that a converted model reads those."""
    settings: dict[str, object] = {"published": path.name}
    if modality == "text" and tokens:
        return Origin("given", modality, TOKEN_COLUMNS, settings, {}, "int64")
    hidden = modality == "text" and width in BERT_WIDTHS
    prefix = HIDDEN_COLUMN.removesuffix("0") if hidden else f"{modality}_"
    return Origin("given", modality, tuple(f"{prefix}{i}" for i in range(width)), settings, {})


def _told(name: str, folder: Path, model: nn.Module, spec: InputSpec, absent: set[str]) -> list[str]:
    count = sum(p.numel() for p in model.parameters())
    reads = ", ".join(f"{m} {'token ids' if m == 'text' and spec.tokens else w}" for m, w in spec.widths.items())
    lines = [f"{folder}: {name} with its published settings, {count:,} weights; it reads {reads}"]
    lines.append(f"{folder}: note: its features were not standardised here (train.standardize: false)")
    if absent:
        lines.append(f"{folder}: note: {', '.join(sorted(absent))} were not given; only training reads them")
    return lines
