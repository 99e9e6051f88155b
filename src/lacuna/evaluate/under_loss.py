"""Judge trained models under simulated loss. In: checkpoints, samples, variants. Out: predictions and scores of `test`.

Every model is asked on the same masks (variants files), so comparisons are paired. Batches are collated once and masked
as tensors: a whole table costs little more than its forward passes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from torch import Tensor, nn

from lacuna.compute import linear
from lacuna.data.batches import Batch, InputSpec, Padded, collate, cut_positions
from lacuna.data.samples import LOST_TOKEN, TOKEN_COLUMNS, Sample, is_tokens
from lacuna.evaluate import metrics
from lacuna.evaluate.judged import Judged
from lacuna.mask.mask import Level
from lacuna.mask.variants import Variants
from lacuna.types import FeatureSequence

BATCH = 64


@torch.inference_mode()
def predict_variants(
    model: nn.Module, samples: Sequence[Sample], spec: InputSpec, variants: Variants, device: torch.device
) -> Iterator[tuple[Level, int, dict[str, np.ndarray]]]:
    """(level, mask seed, outputs in the samples' order) for every seed and level of a variants file.

    Beside the model's outputs stands `kept`, the share of each clip that is left.
    """
    model.to(device).eval()
    order = np.argsort([sum(len(f) for f in s.features.values()) for s in samples], kind="stable")
    groups = [
        Lossy([samples[i] for i in order[k : k + BATCH]], spec, variants, device) for k in range(0, len(order), BATCH)
    ]
    back = np.argsort(order)
    asked: dict[str, dict[str, np.ndarray]] = {}
    for seed, level in itertools.product(variants.seeds, variants.levels):
        same = variants.identity(level, seed)
        if same not in asked:
            with linear.fast(device):
                outputs = [_asked(model, group, group(level, seed)) for group in groups]
            asked[same] = _joined(outputs, [len(group.whole) for group in groups], back)
        yield level, seed, asked[same]


def _asked(model: nn.Module, group: Lossy, lossy: Batch) -> dict[str, Tensor]:
    """The outputs, and `kept` (B,): the share of what was seen that is left, a mean over each clip's modalities."""
    whole = {m: padded.seen.sum(1) for m, padded in group.whole.modalities.items()}
    shares = torch.stack([lossy[m].seen.sum(1) / count.clamp(min=1) for m, count in whole.items()])
    there = torch.stack([count > 0 for count in whole.values()])
    return model(lossy) | {"kept": (shares * there).sum(0) / there.sum(0).clamp(min=1)}


class Lossy:
    """Samples collated once, `whole`, and given as a variant leaves them: what `collate` makes of them masked one by
    one. Where a pattern disturbs, each seed is collated once more, with every frame disturbed."""

    def __init__(
        self, samples: Sequence[Sample], spec: InputSpec, variants: Variants, device: torch.device | str
    ) -> None:
        self.whole = collate(samples, spec.lengths).to(device)
        self._samples, self._spec, self._variants, self._device = samples, spec, variants, device
        self._rows = {m: self._places(m) for m in self.whole.modalities}
        self._spoilt: tuple[int, Batch] | None = None

    def __call__(self, level: Level, seed: int) -> Batch:
        spoilt, modalities = self._disturbed(seed) if self._variants.spoils else None, {}
        for modality, padded in self.whole.modalities.items():
            rows = self._rows[modality]
            left = self._variants.frames(modality, level, seed)[rows] & (rows >= 0)
            survives = torch.from_numpy(left).to(self._device)
            if self._variants.swaps or (modality in self._samples[0].again and spoilt is None):
                modalities[modality] = self._one_by_one(modality, level, seed)
            elif spoilt is None:
                modalities[modality] = _emptied(padded, survives, is_tokens(self._samples[0].features[modality]))
            else:
                modalities[modality] = _mixed(padded, spoilt[modality], survives)
        return replace(self.whole, modalities=modalities)

    def _one_by_one(self, modality: str, level: Level, seed: int) -> Padded:
        """A modality whose frames are made anew of what is left, or are another clip's."""
        alone = [self._variants.apply(sample, level, seed, [modality]) for sample in self._samples]
        return collate(alone, self._spec.lengths)[modality].to(self._device)

    def _places(self, modality: str) -> np.ndarray:
        """(B, T) int64: each frame's place among those of all clips in the variants file, -1 on padding."""
        places = np.full(self.whole[modality].seen.shape, -1)
        for i, sample in enumerate(self._samples):
            kept = cut_positions(sample.features[modality], self._spec.lengths.get(modality))
            places[i, : len(kept)] = self._variants.rows(sample.clip.id, modality).start + kept
        return places

    def _disturbed(self, seed: int) -> Batch:
        if self._spoilt is None or self._spoilt[0] != seed:
            spoilt = [self._variants.spoilt(sample, seed) for sample in self._samples]
            self._spoilt = seed, collate(spoilt, self._spec.lengths).to(self._device)
        return self._spoilt[1]


def _mixed(clean: Padded, spoilt: Padded, survives: Tensor) -> Padded:
    values = torch.where(survives[..., None], clean.values, spoilt.values)
    return replace(clean, values=values, seen=torch.where(survives, clean.seen, spoilt.seen))


def _emptied(padded: Padded, survives: Tensor, tokens: bool) -> Padded:
    if tokens:
        values = padded.values.clone()
        values[..., TOKEN_COLUMNS.index("input_ids")].masked_fill_(~survives & padded.real, LOST_TOKEN)
    else:
        values = padded.values * survives[..., None]
    return replace(padded, values=values, seen=padded.seen & survives)


def _joined(outputs: list[dict[str, Tensor]], sizes: list[int], back: np.ndarray) -> dict[str, np.ndarray]:
    """One array per output that has a row per sample; frames that other batches have not are zeros."""
    joined = {}
    for name, first in outputs[0].items():
        parts = [o[name].float().cpu().numpy() for o in outputs]
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


def mean_embeddings(sequences: Sequence[FeatureSequence]) -> np.ndarray:
    """(N, D) means over what was seen of each sequence; zeros where nothing was."""
    return np.stack([s.values[s.seen].mean(0) if s.seen.any() else np.zeros(len(s.columns)) for s in sequences])


@dataclass(frozen=True)
class Run:
    """The scores of one checkpoint under one draw of one pattern."""

    pattern: str
    level: Level
    mask_seed: int
    train_seed: int
    scores: dict[str, object]


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
    result = {}
    for name in levels[rates[0]] if rates else ():
        means = [levels[level][name]["mean"] for level in rates]
        whole = all(m is not None for m in means)
        result[name] = {
            "mean": float(np.mean(means)) if whole else None,
            "auilc": metrics.auilc([float(r) for r in rates], means) if whole and len(rates) > 1 else None,
        }
    return result


def _is_rate(level: str) -> bool:
    return level.replace(".", "", 1).isdigit()
