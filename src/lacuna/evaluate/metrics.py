"""The field's metrics, and how sure they are. In: predictions and labels as arrays. Out: plain numbers for JSON.

An undefined score (a correlation of constants, a binary score of labels of one sign) is None, never NaN. Names that
start with `mmsa_` are what the MMSA package prints where that differs from the correct form. Acc-7/5/3 keep MMSA's
`np.round`, which rounds halves to even: .5 counts as 0 and both 1.5 and 2.5 count as 2. Every score is written for
weighted samples, so that one matrix of resampling counts gives all bootstrap draws at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy

Score = float | None
Scores = dict[str, np.ndarray]  # name -> (R,) float, one value per row of weights, NaN where undefined
SIMS_EDGES = {2: (0.0,), 3: (-0.1, 0.1), 5: (-0.7, -0.1, 0.1, 0.7)}  # class = number of edges below the score


def regression(predictions: np.ndarray, labels: np.ndarray, scale: str = "mosi") -> dict[str, Score]:
    """Scores of (N,) predicted against (N,) true sentiment; samples whose label is NaN are left out.

    scale "mosi" (also MOSEI; labels in [-3, 3]): acc7, acc5, acc3, has0_acc2 and has0_f1 (negative against the rest),
    non0_acc2 and non0_f1 (negative against positive, neutral truth left out), mae, corr. scale "sims" (labels in
    [-1, 1]): acc5, acc3, acc2, f1, mae, corr, and mmsa_mae and mmsa_corr, for which MMSA clips predictions to [-1, 1].
    F1 is weighted by support.
    """
    predictions, labels = _scored(predictions, labels)
    return _points(_regression(predictions, labels, scale, np.ones((1, len(labels)))))


def regression_intervals(
    predictions: np.ndarray, labels: np.ndarray, scale: str = "mosi", draws: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float] | None]:
    """Percentile bootstrap 95 % interval of each score of `regression`, samples redrawn with replacement."""
    predictions, labels = _scored(predictions, labels)
    return _intervals(_regression(predictions, labels, scale, _resampled(len(labels), draws, seed)))


def classification(probabilities: np.ndarray, classes: np.ndarray) -> dict[str, object]:
    """Scores of (N, K) class probabilities (or logits) against (N,) class indices; NaN classes are left out.

    accuracy, macro_f1, weighted_f1, `recall` (K, None for a class without a case) and `confusion` (K x K counts, rows
    the truth). Three classes (negative, neutral, positive) also give has0_acc2 and has0_f1 (negative against the
    rest), non0_acc2 and non0_f1 (negative against positive, neutral truth left out), and the same under mmsa_*:
    MMSA's Has0 is positive against the rest, and its Non0 compares truths {0, 2} with predictions {0, 1}, so that no
    positive can be right: perfect predictions score the share of negatives (.375 on three negatives, five positives).
    """
    probabilities, classes = _classified(probabilities, classes)
    scores: dict[str, object] = dict(_points(_classification(probabilities, classes, np.ones((1, len(classes))))))
    confusion = np.zeros((probabilities.shape[1],) * 2, int)
    np.add.at(confusion, (classes, probabilities.argmax(1)), 1)
    counts = confusion.sum(1)
    scores["recall"] = [float(confusion[k, k] / n) if n else None for k, n in enumerate(counts)]
    scores["confusion"] = confusion.tolist()
    return scores


def classification_intervals(
    probabilities: np.ndarray, classes: np.ndarray, draws: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float] | None]:
    """Percentile bootstrap 95 % interval of each single-valued score of `classification`."""
    probabilities, classes = _classified(probabilities, classes)
    return _intervals(_classification(probabilities, classes, _resampled(len(classes), draws, seed)))


def mmsa_regression(predictions: np.ndarray, labels: np.ndarray, scale: str = "mosi") -> dict[str, Score]:
    """What MMSA's and LNLN's `MetricsTop` return, under their names: float32, four decimals on the MOSI scale.

    Acc-2, Acc-3 and Acc-5 agree with `regression`; only rounding and SIMS's clipped predictions set them apart.
    """
    predictions, labels = (np.asarray(x, np.float32) for x in _scored(predictions, labels))
    ours = _points(_regression(predictions, labels, scale, np.ones((1, len(labels))), as_mmsa=True))
    if scale == "sims":
        predictions, labels = np.clip(predictions, -1, 1), np.clip(labels, -1, 1)
        from sklearn.metrics import f1_score  # half a second, for this alone

        f1 = float(f1_score(labels > 0, predictions > 0, average="weighted")) if len(labels) else None
        accuracies = {f"Mult_acc_{k}": ours[f"acc{k}"] for k in (2, 3, 5)}
        return accuracies | {"F1_score": f1, "MAE": _mae(predictions, labels), "Corr": _pearson(predictions, labels)}
    names = {
        "Has0_acc_2": "has0_acc2", "Has0_F1_score": "has0_f1", "Non0_acc_2": "non0_acc2", "Non0_F1_score": "non0_f1",
        "Mult_acc_5": "acc5", "Mult_acc_7": "acc7",
    }  # fmt: skip
    table = {theirs: ours[name] for theirs, name in names.items()}
    table |= {"MAE": _mae(predictions, labels), "Corr": _pearson(predictions, labels)}
    rounded = {name: None if value is None else round(value, 4) for name, value in table.items()}
    # MMSA rounds the error as a float32: .4887 prints as 0.4887000024318695.
    return rounded | {"MAE": None if rounded["MAE"] is None else float(np.round(np.float32(table["MAE"]), 4))}


def lower_is_better(name: str) -> bool:
    """Whether a score of this name is an error."""
    return "mae" in name or name == "ece"


def auilc(rates: Sequence[float], values: Sequence[float]) -> float:
    """Area under the curve of a metric against the missing rate (trapezoids), TFR-Net's robustness score."""
    order = np.argsort(rates)
    height, at = np.asarray(values, float)[order], np.asarray(rates, float)[order]
    return float(np.diff(at) @ (height[1:] + height[:-1]) / 2)


def mean_std(values: Sequence[Score]) -> tuple[Score, Score]:
    """Mean and sample standard deviation (n - 1) over seeds or rates; None without a value, or without a spread."""
    known = np.array([value for value in values if value is not None], float)
    mean = float(known.mean()) if len(known) else None
    return mean, float(known.std(ddof=1)) if len(known) > 1 else None


def baseline_regression(train: np.ndarray, labels: np.ndarray, scale: str = "mosi") -> dict[str, Score]:
    """The scores of saying always the same: per score the best constant of the (M,) train labels.

    The median for mae, the most frequent class for accuracies and F1; corr is None, as for any constant.
    """
    train = np.asarray(train, float)
    train = train[np.isfinite(train)]
    scores = {}
    for name in regression(labels, labels, scale):
        constant = np.median(train) if "mae" in name else _constant(name, train, scale)
        scores[name] = regression(np.full(len(labels), constant), labels, scale)[name]
    return scores


def baseline_classification(train: np.ndarray, classes: np.ndarray, count: int) -> dict[str, object]:
    """The scores of saying always the most frequent of `count` classes of the (M,) train classes."""
    train = np.asarray(train, float)
    frequencies = np.bincount(train[np.isfinite(train)].astype(int), minlength=count) / np.isfinite(train).sum()
    return classification(np.tile(frequencies, (len(classes), 1)), classes)


def paired_bootstrap(ours: np.ndarray, others: np.ndarray, draws: int = 2000, seed: int = 0) -> dict[str, float]:
    """Mean of (N,) paired differences ours - others, its 95 % interval, and a two-sided p.

    Of (S, N) differences, S training seeds of N samples, both seeds and samples are redrawn with replacement.
    """
    differences = np.atleast_2d(np.asarray(ours, float) - np.asarray(others, float))
    seeds, count = differences.shape
    redrawn = _resampled(seeds, draws, seed + 1) @ differences * _resampled(count, draws, seed)
    means = redrawn.sum(1) / (seeds * count)
    low, high = np.percentile(means, (2.5, 97.5))
    tail = (1 + min((means <= 0).sum(), (means >= 0).sum())) / (1 + draws)
    p = float(min(1, 2 * tail))
    return {"difference": float(differences.mean()), "low": float(low), "high": float(high), "p": p}


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of a family of tests, corrected for their number (Holm, 1979): no more than one in twenty families has a
    false one below .05."""
    order, adjusted, most = np.argsort(p_values, kind="stable"), [1.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        most = max(most, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = most
    return adjusted


def mcnemar(ours: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """McNemar's exact test on two (N,) bool arrays of right answers to the same samples."""
    ours, others = np.asarray(ours, bool), np.asarray(others, bool)
    only_ours, only_others = int((ours & ~others).sum()), int((others & ~ours).sum())
    discordant = only_ours + only_others
    p = scipy.stats.binomtest(only_ours, discordant).pvalue if discordant else 1.0
    return {"only_ours": only_ours, "only_others": only_others, "p": float(p)}


def calibration(probabilities: np.ndarray, classes: np.ndarray, bins: int = 15) -> dict[str, object]:
    """Expected calibration error and the reliability curve over `bins` equal bins of the top probability, (N, K).

    Empty bins are left out of `curve`, whose entries are {confidence, accuracy, count}.
    """
    probabilities, classes = _classified(probabilities, classes)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == classes
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    curve = [
        {"confidence": float(confidence[p].mean()), "accuracy": float(right[p].mean()), "count": int(p.sum())}
        for p in (place == b for b in np.unique(place))
    ]
    gaps = [c["count"] * abs(c["accuracy"] - c["confidence"]) for c in curve]
    return {"ece": sum(gaps) / len(classes) if len(classes) else None, "curve": curve}


def uncertainty_quality(uncertainty: np.ndarray, errors: np.ndarray, bins: int = 10) -> dict[str, object]:
    """Whether (N,) uncertainty tells (N,) errors (wrong or not, or absolute): mean error by uncertainty quantile.

    `auroc` is the chance that a wrong sample is more uncertain than a right one; None where errors are not 0 and 1.
    """
    from sklearn.metrics import roc_auc_score

    uncertainty, errors = np.asarray(uncertainty, float), np.asarray(errors, float)
    groups = np.array_split(np.argsort(uncertainty, kind="stable"), min(bins, len(errors)) or 1)
    curve = [
        {"uncertainty": float(uncertainty[g].mean()), "error": float(errors[g].mean()), "count": len(g)}
        for g in groups
        if len(g)
    ]
    binary = set(np.unique(errors)) == {0.0, 1.0}
    return {"auroc": float(roc_auc_score(errors, uncertainty)) if binary else None, "curve": curve}


def _scored(predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) float32 each (SIMS's edges .1 and .7 mean what labels stored as float32 say), labelled samples only."""
    predictions, labels = np.asarray(predictions, np.float32), np.asarray(labels, np.float32)
    if predictions.shape != labels.shape or predictions.ndim != 1:
        raise ValueError(f"predictions: expected one per label {labels.shape}, got {predictions.shape}")
    known = ~np.isnan(labels)
    predictions, labels = predictions[known], labels[known]
    if not np.isfinite(predictions).all():
        raise ValueError(f"predictions: expected finite scores, got {(~np.isfinite(predictions)).sum()} that are not")
    return predictions, labels


def _classified(probabilities: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probabilities, classes = np.asarray(probabilities, float), np.asarray(classes, float)
    if probabilities.ndim != 2 or classes.shape != probabilities.shape[:1]:
        raise ValueError(f"probabilities: expected (N, K) for {classes.shape} classes, got {probabilities.shape}")
    known = ~np.isnan(classes)
    probabilities, kept = probabilities[known], classes[known].astype(int)
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities: expected finite numbers")
    if ((kept < 0) | (kept >= probabilities.shape[1]) | (kept != classes[known])).any():
        raise ValueError(f"classes: expected integers from 0 to {probabilities.shape[1] - 1}, got {np.unique(classes)}")
    return probabilities, kept


def _regression(
    predictions: np.ndarray, labels: np.ndarray, scale: str, weights: np.ndarray, as_mmsa: bool = False
) -> Scores:
    """`as_mmsa`: labels of one sign have scores of two classes too."""
    if scale not in ("mosi", "sims"):
        raise ValueError(f"scale: expected mosi or sims, got {scale!r}")
    clipped = np.clip(predictions, -1, 1)
    errors = np.abs(predictions.astype(float) - labels)
    common = {"mae": _mean(errors, weights), "corr": _correlation(predictions, labels, weights)}
    if scale == "sims":
        scores = {f"acc{k}": _mean(_bins(predictions, k) == _bins(labels, k), weights) for k in SIMS_EDGES}
        two = {"acc2": scores["acc2"], "f1": _f1(_bins(predictions, 2), _bins(labels, 2), weights)}
        scores |= two if as_mmsa else _where_both(_bins(labels, 2), weights, two)
        mmsa = {
            "mmsa_mae": _mean(np.abs(clipped.astype(float) - np.clip(labels, -1, 1)), weights),
            "mmsa_corr": _correlation(clipped, np.clip(labels, -1, 1), weights),
        }
        return scores | common | mmsa
    scores = {f"acc{2 * b + 1}": _mean(_rounded(predictions, b) == _rounded(labels, b), weights) for b in (3, 2, 1)}
    has0 = (predictions >= 0, labels >= 0, weights)
    non0 = (predictions > 0, labels > 0, weights * (labels != 0))
    binary = _binary("has0", *has0, as_mmsa) | _binary("non0", *non0, as_mmsa)
    return scores | binary | common


def _classification(probabilities: np.ndarray, classes: np.ndarray, weights: np.ndarray) -> Scores:
    told = probabilities.argmax(1)
    scores = {
        "accuracy": _mean(told == classes, weights),
        "macro_f1": _f1(told, classes, weights, macro=True),
        "weighted_f1": _f1(told, classes, weights),
    }
    if probabilities.shape[1] != 3:
        return scores
    positive = probabilities[:, 2] > probabilities[:, 0]
    polar = weights * (classes != 1)
    scores |= _binary("has0", told >= 1, classes >= 1, weights) | _binary("non0", positive, classes == 2, polar)
    scores |= _binary("mmsa_has0", positive, classes == 2, weights, as_mmsa=True)
    return scores | _binary("mmsa_non0", positive.astype(int), classes, polar, as_mmsa=True)


def _binary(name: str, told: np.ndarray, true: np.ndarray, weights: np.ndarray, as_mmsa: bool = False) -> Scores:
    """Accuracy and F1 of two classes (R,)."""
    scores = {f"{name}_acc2": _mean(told == true, weights), f"{name}_f1": _f1(told, true, weights)}
    return scores if as_mmsa else _where_both(true, weights, scores)


def _where_both(true: np.ndarray, weights: np.ndarray, scores: Scores) -> Scores:
    """The scores of two classes, NaN where the truth (N,) has one alone: a constant would be perfect."""
    first, all_ = weights @ true.astype(float), weights.sum(1)
    return {name: np.where((first > 0) & (first < all_), values, np.nan) for name, values in scores.items()}


def _bins(scores: np.ndarray, classes: int) -> np.ndarray:
    """SIMS classes: intervals closed on the right, compared in float32 as MMSA does."""
    return np.searchsorted(np.array(SIMS_EDGES[classes], np.float32), scores, side="left")


def _rounded(scores: np.ndarray, bound: int) -> np.ndarray:
    return np.round(np.clip(scores, -bound, bound))  # halves go to even, as in MMSA


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means (R,) of values (N,) under weights (R, N); NaN where no weight is left."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return weights @ values.astype(float) / weights.sum(1)


def _f1(told: np.ndarray, true: np.ndarray, weights: np.ndarray, macro: bool = False) -> np.ndarray:
    """F1 (R,), averaged over classes by support, or evenly over the classes that occur on either side."""
    present = np.unique(np.concatenate([told[weights.any(0)], true[weights.any(0)]]).astype(int))
    support = np.stack([weights @ (true == k) for k in present] or [np.zeros(len(weights))])
    named = np.stack([weights @ (told == k) for k in present] or [np.zeros(len(weights))])
    right = np.stack([weights @ ((told == k) & (true == k)) for k in present] or [np.zeros(len(weights))])
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(support + named > 0, 2 * right / (support + named), 0)
        share = (support + named > 0).astype(float) if macro else support
        return (f1 * share).sum(0) / share.sum(0)


def _correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation (R,); NaN where a side does not move."""
    x, y = x.astype(float), y.astype(float)
    if not len(x):
        return np.full(len(weights), np.nan)
    x, y = x - x.mean(), y - y.mean()  # the centre changes nothing but the rounding
    total = weights.sum(1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    variance_x, variance_y = weights @ x**2 / total - mean_x**2, weights @ y**2 / total - mean_y**2
    moved = (variance_x > 1e-12 * (1 + (x**2).mean())) & (variance_y > 1e-12 * (1 + (y**2).mean()))
    covariance = weights @ (x * y) / total - mean_x * mean_y
    return np.where(moved, covariance / np.sqrt(np.where(moved, variance_x * variance_y, 1)), np.nan)


def _mae(predictions: np.ndarray, labels: np.ndarray) -> Score:
    return float(np.mean(np.abs(predictions - labels))) if len(labels) else None


def _pearson(predictions: np.ndarray, labels: np.ndarray) -> Score:
    moved = len(labels) > 1 and np.ptp(predictions) > 0 and np.ptp(labels) > 0
    return float(np.corrcoef(predictions, labels)[0, 1]) if moved else None


def _constant(name: str, train: np.ndarray, scale: str) -> float:
    """The score whose class is the most frequent one among the train labels, for the metric `name`."""
    if scale == "sims":
        edges = (-1.0, *SIMS_EDGES[int(name[3:]) if name.startswith("acc") else 2], 1.0)
        frequent = np.bincount(_bins(train.astype(np.float32), len(edges) - 1), minlength=len(edges) - 1).argmax()
        return float(edges[frequent] + edges[frequent + 1]) / 2
    if name.startswith("acc"):
        values, counts = np.unique(_rounded(train, int(name[3:]) // 2), return_counts=True)
        return float(values[counts.argmax()])
    positive: Callable[[np.ndarray], np.ndarray] = (lambda x: x >= 0) if name.startswith("has0") else (lambda x: x > 0)
    kept = train if name.startswith("has0") else train[train != 0]
    return 1.0 if positive(kept).mean() >= 0.5 else -1.0


def _resampled(count: int, draws: int, seed: int) -> np.ndarray:
    """(draws, count) float: how often each sample comes up when `count` are redrawn with replacement."""
    drawn = np.random.default_rng(seed).integers(0, max(1, count), (draws, count))
    places = drawn + np.arange(draws)[:, None] * count
    return np.bincount(places.ravel(), minlength=draws * count).reshape(draws, count).astype(float)


def _points(scores: Scores) -> dict[str, Score]:
    return {name: float(values[0]) if np.isfinite(values[0]) else None for name, values in scores.items()}


def _intervals(scores: Scores) -> dict[str, tuple[float, float] | None]:
    return {name: _interval(values[np.isfinite(values)]) for name, values in scores.items()}


def _interval(values: np.ndarray) -> tuple[float, float] | None:
    if not len(values):
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
