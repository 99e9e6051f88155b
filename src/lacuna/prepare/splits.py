"""Seeded splits. In: names by class, and the settings. Out: {name: split}, each class cut at the same fractions.

Names are ordered by a hash of seed and name: the same ones land in the same split whatever their order, and a new one
moves at most those at the borders.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from lacuna.types import SPLITS


def stratified(
    named: Iterable[tuple[str, str]], seed: int, fractions: Sequence[float], splits: Sequence[str] = SPLITS
) -> dict[str, str]:
    """{name: split} of (name, class) pairs; `fractions` are the shares of `splits`, whatever they sum to."""
    by_class: dict[str, set[str]] = defaultdict(set)
    for name, kind in named:
        by_class[kind].add(name)
    found: dict[str, str] = {}
    for names in by_class.values():
        order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())
        ends = [round(sum(fractions[: i + 1]) / sum(fractions) * len(order)) for i in range(len(splits))]
        for split, start, end in zip(splits, [0, *ends], ends):
            found |= dict.fromkeys(order[start:end], split)
    return found
