"""The standardising scaler. In: sequences of the train split. Out: mean and scale by column, and sequences scaled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lacuna.data.stores import Store, copied
from lacuna.types import FeatureSequence, MalformedInput

MOST = 10  # deviations; columns barely seen to move on train may jump elsewhere, and so many say all there is to say
ROWS = 4096  # frames that are taken in at once: more bring no speed


@dataclass(frozen=True)
class Scaler:
    """Per modality and column, mean and scale of the seen frames of the train split; unseen frames stay zero."""

    mean: dict[str, np.ndarray]
    scale: dict[str, np.ndarray]

    @classmethod
    def fit(cls, modalities: Mapping[str, Iterable[FeatureSequence]]) -> Scaler:
        """From the train split's sequences, {modality: sequences}, each read once."""
        mean, scale = {}, {}
        for modality, sequences in modalities.items():
            moments = _Moments()
            for rows in _blocks(sequences):
                moments.add(rows)
            if not moments.count:
                raise MalformedInput(f"{modality}: expected at least one seen frame in the train split, got none")
            mean[modality] = moments.mean.astype(np.float32)
            spread = np.sqrt(moments.squares / moments.count).astype(np.float32)
            # A column that never moves carries nothing: leave its scale alone instead of dividing by dust.
            scale[modality] = np.where(spread > 1e-6 * (1 + np.abs(mean[modality])), spread, 1).astype(np.float32)
        return cls(mean, scale)

    def __call__(self, modality: str, sequence: FeatureSequence) -> FeatureSequence:
        """The sequence scaled, and cut at ten deviations; as it is where the modality was not fitted (token ids)."""
        if modality not in self.mean:
            return sequence
        values = (sequence.values - self.mean[modality]) / self.scale[modality]
        np.clip(values, -MOST, MOST, out=values)
        values *= sequence.seen[:, None]
        return replace(sequence, values=values.astype(np.float32, copy=False))


class Scaled:
    """The sequences of another store as a scaler leaves them."""

    def __init__(self, store: Store, modality: str, scaler: Scaler) -> None:
        self._store, self._modality, self._scaler = store, modality, scaler
        self.columns, self.dtype, self.lengths = store.columns, store.dtype, store.lengths

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, place: int) -> FeatureSequence:
        return self._scaler(self._modality, self._store[place])

    def __iter__(self) -> Iterator[FeatureSequence]:
        return (self[i] for i in range(len(self)))

    def marked(self, place: int) -> FeatureSequence:
        """Without values, which are what is scaled."""
        return self._store.marked(place)

    def copy(self, place: int, values: np.ndarray, marks: np.ndarray) -> None:
        """The first frames, as many as there is room for."""
        copied(self[place], values, marks)


class _Moments:
    """Mean (D,) and sum of squared deviations (D,) in float64 of rows that come block by block (Chan et al., 1979)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, np.zeros(()), np.zeros(())

    def add(self, rows_ND: np.ndarray) -> None:
        if not len(rows_ND):
            return
        rows_ND = rows_ND.astype(np.float64)
        mean_D = rows_ND.mean(0)
        squares_D = np.square(rows_ND - mean_D).sum(0)
        total, apart_D = self.count + len(rows_ND), mean_D - self.mean
        self.squares = self.squares + squares_D + np.square(apart_D) * (self.count * len(rows_ND) / total)
        self.mean = self.mean + apart_D * (len(rows_ND) / total)
        self.count = total


def _blocks(sequences: Iterable[FeatureSequence]) -> Iterable[np.ndarray]:
    """The seen rows of all sequences, about `ROWS` at a time."""
    waiting: list[np.ndarray] = []
    for sequence in sequences:
        waiting.append(sequence.values[sequence.seen])
        if sum(map(len, waiting)) >= ROWS:
            yield np.concatenate(waiting)
            waiting.clear()
    if waiting:
        yield np.concatenate(waiting)
