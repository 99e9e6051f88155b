"""What a model learns from, batch by batch. In: samples and a pattern of loss. Out: (lossy, complete) batches, placed.

A batch is collated once, moved, scaled and masked on the device. Masks are drawn on the host, and so is what they
change, which the model then need not ask the device for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from lacuna.compute import distributed
from lacuna.data.batches import Batch, Padded, collate, collate_places, standardized
from lacuna.data.loader import Loader
from lacuna.data.samples import Sample, Samples
from lacuna.data.stores import Room, Store, cut_positions, lay
from lacuna.mask.mask import Draw, mask, name_of
from lacuna.mask.together import TOGETHER, Draws, keys_of, specials_together
from lacuna.types import TOKEN_COLUMNS, is_tokens


@dataclass(frozen=True)
class Loss:
    """The simulated loss of training clips: a pattern (None: nothing is lost), its level and the seed; `version` of the
    draw: 1, a generator a clip, or 2, the numbers of a whole batch at once, where the pattern knows how."""

    pattern: ModuleType | None
    level: float = 0.5
    seed: int = 0
    version: int = TOGETHER


NONE = Loss(None)


@dataclass(frozen=True)
class Prepared:
    """What the host made of some samples: the complete batch; of each modality what survives, (B, T) bool, and which
    sequences that changes, (K,) int64; and the lossy batch, where a pattern disturbs frames instead."""

    whole: Batch
    survives: dict[str, Tensor]
    changed: dict[str, Tensor]
    lossy: Batch | None = None


class Feed:
    """Batches of one split on `device`, for a model whose inputs have at most `lengths` frames.

    `states` are those of a frozen text encoder for the complete texts, where it has one (see `train.states`).
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        lengths: Mapping[str, int],
        loss: Loss = NONE,
        device: torch.device | str = "cpu",
        states: Store | None = None,
    ) -> None:
        self.samples, self._lengths, self._loss = Samples.of(samples), lengths, loss
        self._device, self._states = torch.device(device), states
        self._load = Loader(self._prepare, self._place, self._device)
        self._keys: dict[str, np.ndarray] = {}

    def __call__(self, order: Iterable[Sequence[int]], draw: int = 0) -> Iterator[tuple[Batch, Batch]]:
        """(lossy, complete) of each group of places, of which this process has its own rows; the same object twice
        where nothing is ever lost."""
        for prepared in self._load((places, draw) for places in order):
            whole = standardized(prepared.whole, self.samples.scaler)
            yield self._lossy(prepared, whole), whole

    def _prepare(self, asked: tuple[Sequence[int], int], room: Room) -> Prepared:
        places, draw = asked
        own = distributed.own_slice(len(places))
        # All are padded alike, whoever computes them: some published terms read padding.
        whole = collate_places(self.samples, places, self._lengths, room).rows(own)
        places = places[own]
        if self._states is not None:
            values = lay(self._states, places, None, room, "states").values
            text = replace(whole["text"], states=torch.from_numpy(values))
            whole = replace(whole, modalities=whole.modalities | {"text": text})
        pattern = self._loss.pattern
        if pattern is None:
            return Prepared(whole, {}, {})
        if hasattr(pattern, "spoil") or hasattr(pattern, "swap") or self.samples.bonds.again:
            # Frames that are disturbed, another clip's, or made anew of what is left: clip by clip.
            spoilt = [mask(self.samples[i], pattern, self._loss.level, self._loss.seed, draw) for i in places]
            changed = dict.fromkeys(whole.modalities, torch.arange(len(places)))  # it may be all
            return Prepared(whole, {}, changed, collate(spoilt, self._lengths))
        survives, changed = {}, {}
        for m, padded in whole.modalities.items():
            drawn = torch.from_numpy(self._survivors(pattern, m, places, padded, draw))
            counts = padded.real if _holds_tokens(self.samples.stores[m]) else padded.seen
            survives[m], changed[m] = drawn, (~drawn & counts).any(1).nonzero()[:, 0]
        return Prepared(whole, survives, changed)

    def _survivors(
        self, pattern: ModuleType, modality: str, places: Sequence[int], padded: Padded, draw: int
    ) -> np.ndarray:
        """(B, T) bool; what is no frame of a sequence counts as surviving."""
        store, loss = self.samples.stores[modality], self._loss
        counts = np.minimum(store.lengths[np.asarray(places)], padded.counts.numpy())
        survives = np.ones(padded.seen.shape, bool)
        if loss.version == TOGETHER and hasattr(pattern, "survivors_together"):
            if modality not in self._keys:
                self._keys[modality] = keys_of(self.samples.clips, modality, name_of(pattern))
            draws = Draws(self._keys[modality][np.asarray(places)], loss.level, loss.seed, draw)
            # Of a cut sentence token ids keep the last, embeddings do not.
            ends = counts if _holds_tokens(store) else store.lengths[np.asarray(places)]
            special = specials_together(store.columns, padded.values.numpy(), ends)
            survives[:] = pattern.survivors_together(draws, special)
        else:
            for row, place, count in zip(survives, places, counts):
                row[:count] = self._survivors_alone(pattern, modality, place, draw)[:count]
        survives[np.arange(survives.shape[1]) >= counts[:, None]] = True
        return survives

    def _survivors_alone(self, pattern: ModuleType, modality: str, place: int, draw: int) -> np.ndarray:
        """The same of one clip, after its cut."""
        clip, sequence = self.samples.clips[place], self.samples.stores[modality].marked(place)
        one = Draw(clip.dataset, clip.id, modality, name_of(pattern), self._loss.level, self._loss.seed, draw)
        kept = cut_positions(len(sequence), self._lengths.get(modality), is_tokens(sequence))
        return pattern.survivors(sequence, one)[kept]

    def _place(self, prepared: Prepared) -> Prepared:
        survives = {m: x.to(self._device, non_blocking=True) for m, x in prepared.survives.items()}
        lossy = None if prepared.lossy is None else prepared.lossy.to(self._device)
        return Prepared(prepared.whole.to(self._device), survives, prepared.changed, lossy)

    def _lossy(self, prepared: Prepared, whole: Batch) -> Batch:
        if self._loss.pattern is None:
            return whole
        modalities = {}
        for m, changed in prepared.changed.items():
            if prepared.lossy is not None:
                padded = replace(prepared.lossy[m], states=whole[m].states)
            else:
                padded = whole[m].lost(prepared.survives[m], _holds_tokens(self.samples.stores[m]))
            modalities[m] = replace(padded, changed=changed)
        return replace(whole, modalities=modalities)


def _holds_tokens(store: Store) -> bool:
    """Whether it holds token ids."""
    return store.columns == TOKEN_COLUMNS
