"""What the text extractors share: token ids of texts. In: a tokenizer and texts. Out: one (T, 3) array a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lacuna.types import FeatureSequence, MalformedInput


def encode(tokenizer: Any, texts: Sequence[str], most: int) -> list[np.ndarray]:  # noqa: ANN401 (a tokenizer)
    """Per text ids, attention mask and segment ids, (T, 3) int64, T <= `most`, cut so that [CLS] and [SEP] stay.

    A text without words (nothing but the special tokens) has T = 0.
    """
    encoded = tokenizer(list(texts), truncation=True, max_length=most, return_special_tokens_mask=True)
    arrays = []
    for i, ids in enumerate(encoded["input_ids"]):
        segments = encoded["token_type_ids"][i] if "token_type_ids" in encoded else [0] * len(ids)
        rows = np.array([ids, encoded["attention_mask"][i], segments], np.int64).T
        # [UNK] is no special token here: a word that the vocabulary lacks is a word.
        arrays.append(rows[:0] if all(encoded["special_tokens_mask"][i]) else rows)
    return arrays


def positions(values: np.ndarray, columns: tuple[str, ...]) -> FeatureSequence:
    """Values (T, D) as a sequence, all seen; times are the positions 0, 1, … until words are aligned with sound."""
    return FeatureSequence(values, np.arange(len(values), dtype=np.float64), np.ones(len(values), bool), columns)


def check_length(most: int) -> None:
    """Refuse lengths that leave no room for a word between [CLS] and [SEP]."""
    if most < 3:
        raise MalformedInput(f"max_length: expected at least 3 ([CLS], a word, [SEP]), got {most}")
