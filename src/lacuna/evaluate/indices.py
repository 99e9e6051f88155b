"""What papers quote of a curve over missing rates, by name. In: scores by level. Out: plain numbers.

`lnln_mean`: the mean over the rates 0, .1 … .9 (LNLN, NeurIPS 2024). `emt_area`: the trapezoids over 0, .1 … 1, which
EMT-DLFR (IEEE TAC 2023) calls AUC. `imbalanced_mean`: the mean over levels that give each modality a rate of its own.
`equity`: how evenly the modalities that are left contribute, see `equity`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from lacuna.evaluate.metrics import auilc, lower_is_better
from lacuna.evaluate.names import is_by_modality, is_rate

Levels = Mapping[str, Mapping[str, Mapping[str, float | None]]]  # {level: {metric: {"mean", "std"}}}
LNLN_RATES = tuple(k / 10 for k in range(10))
EMT_RATES = tuple(k / 10 for k in range(11))


def indices(levels: Levels) -> dict[str, dict[str, float | None]]:
    """{metric: {index: value}}; None where a level that the index needs was not judged, or the metric is undefined."""
    metrics = next(iter(levels.values()), {})
    return {name: _of(name, {level: scores[name]["mean"] for level, scores in levels.items()}) for name in metrics}


def _of(name: str, means: Mapping[str, float | None]) -> dict[str, float | None]:
    rates = {round(float(level), 6): value for level, value in means.items() if is_rate(level)}
    lnln, emt = ([rates.get(rate) for rate in wanted] for wanted in (LNLN_RATES, EMT_RATES))
    own = [value for level, value in means.items() if is_by_modality(level)]
    subsets = {frozenset(k.split("+")): v for k, v in means.items() if not is_rate(k) and not is_by_modality(k)}
    return {
        "lnln_mean": _mean(lnln),
        "emt_area": auilc(EMT_RATES, _known(emt)) if None not in emt else None,
        "imbalanced_mean": _mean(own),
        "equity": equity(subsets, lower_is_better(name)),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    return float(np.mean(_known(values))) if values and None not in values else None


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def equity(subsets: Mapping[frozenset[str], float | None], lower_better: bool) -> float | None:
    """Evenness of the modalities' contributions, 1: all alike, 0: all from one; None without the scores it needs.

    A modality's contribution is its Shapley value over the subsets that may be left: the mean of what it adds to each
    (nothing at all counts as the worst of them), negative ones counted as 0. Evenness is their entropy over that of
    equal ones. After the modality equity index of MissBench (arXiv 2603.09874), whose formula we
    could not read: numbers need not agree.
    """
    names = sorted(set().union(*subsets)) if subsets else []
    wanted = [frozenset(c) for size in range(1, len(names) + 1) for c in combinations(names, size)]
    if len(names) < 2 or any(subsets.get(subset) is None for subset in wanted):
        return None
    sign = -1.0 if lower_better else 1.0
    worth = {subset: sign * float(subsets[subset] or 0.0) for subset in wanted}
    floor = min(worth.values())
    values = np.array([max(0.0, _shapley(name, names, worth, floor)) for name in names])
    if not values.sum():
        return None
    shares = values[values > 0] / values.sum()
    return float(-(shares * np.log(shares)).sum() / math.log(len(names)))


def _shapley(name: str, names: Sequence[str], worth: Mapping[frozenset[str], float], floor: float) -> float:
    """The Shapley value of one modality; nothing at all is worth as much as the worst subset."""
    others, total = [other for other in names if other != name], 0.0
    for size in range(len(names)):
        weight = math.factorial(size) * math.factorial(len(names) - size - 1) / math.factorial(len(names))
        for company in combinations(others, size):
            with_it, without = frozenset((*company, name)), frozenset(company)
            total += weight * (worth[with_it] - (worth[without] if company else floor))
    return total
