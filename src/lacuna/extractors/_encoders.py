"""What extractors of pretrained encoders share. In: a source and settings. Out: states of its layers, and rows of them.

A source is a hub id or a folder, of transformers or (pictures) timm, which transformers wraps.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from lacuna.compute.device import device_of
from lacuna.storage import pretrained
from lacuna.types import FeatureSequence, MalformedInput, require_words

Item = TypeVar("Item")


@dataclass(frozen=True)
class EncoderSettings:
    """source: hub id or folder; layers: which hidden layers, -1 the last; layer_weights: their weights in the sum,
    none: their mean; precision: auto is bfloat16 on a GPU and float32 elsewhere; batch_size: inputs at once on a GPU;
    device: auto, cpu, cuda.
    """

    source: str = ""
    layers: tuple[int, ...] = (-1,)
    layer_weights: tuple[float, ...] = ()
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: int = 16
    device: str = "auto"

    def __post_init__(self) -> None:
        require_words(self)
        for name in ("layers", "layer_weights"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # lists in params.yaml and in checkpoints
        if not self.layers:
            raise MalformedInput("layers: expected at least one hidden layer, got none")
        if self.layer_weights and len(self.layer_weights) != len(self.layers):
            expected = f"one number for each of the {len(self.layers)} layers"
            raise MalformedInput(f"layer_weights: expected {expected}, got {len(self.layer_weights)}")
        require_batch(self.batch_size)


def require_batch(size: int) -> None:
    """Refuse batches of nothing."""
    if size < 1:
        raise MalformedInput(f"batch_size: expected at least 1, got {size}")


def require_named(source: str) -> None:
    """Refuse, before anything is loaded, settings that name no model."""
    if not source:
        raise MalformedInput(f"source: expected a hub id, a folder or {pretrained.EMBEDDED!r}, got ''")


def require_source(source: str) -> None:
    """The same for networks that Lacuna has none of."""
    if not source or source == pretrained.EMBEDDED:
        raise MalformedInput(f"source: expected a hub id or a folder (none is embedded), got {source!r}")


class Encoder:
    """A pretrained network on its device, and what its chosen layers say."""

    def __init__(self, settings: EncoderSettings, tower: str = "") -> None:
        """`tower`: the part of a model of several modalities that is wanted ("vision_model"), where it has such."""
        self.settings, self.device = settings, device_of(settings.device)
        self.precision = _precision(settings.precision, self.device)
        self.whole: Any = pretrained.encoder(settings.source, getattr(torch, self.precision)).to(self.device)
        both = getattr(self.whole.config, "is_encoder_decoder", False)  # T5, Whisper: the half that reads
        self.network: Any = self.whole.get_encoder() if both else getattr(self.whole, tower or "_", self.whole)
        self.config: Any = self.network.config
        # A batch moves the last digits of a CPU's sums, and so a clip's values would depend on its neighbours.
        self.batch_size = settings.batch_size if self.device.type == "cuda" else 1

    def versions(self, *packages: str) -> dict[str, str]:
        """The weights' fingerprint, the precision that was used, and the libraries."""
        source = pretrained.fingerprint(self.settings.source)
        commit = getattr(self.whole.config, "_commit_hash", None)
        source = f"{source}@{commit}" if commit and source == self.settings.source else source
        names = ("torch", "transformers", *packages)
        computed = {"computed": self.precision} if self.settings.precision == "auto" else {}
        return {"source": source} | computed | {n: importlib.metadata.version(n) for n in names}

    def to_device(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Inputs where the network is; those of real numbers in its precision."""
        kind = getattr(torch, self.precision)
        return {
            name: value.to(self.device, kind if value.is_floating_point() else None) for name, value in inputs.items()
        }

    def states(self, **inputs: Tensor) -> Tensor:
        """(B, T, D) float32: the weighted sum of the chosen layers (a network of convolutions has T = places)."""
        last = self.settings.layers == (-1,)
        output = self.network(**self.to_device(inputs), **({} if last else {"output_hidden_states": True}))
        if last:
            return _rows(output.last_hidden_state)
        chosen = [_rows(output.hidden_states[i]) for i in self._indices(len(output.hidden_states))]
        if len({state.shape for state in chosen}) > 1:
            shapes = ", ".join(str(tuple(state.shape[1:])) for state in chosen)
            raise MalformedInput(f"layers: expected layers of one shape to add up, got {shapes}")
        weights = self.settings.layer_weights or (1 / len(chosen),) * len(chosen)
        return torch.stack([weight * state for weight, state in zip(weights, chosen)]).sum(0)

    def _indices(self, count: int) -> tuple[int, ...]:
        for layer in self.settings.layers:
            if not -count <= layer < count:
                raise MalformedInput(f"layers: expected numbers from {-count} to {count - 1}, got {layer}")
        return self.settings.layers


def _precision(name: str, device: torch.device) -> str:
    if name != "auto":
        return name
    return "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"


def _rows(states: Tensor) -> Tensor:
    """(B, T, D) of what may be the map (B, D, H, W) of a convolution."""
    return (states.flatten(2).transpose(1, 2) if states.ndim == 4 else states).float()


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of at most `size` items, in order."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def utterance(sequence: FeatureSequence) -> FeatureSequence:
    """One row: the mean of the seen frames, at the time of the first frame; no frames stay none."""
    if not len(sequence):
        return sequence
    seen = sequence.seen
    mean = sequence.values[seen].mean(0, dtype=np.float64) if seen.any() else np.zeros(len(sequence.columns))
    return replace(
        sequence, values=mean[None].astype(np.float32), times=sequence.times[:1], seen=np.array([seen.any()])
    )


def named(prefix: str, width: int) -> tuple[str, ...]:
    """Columns <prefix>_0 …"""
    return tuple(f"{prefix}_{i}" for i in range(width))


def stacked(sequences: Sequence[np.ndarray], width: int) -> np.ndarray:
    """(T, width) of pieces that follow each other; no pieces: no rows."""
    return np.concatenate(sequences) if sequences else np.zeros((0, width), np.float32)
