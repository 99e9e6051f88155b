"""What a search may vary. In: words like training.learning_rate=1e-5..1e-3. Out: ranges that Optuna draws from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from lacuna.types import MalformedInput

PARTS = ("training", "model")
DEFAULT = ("training.learning_rate=1e-5..1e-2", "training.batch_size=8,16,32", "training.weight_decay=1e-6..1e-1")
DECADE = 10  # a range that spans one is drawn by its logarithm

Value = int | float | str | bool | None


@dataclass(frozen=True)
class Choice:
    """One of these values."""

    key: str
    values: tuple[Value, ...]

    @property
    def first(self) -> Value:
        """One that it may be."""
        return self.values[0]

    def draw(self, trial: Any) -> Value:  # noqa: ANN401 (an Optuna trial)
        return trial.suggest_categorical(self.key, self.values)


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, whole where both are."""

    key: str
    low: float
    high: float

    @property
    def first(self) -> Value:
        """One that it may be."""
        return self.low

    def draw(self, trial: Any) -> float:  # noqa: ANN401 (an Optuna trial)
        log = self.low > 0 and self.high / self.low >= DECADE
        suggest = trial.suggest_int if isinstance(self.low, int) and isinstance(self.high, int) else trial.suggest_float
        return suggest(self.key, self.low, self.high, log=log)


def parse(words: Sequence[str]) -> tuple[Choice | Range, ...]:
    """Ranges of `<part>.<setting>=<low>..<high>` and choices of `<part>.<setting>=<a>,<b>`; part: training or model."""
    space = tuple(_one(word) for word in words)
    keys = [one.key for one in space]
    if len(set(keys)) < len(keys):
        raise MalformedInput(f"vary: expected each setting once, got {', '.join(keys)}")
    return space


def _one(word: str) -> Choice | Range:
    key, equals, told = word.partition("=")
    if not equals or not told or key.partition(".")[0] not in PARTS or not key.partition(".")[2]:
        raise MalformedInput(f"vary: expected training.<setting>=… or model.<setting>=…, got {word!r}")
    if ".." not in told:
        return Choice(key, tuple(_plain(value) for value in told.split(",")))
    low, high = (_plain(value) for value in told.split("..", 1))
    if not (isinstance(low, int | float) and isinstance(high, int | float) and low < high):
        raise MalformedInput(f"vary: expected <low>..<high>, two numbers, for {key}, got {told!r}")
    return Range(key, low, high)


def _plain(word: str) -> Value:
    """A value as params.yaml reads it, and numbers like 1e-5, which YAML takes for words."""
    value = yaml.safe_load(word)
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
