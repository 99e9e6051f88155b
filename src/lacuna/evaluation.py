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

from lacuna import metrics, products
from lacuna.batches import Batch, InputSpec, Padded, collate, cut_positions
from lacuna.masking import Level
from lacuna.samples import LOST_TOKEN, TOKEN_COLUMNS, Sample, is_tokens
from lacuna.types import FeatureSequence
from lacuna.variants import Variants

BATCH = 64


@dataclass(frozen=True)
class Judged:
    """How scores are counted: task, scale of scores ("mosi" or "sims") and the number of classes (0: scores)."""

    task: str
    scale: str
    classes: int

    def scores(self, predictions: np.ndarray, labels: np.ndarray) -> dict[str, object]:
        if self.classes:
            ece = metrics.calibration(predictions, labels)["ece"]
            return metrics.classification(predictions, labels) | {"ece": ece}
        return metrics.regression(predictions, labels, self.scale)

    def intervals(self, predictions: np.ndarray, labels: np.ndarray, draws: int) -> dict[str, object]:
        if self.classes:
            return metrics.classification_intervals(predictions, labels, draws)
        return metrics.regression_intervals(predictions, labels, self.scale, draws)

    def calibration(self, outputs: Sequence[dict[str, np.ndarray]], labels: np.ndarray) -> dict[str, object]:
        """How far stated confidence can be trusted, over the outputs of several runs taken together: the reliability
        curve of probabilities, and errors against `uncertainty` where a model states one. Scores state neither."""
        if not self.classes:
            return {}
        told, known = np.concatenate([o["prediction"] for o in outputs]), np.tile(labels, len(outputs))
        result = {"reliability": metrics.calibration(told, known)["curve"]}
        if all("uncertainty" in o for o in outputs):
            doubts = np.concatenate([o["uncertainty"] for o in outputs])
            wrong, asked = told.argmax(1) != known, np.isfinite(known)
            result["uncertainty"] = metrics.uncertainty_quality(doubts[asked], wrong[asked])
        return result

    def majority(self, train: np.ndarray, labels: np.ndarray) -> dict[str, object]:
        if self.classes:
            return metrics.baseline_classification(train, labels, self.classes)
        return metrics.baseline_regression(train, labels, self.scale)


@torch.inference_mode()
def predict_variants(
    model: nn.Module, samples: Sequence[Sample], spec: InputSpec, variants: Variants, device: torch.device
) -> Iterator[tuple[Level, int, dict[str, np.ndarray]]]:
    """(level, mask seed, outputs in the samples' order) for every level and seed of a variants file."""
    model.to(device).eval()
    order = np.argsort([sum(len(f) for f in s.features.values()) for s in samples], kind="stable")
    groups = [[samples[i] for i in order[k : k + BATCH]] for k in range(0, len(order), BATCH)]
    batches = [collate(group, spec.lengths).to(device) for group in groups]
    back = np.argsort(order)
    asked: dict[str, dict[str, np.ndarray]] = {}
    for level, seed in itertools.product(variants.levels, variants.seeds):
        same = variants.identity(level, seed)
        if same not in asked:
            with products.fast(device):
                outputs = [model(lose(b, group, variants, level, seed, spec)) for b, group in zip(batches, groups)]
            asked[same] = _joined(outputs, [len(g) for g in groups], back)
        yield level, seed, asked[same]


def lose(
    batch: Batch, samples: Sequence[Sample], variants: Variants, level: Level, seed: int, spec: InputSpec
) -> Batch:
    """A collated batch as a variant leaves it: what `collate` makes of samples masked one by one."""
    if variants.spoils:  # other values on each draw: there is nothing to collate once
        return collate([variants.apply(s, level, seed) for s in samples], spec.lengths).to(batch.labels["M"].device)
    modalities = {}
    for modality, padded in batch.modalities.items():
        survives = np.zeros(padded.seen.shape, bool)
        for i, sample in enumerate(samples):
            row = variants.survivors(sample.clip.id, modality, level, seed)
            row = row[cut_positions(sample.features[modality], spec.lengths.get(modality))]
            survives[i, : len(row)] = row
        tokens = is_tokens(samples[0].features[modality])
        modalities[modality] = _emptied(padded, torch.from_numpy(survives).to(padded.seen.device), tokens)
    return replace(batch, modalities=modalities)


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
