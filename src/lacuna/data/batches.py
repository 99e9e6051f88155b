"""Batch and collate. In: samples. Out: padded tensors by modality, on the CPU until `.to(device)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lacuna.data.samples import Sample, is_tokens
from lacuna.types import LABELS, FeatureSequence


@dataclass(frozen=True)
class Padded:
    """Sequences of one modality: values (B, T, D), times (B, T) s, seen (B, T) bool, lengths (B,) int64 >= 1.

    Positions from `lengths` on are padding; a position before it that is not `seen` is a lost frame. A clip
    without the modality has one lost frame, so that no attention row is ever empty.
    """

    values: Tensor
    times: Tensor
    seen: Tensor
    lengths: Tensor

    @property
    def real(self) -> Tensor:
        """(B, T) bool: True where a frame is real, seen or lost, and False on padding."""
        return torch.arange(self.values.shape[1], device=self.values.device) < self.lengths[:, None]

    def rows(self, chosen: slice | Tensor) -> Padded:
        """Some of the sequences, padded as they are."""
        return Padded(self.values[chosen], self.times[chosen], self.seen[chosen], self.lengths[chosen])

    def to(self, device: torch.device | str) -> Padded:
        return Padded(*(t.to(device, non_blocking=True) for t in (self.values, self.times, self.seen, self.lengths)))


@dataclass(frozen=True)
class Batch:
    """B samples: {modality: Padded}, {label name: (B,) float, NaN where unknown} and the clips' ids."""

    ids: tuple[str, ...]
    modalities: dict[str, Padded]
    labels: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, modality: str) -> Padded:
        return self.modalities[modality]

    def rows(self, chosen: slice) -> Batch:
        """Some of the samples, padded as they are."""
        modalities = {m: padded.rows(chosen) for m, padded in self.modalities.items()}
        return Batch(self.ids[chosen], modalities, {name: label[chosen] for name, label in self.labels.items()})

    def to(self, device: torch.device | str) -> Batch:
        modalities = {m: padded.to(device) for m, padded in self.modalities.items()}
        return replace(self, modalities=modalities, labels={k: v.to(device) for k, v in self.labels.items()})


@dataclass(frozen=True)
class InputSpec:
    """What a model is built to read and to tell; saved in model.json.

    widths: {modality: D}; lengths: {modality: most frames it is given}; tokens: text comes as token ids;
    classes: number of classes, 0 for one real score, which lies between `low` and `high`;
    clips: how many the model learns from, 0 where that is not known.
    """

    widths: dict[str, int]
    lengths: dict[str, int]
    tokens: bool = False
    classes: int = 0
    low: float = -3.0
    high: float = 3.0
    clips: int = 0

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        lengths: Mapping[str, int],
        classes: int = 0,
        label_range: tuple[float, float] = (-3.0, 3.0),
    ) -> InputSpec:
        """The spec of these samples; a modality absent from `lengths` keeps its longest sequence."""
        first = samples[0].features
        longest = {m: max(1, *(len(s.features[m]) for s in samples)) for m in first}
        return cls(
            widths={m: len(sequence.columns) for m, sequence in first.items()},
            lengths={m: min(lengths.get(m, longest[m]), longest[m]) for m in first},
            tokens="text" in first and is_tokens(first["text"]),
            classes=classes,
            low=float(label_range[0]),
            high=float(label_range[1]),
            clips=len(samples),
        )


def collate(samples: Sequence[Sample], lengths: Mapping[str, int] | None = None) -> Batch:
    """Pad to the longest sequence of the batch, after cutting at `lengths` (token sequences keep their last token)."""
    lengths = lengths or {}
    modalities = {m: _pad([_cut(s.features[m], lengths.get(m)) for s in samples]) for m in samples[0].features}
    labels = {
        name: torch.tensor([s.clip.labels.get(name, float("nan")) for s in samples], dtype=torch.float32)
        for name in LABELS
    }
    return Batch(tuple(s.clip.id for s in samples), modalities, labels)


def cut_positions(sequence: FeatureSequence, most: int | None) -> np.ndarray:
    """Positions that are kept of a sequence: the first `most`, but of tokens the last one too."""
    kept = np.arange(len(sequence) if most is None else min(most, len(sequence)))
    if len(kept) < len(sequence) and is_tokens(sequence):
        kept[-1] = len(sequence) - 1  # [SEP] closes a cut sentence too, as tokenizers that truncate have it
    return kept


def _cut(sequence: FeatureSequence, most: int | None) -> FeatureSequence:
    if most is None or len(sequence) <= most:
        return sequence
    kept = cut_positions(sequence, most)
    return FeatureSequence(sequence.values[kept], sequence.times[kept], sequence.seen[kept], sequence.columns)


def _pad(sequences: Sequence[FeatureSequence]) -> Padded:
    most = max(1, *(len(s) for s in sequences))
    shape = (len(sequences), most)
    values = np.zeros((*shape, len(sequences[0].columns)), sequences[0].values.dtype)
    times, seen = np.zeros(shape, np.float32), np.zeros(shape, bool)
    for i, sequence in enumerate(sequences):
        values[i, : len(sequence)] = sequence.values
        times[i, : len(sequence)] = sequence.times
        seen[i, : len(sequence)] = sequence.seen
    lengths = torch.tensor([max(1, len(s)) for s in sequences])
    return Padded(torch.from_numpy(values), torch.from_numpy(times), torch.from_numpy(seen), lengths)
