"""Batch and collate. In: samples. Out: padded tensors by modality, on the CPU until `.to(device)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lacuna.data.samples import Sample, Samples
from lacuna.data.scaler import MOST, Scaler
from lacuna.data.stores import Room, lay
from lacuna.types import LABELS, LOST_TOKEN, TOKEN_COLUMNS


@dataclass(frozen=True)
class Padded:
    """Sequences of one modality: values (B, T, D), times (B, T) s, seen (B, T) bool, lengths (B,) int64 >= 1.

    Positions from `lengths` on are padding; a position before it that is not `seen` is a lost frame. A clip
    without the modality has one lost frame, so that no attention row is ever empty.

    What the host knows without asking the device travels along, on the CPU: `counts` are the lengths; `changed` (K,)
    int64 are the sequences that lost something, in order, None where no one noted it. `states` (B, S, W), S >= T, are
    what a frozen text encoder makes of the complete text, where that was computed beforehand.
    """

    values: Tensor
    times: Tensor
    seen: Tensor
    lengths: Tensor
    counts: Tensor = None  # type: ignore[assignment]  # from the lengths where it is not given
    changed: Tensor | None = None
    states: Tensor | None = None

    def __post_init__(self) -> None:
        if self.counts is None or self.lengths.device.type == "cpu":
            object.__setattr__(self, "counts", self.lengths.cpu())

    @property
    def real(self) -> Tensor:
        """(B, T) bool: True where a frame is real, seen or lost, and False on padding."""
        return torch.arange(self.values.shape[1], device=self.values.device) < self.lengths[:, None]

    @property
    def full(self) -> bool:
        """Whether there is no padding."""
        return bool((self.counts == self.values.shape[1]).all())

    def rows(self, chosen: slice | Tensor) -> Padded:
        """Some of the sequences, padded as they are; an index is a tensor on the CPU."""
        places = torch.arange(len(self.counts))[chosen]
        here = chosen if isinstance(chosen, slice) else chosen.to(self.values.device, non_blocking=True)
        changed = None
        if self.changed is not None:
            changed = torch.isin(places, self.changed).nonzero()[:, 0]
        parts = (self.values[here], self.times[here], self.seen[here], self.lengths[here], self.counts[places])
        return Padded(*parts, changed, None if self.states is None else self.states[here])

    def at_most(self, frames: int) -> Padded:
        """At most so many frames, as `collate` cuts: longer padding says nothing."""
        if self.values.shape[1] <= frames:
            return self
        parts = (self.values[:, :frames], self.times[:, :frames], self.seen[:, :frames])
        lengths, counts = self.lengths.clamp(max=frames), self.counts.clamp(max=frames)
        return Padded(*parts, lengths, counts, self.changed, self.states)

    def widened(self, frames: int) -> Padded:
        """Padded with unseen zeros to exactly so many frames."""
        missing = frames - self.values.shape[1]
        if missing <= 0:
            return self.at_most(frames)
        pad = torch.nn.functional.pad
        parts = (pad(self.values, (0, 0, 0, missing)), pad(self.times, (0, missing)), pad(self.seen, (0, missing)))
        return Padded(*parts, self.lengths, self.counts, self.changed, self.states)

    def followed_by(self, other: Padded) -> Padded:
        """The sequences of both, of equal padding; `changed` are those of the first."""
        values, times, seen, lengths, counts = map(torch.cat, zip(self._tensors(), other._tensors()))
        states = None if self.states is None or other.states is None else torch.cat((self.states, other.states))
        return Padded(values, times, seen, lengths, counts, self.changed, states)

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.values, self.times, self.seen, self.lengths, self.counts

    def to(self, device: torch.device | str) -> Padded:
        parts = (self.values, self.times, self.seen, self.lengths)
        values, times, seen, lengths = (part.to(device, non_blocking=True) for part in parts)
        states = None if self.states is None else self.states.to(device, non_blocking=True)
        return Padded(values, times, seen, lengths, self.counts, self.changed, states)

    def lost(self, survives: Tensor, tokens: bool) -> Padded:
        """Without the frames that do not survive, (B, T) bool: their values are zero, of token ids `LOST_TOKEN`."""
        if tokens:
            values = self.values.clone()
            values[..., TOKEN_COLUMNS.index("input_ids")].masked_fill_(~survives & self.real, LOST_TOKEN)
        else:
            values = torch.where(survives[..., None], self.values, 0)
        return replace(self, values=values, seen=self.seen & survives)


@dataclass(frozen=True)
class Batch:
    """B samples: {modality: Padded}, {label name: (B,) float, NaN where unknown} and the clips' ids.

    `labelled` (B,) bool, on the CPU, are the samples with a multimodal label: what the host knows of `labels`.
    """

    ids: tuple[str, ...]
    modalities: dict[str, Padded]
    labels: dict[str, Tensor]
    labelled: Tensor = None  # type: ignore[assignment]  # from the labels where it is not given

    def __post_init__(self) -> None:
        labels = self.labels.get("M")
        if labels is not None and (self.labelled is None or labels.device.type == "cpu"):
            object.__setattr__(self, "labelled", ~labels.isnan().cpu())

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, modality: str) -> Padded:
        return self.modalities[modality]

    def rows(self, chosen: slice) -> Batch:
        """Some of the samples, padded as they are."""
        modalities = {m: padded.rows(chosen) for m, padded in self.modalities.items()}
        labels = {name: label[chosen] for name, label in self.labels.items()}
        return Batch(self.ids[chosen], modalities, labels, self.labelled[chosen])

    def pin_memory(self) -> Batch:
        """In page-locked memory; DataLoader calls it."""
        modalities = {
            m: replace(p, values=p.values.pin_memory(), times=p.times.pin_memory(), seen=p.seen.pin_memory())
            for m, p in self.modalities.items()
        }
        return replace(self, modalities=modalities)

    def to(self, device: torch.device | str) -> Batch:
        modalities = {m: padded.to(device) for m, padded in self.modalities.items()}
        labels = {k: v.to(device, non_blocking=True) for k, v in self.labels.items()}
        return replace(self, modalities=modalities, labels=labels)


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
        stores = Samples.of(samples).stores
        longest = {m: max(1, int(store.lengths.max())) for m, store in stores.items()}
        return cls(
            widths={m: len(store.columns) for m, store in stores.items()},
            lengths={m: min(lengths.get(m, longest[m]), longest[m]) for m in stores},
            tokens="text" in stores and stores["text"].columns == TOKEN_COLUMNS,
            classes=classes,
            low=float(label_range[0]),
            high=float(label_range[1]),
            clips=len(samples),
        )


def collate(samples: Sequence[Sample], lengths: Mapping[str, int] | None = None) -> Batch:
    """Pad to the longest sequence of the batch, after cutting at `lengths` (token sequences keep their last token)."""
    seen_as = Samples.of(list(samples))  # as they are to be seen: scaled, where samples are scaled as they are read
    return collate_places(seen_as, range(len(seen_as)), lengths or {}, Room())


def standardized(batch: Batch, scaler: Scaler | None) -> Batch:
    """The batch as `scaler` leaves its samples, computed where the batch is; to the bit on a CPU."""
    if scaler is None:
        return batch
    scaled = {}
    for m in batch.modalities.keys() & scaler.mean.keys():
        padded = batch[m]
        mean_D, scale_D = (torch.from_numpy(part[m]).to(padded.values.device) for part in (scaler.mean, scaler.scale))
        values_BTD = padded.values.sub(mean_D).div_(scale_D).clamp_(-MOST, MOST).mul_(padded.seen[..., None])
        scaled[m] = replace(padded, values=values_BTD)
    return replace(batch, modalities=batch.modalities | scaled)


def collate_places(samples: Samples, places: Sequence[int], lengths: Mapping[str, int], room: Room) -> Batch:
    """The samples at these places as a batch, as they are stored (not scaled), in arrays that `room` gives."""
    modalities = {}
    for m, store in samples.stores.items():
        laid = lay(store, places, lengths.get(m), room, m)
        counts = torch.from_numpy(laid.counts).clamp(min=1)
        values, times, seen = (torch.from_numpy(array) for array in (laid.values, laid.times, laid.seen))
        modalities[m] = Padded(values, times, seen, counts, counts)
    clips = [samples.clips[i] for i in places]
    told = np.array([[clip.labels.get(name, np.nan) for clip in clips] for name in LABELS], np.float32)
    labels = dict(zip(LABELS, torch.from_numpy(told)))
    return Batch(tuple(clip.id for clip in clips), modalities, labels)
