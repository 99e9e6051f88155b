"""Judge trained models under simulated loss. In: checkpoints, samples, variants. Out: predictions and scores of `test`.

Every model is asked on the same masks (variants files), so comparisons are paired. Batches are collated once and masked
as tensors: a whole table costs little more than its forward passes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from torch import Tensor, nn

from lacuna.compute import linear
from lacuna.data.batches import Batch, InputSpec, Padded, collate, collate_places, standardized
from lacuna.data.samples import Sample, Samples
from lacuna.data.stores import Room, cut_positions
from lacuna.evaluate import metrics
from lacuna.evaluate.judged import Judged
from lacuna.mask.mask import Level
from lacuna.mask.variants import Variants
from lacuna.models.parts.remembered import remembering
from lacuna.types import TOKEN_COLUMNS, FeatureSequence

BATCH = 64


@torch.inference_mode()
def predict_variants(
    model: nn.Module,
    samples: Sequence[Sample],
    spec: InputSpec,
    variants: Variants,
    device: torch.device,
    kept: Sequence[str] | None = None,
) -> Iterator[tuple[Level, int, dict[str, np.ndarray]]]:
    """(level, mask seed, outputs in the samples' order) for every seed and level of a variants file.

    Beside the model's outputs stands `kept`, the share of each clip that is left.

    Each batch is read once and asked under every variant, so that no more than one is in memory; of what the model
    tells, the outputs named in `kept` (None: all) are held. Variants that are the same are asked once, and so are the
    texts of a batch that are.
    """
    model.to(device).eval()
    read = Samples.of(samples)
    order = np.argsort(read.frames, kind="stable")
    pairs = list(itertools.product(variants.seeds, variants.levels))
    same = {(seed, level): variants.identity(level, seed) for seed, level in pairs}
    first = {name: pair for pair, name in reversed(same.items())}
    told: dict[str, list[dict[str, Tensor]]] = {name: [] for name in first}
    groups = np.split(order, range(BATCH, len(order), BATCH))[::-1]  # the longest first: all others fit where it was
    order = np.concatenate(groups)
    for places in groups:
        lossy = Lossy(read.select(places.tolist()), spec, variants, device)
        with remembering(model), linear.fast(device):
            for seed, level in (pair for pair in pairs if first[same[pair]] == pair):
                outputs = _asked(model, lossy.whole, lossy(level, seed))
                chosen = outputs if kept is None else {n: outputs[n] for n in (*kept, "kept") if n in outputs}
                told[same[seed, level]].append({name: value.float().cpu() for name, value in chosen.items()})
    back, sizes = np.argsort(order), [len(places) for places in groups]
    joined = {name: _joined(outputs, sizes, back) for name, outputs in told.items()}
    for seed, level in pairs:
        yield level, seed, joined[same[seed, level]]


def _asked(model: nn.Module, whole: Batch, lossy: Batch) -> dict[str, Tensor]:
    """The outputs, and `kept` (B,): the share of what was seen that is left, a mean over each clip's modalities."""
    counts = {m: padded.seen.sum(1) for m, padded in whole.modalities.items()}
    shares = torch.stack([lossy[m].seen.sum(1) / count.clamp(min=1) for m, count in counts.items()])
    there = torch.stack([count > 0 for count in counts.values()])
    return model(lossy) | {"kept": (shares * there).sum(0) / there.sum(0).clamp(min=1)}


class Lossy:
    """Samples collated once, `whole`, and given as a variant leaves them: what `collate` makes of them masked one by
    one. Where a pattern disturbs, each seed is collated once more, with every frame disturbed."""

    def __init__(
        self, samples: Sequence[Sample], spec: InputSpec, variants: Variants, device: torch.device | str
    ) -> None:
        self._samples, self._spec, self._variants, self._device = Samples.of(samples), spec, variants, device
        batch = collate_places(self._samples, range(len(samples)), spec.lengths, Room()).to(device)
        self.whole = standardized(batch, self._samples.scaler)
        self._left = {m: torch.from_numpy(self._masks(m)).to(device) for m in batch.modalities}
        self._spoilt: tuple[int, Batch] | None = None

    def __call__(self, level: Level, seed: int) -> Batch:
        spoilt, modalities = self._disturbed(seed) if self._variants.spoils else None, {}
        at = self._variants.levels.index(level), self._variants.seeds.index(seed)
        for modality, padded in self.whole.modalities.items():
            survives = self._left[modality][at]
            if self._variants.swaps or (modality in self._samples.bonds.again and spoilt is None):
                modalities[modality] = self._one_by_one(modality, level, seed)
            elif spoilt is None:
                tokens = self._samples.stores[modality].columns == TOKEN_COLUMNS
                modalities[modality] = padded.lost(survives, tokens)
            else:
                modalities[modality] = _mixed(padded, spoilt[modality], survives)
        return replace(self.whole, modalities=modalities)

    def _one_by_one(self, modality: str, level: Level, seed: int) -> Padded:
        """A modality whose frames are made anew of what is left, or are another clip's."""
        alone = [self._variants.apply(sample, level, seed, [modality]) for sample in self._samples]
        return collate(alone, self._spec.lengths)[modality].to(self._device)

    def _masks(self, modality: str) -> np.ndarray:
        """(levels, seeds, B, T) bool: what survives in each variant; padding does."""
        store, most = self._samples.stores[modality], self._spec.lengths.get(modality)
        shape = (len(self._variants.levels), len(self._variants.seeds), *self.whole[modality].seen.shape)
        left = np.ones(shape, bool)
        for i, clip in enumerate(self._samples.clips):
            kept = cut_positions(int(store.lengths[i]), most, store.columns == TOKEN_COLUMNS)
            left[:, :, i, : len(kept)] = self._variants.masks(clip.id, modality)[:, :, kept]
        return left

    def _disturbed(self, seed: int) -> Batch:
        if self._spoilt is None or self._spoilt[0] != seed:
            spoilt = [self._variants.spoilt(sample, seed) for sample in self._samples]
            self._spoilt = seed, collate(spoilt, self._spec.lengths).to(self._device)
        return self._spoilt[1]


def _mixed(clean: Padded, spoilt: Padded, survives: Tensor) -> Padded:
    values = torch.where(survives[..., None], clean.values, spoilt.values)
    return replace(clean, values=values, seen=torch.where(survives, clean.seen, spoilt.seen))


def _joined(outputs: list[dict[str, Tensor]], sizes: list[int], back: np.ndarray) -> dict[str, np.ndarray]:
    """One array per output that has a row per sample; frames that other batches have not are zeros."""
    joined = {}
    for name, first in outputs[0].items():
        parts = [o[name].numpy() for o in outputs]
        if first.ndim and all(len(p) == n for p, n in zip(parts, sizes)):
            shape = [max(p.shape[k] for p in parts) for k in range(1, first.ndim)]
            pads = [[(0, 0), *((0, most - size) for most, size in zip(shape, p.shape[1:]))] for p in parts]
            joined[name] = np.concatenate([np.pad(p, pad) for p, pad in zip(parts, pads)])[back]
    return joined


def linear_baseline(rows: np.ndarray, labels: np.ndarray, asked: np.ndarray, judged: Judged) -> np.ndarray:
    """What ridge regression on (N, D) rows with (N,) labels predicts for (M, D) rows: (M,) scores or (M, K) votes."""
    known = np.isfinite(labels)
    alphas = np.logspace(-2, 4, 13)
    if judged.classes:
        model = RidgeClassifierCV(alphas=alphas).fit(rows[known], labels[known].astype(int))
        return np.eye(judged.classes)[model.predict(asked)]
    return RidgeCV(alphas=alphas).fit(rows[known], labels[known]).predict(asked)


def mean_embeddings(sequences: Iterable[FeatureSequence]) -> np.ndarray:
    """(N, D) means over what was seen of each sequence; zeros where nothing was."""
    return np.stack([s.values[s.seen].mean(0) if s.seen.any() else np.zeros(len(s.columns)) for s in sequences])


@dataclass(frozen=True)
class Run:
    """The scores of one checkpoint under one draw of one pattern."""

    pattern: str
    level: Level
    mask_seed: int
    train_seed: int
    scores: dict[str, Any]


def summary(runs: Sequence[Run]) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """{pattern: {level: {metric: {"mean", "std"}}}} over training and mask seeds, single-valued metrics only."""
    table: dict[str, dict[str, dict[str, dict[str, float | None]]]] = {}
    for pattern, level in dict.fromkeys((r.pattern, r.level) for r in runs):
        scores = [r.scores for r in runs if (r.pattern, r.level) == (pattern, level)]
        names = [n for n, v in scores[0].items() if not isinstance(v, list)]
        pairs = {name: metrics.mean_std([s[name] for s in scores]) for name in names}
        table.setdefault(pattern, {})[str(level)] = {n: {"mean": m, "std": d} for n, (m, d) in pairs.items()}
    return table


def over_rates(levels: dict[str, dict[str, dict[str, float | None]]]) -> dict[str, dict[str, float | None]]:
    """{metric: {"mean", "auilc"}} over the numeric levels of one pattern, None where a level's score is undefined."""
    rates = [level for level in levels if _is_rate(level)]
    result: dict[str, dict[str, float | None]] = {}
    for name in levels[rates[0]] if rates else ():
        means = [levels[level][name]["mean"] for level in rates]
        known = [m for m in means if m is not None]
        whole = len(known) == len(means)
        result[name] = {
            "mean": float(np.mean(known)) if whole else None,
            "auilc": metrics.auilc([float(r) for r in rates], known) if whole and len(rates) > 1 else None,
        }
    return result


def _is_rate(level: str) -> bool:
    return level.replace(".", "", 1).isdigit()
