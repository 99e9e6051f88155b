"""What the text extractors share: cleaning, and token ids. In: a tokenizer and texts. Out: one (T, 3) array a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lacuna.types import FeatureSequence, MalformedInput

# In the order they are applied: a retweet's mark holds a mention.
CLEANING: dict[str, tuple[re.Pattern[str], str]] = {
    "retweets": (re.compile(r"\bRT @\w+:?\s*"), ""),  # "RT @x: "
    "links": (re.compile(r"https?:/{0,2}\S*|\bt\.co/\S*|\bwww\.\S+", re.IGNORECASE), ""),  # cut ones ("http:/…") too
    "mentions": (re.compile(r"(?<!\w)@\w+"), ""),
    "hashtags": (re.compile(r"(?<!\w)[#＃]\w+"), ""),  # the whole tag
    "hashes": (re.compile(r"[#＃](?=\w)"), ""),  # the mark alone: "#happy" becomes "happy"
}
CASE = "case"  # lower case


def check_cleaning(names: Sequence[str]) -> None:
    """Refuse what is no kind of cleaning."""
    known = (*CLEANING, CASE)
    for name in names:
        if name not in known:
            raise MalformedInput(f"clean: expected any of {', '.join(known)}; got {name!r}")


def cleaned(text: str, names: Sequence[str]) -> str:
    """The text without what `names` name (retweets, links, mentions, hashtags, hashes), in lower case with `case`."""
    for name, (pattern, instead) in CLEANING.items():
        if name in names:
            text = pattern.sub(instead, text)
    text = text.lower() if CASE in names else text
    return " ".join(text.split()) if names else text


def encode(tokenizer: Any, texts: Sequence[str], most: int) -> list[np.ndarray]:  # noqa: ANN401 (a tokenizer)
    """Per text ids, attention mask and segment ids, (T, 3) int64, T <= `most`, cut so that [CLS] and [SEP] stay.

    A text without words (nothing but the special tokens) has T = 0.
    """
    # XLNet's <cls> is of a segment of its own, which its tokenizer tells only if asked.
    wanted = {"return_special_tokens_mask": True, "return_token_type_ids": True}
    encoded = tokenizer(list(texts), truncation=True, max_length=most, **wanted)
    arrays = []
    for i, ids in enumerate(encoded["input_ids"]):
        rows = np.array([ids, encoded["attention_mask"][i], encoded["token_type_ids"][i]], np.int64).T
        # [UNK] is no special token here: a word that the vocabulary lacks is a word.
        arrays.append(rows[:0] if all(encoded["special_tokens_mask"][i]) else rows)
    return arrays


def unread(tokenizer: Any, text: str, most: int) -> str:  # noqa: ANN401
    """What of a text is cut off, because it has more tokens than `most`; "…" where the tokenizer does not tell."""
    fast = getattr(tokenizer, "is_fast", False)
    options = {"truncation": True, "return_offsets_mapping": fast}
    if len(tokenizer(text, max_length=most + 1, **options)["input_ids"]) <= most:
        return ""
    if not fast:
        return "…"
    return text[max(end for _, end in tokenizer(text, max_length=most, **options)["offset_mapping"]) :].strip()


def positions(values: np.ndarray, columns: tuple[str, ...]) -> FeatureSequence:
    """Values (T, D) as a sequence, all seen; times are the positions 0, 1, … until words are aligned with sound."""
    return FeatureSequence(values, np.arange(len(values), dtype=np.float64), np.ones(len(values), bool), columns)


def check_length(most: int) -> None:
    """Refuse lengths that leave no room for a word between [CLS] and [SEP]."""
    if most < 3:
        raise MalformedInput(f"max_length: expected at least 3 ([CLS], a word, [SEP]), got {most}")
