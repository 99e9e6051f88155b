"""Test sets whose views are noisy or contradict each other. In: classes, or samples. Out: which views of which change.

The protocols of RCML (Xu et al., AAAI 2024), for any modalities. A plan is a function of (classes, rows, views,
settings, seed) alone, so all models are judged on the same changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lacuna.data.samples import Sample, is_tokens
from lacuna.types import FeatureSequence, MalformedInput, require_words


@dataclass(frozen=True)
class Settings:
    """How much is spoilt, and by which rules.

    `published`: as the authors' program does it. A conflicting view is a verbatim copy of the first row of the next
    class among all rows, training rows too; a noisy row has 0 to V-1 noisy views, so that one in V has none.
    `mended`: a conflicting view is that of a random test row of another class; a noisy row has 1 to V-1 noisy views.
    """

    protocol: Literal["mended", "published"] = "mended"
    noise_ratio: float = 0.1
    sigma: float = 0.5  # of the noise, in the scale of the features
    conflict_ratio: float = 0.4

    def __post_init__(self) -> None:
        require_words(self)
        for name in ("noise_ratio", "conflict_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise MalformedInput(f"conflict.{name}: expected 0 to 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Plan:
    """(row, view) of every noisy view, and (row, view, donor row) of every view taken from another row."""

    noisy: tuple[tuple[int, int], ...]
    swapped: tuple[tuple[int, int, int], ...]


def plan(classes: np.ndarray, test: np.ndarray, views: int, settings: Settings, seed: int) -> Plan:
    """What to change in the rows `test` (indices into the (N,) classes) with this many views."""
    generator = np.random.default_rng(seed)
    fewest = 1 if settings.protocol == "mended" else 0
    noisy = [
        (int(row), int(view))
        for row in generator.choice(test, int(settings.noise_ratio * len(test)), replace=False)
        for view in generator.choice(
            views, min(views, int(generator.integers(fewest, max(views, fewest + 1)))), replace=False
        )
    ]
    swapped = []
    for row in generator.choice(test, int(settings.conflict_ratio * len(test)), replace=False):
        view, donor = int(generator.integers(views)), _donor(int(row), classes, test, settings, generator)
        if donor is not None:
            swapped.append((int(row), view, donor))
    return Plan(tuple(noisy), tuple(swapped))


def _donor(
    row: int, classes: np.ndarray, test: np.ndarray, settings: Settings, generator: np.random.Generator
) -> int | None:
    if settings.protocol == "published":
        present = np.unique(classes)
        following = present[(np.searchsorted(present, classes[row]) + 1) % len(present)]
        return int(np.flatnonzero(classes == following)[0])
    others = test[classes[test] != classes[row]]
    return int(generator.choice(others)) if len(others) else None


def apply(views: Sequence[np.ndarray], spoilt: Plan, sigma: float, seed: int) -> list[np.ndarray]:
    """Copies of V arrays (N, D_v) with the plan carried out; donors give their views as they were, without noise."""
    generator = np.random.default_rng([seed, 1])
    changed = [view.copy() for view in views]
    for row, view in spoilt.noisy:
        changed[view][row] += generator.normal(0, sigma, changed[view].shape[1:]).astype(changed[view].dtype)
    for row, view, donor in spoilt.swapped:
        changed[view][row] = views[view][donor]
    return changed


def conflictive(samples: Sequence[Sample], settings: Settings, seed: int) -> list[Sample]:
    """The samples (of one test split, labelled with classes), noisy and conflicting; any modalities, sequences too."""
    classes = np.array([sample.clip.label for sample in samples])
    names = sorted({name for sample in samples for name in sample.features})
    spoilt = plan(classes, np.arange(len(samples)), len(names), settings, seed)
    generator = np.random.default_rng([seed, 1])
    features = [dict(sample.features) for sample in samples]
    for row, view in spoilt.noisy:
        features[row][names[view]] = _noisy(features[row][names[view]], settings.sigma, generator)
    for row, view, donor in spoilt.swapped:
        features[row][names[view]] = samples[donor].features[names[view]]
    return [replace(sample, features=changed) for sample, changed in zip(samples, features)]


def _noisy(sequence: FeatureSequence, sigma: float, generator: np.random.Generator) -> FeatureSequence:
    """Gaussian noise on the frames that are seen; token ids, which are no quantities, stay."""
    if is_tokens(sequence):
        return sequence
    noise = generator.normal(0, sigma, sequence.values.shape) * sequence.seen[:, None]
    return replace(sequence, values=(sequence.values + noise).astype(np.float32))
