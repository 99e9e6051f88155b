"""What must hold of MMSA's pickles. In: a split's keys and values. Out: nothing, or an error that names the key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lacuna.storage.features import Origin
from lacuna.types import MalformedInput

KINDS = {"tokens": "text_bert", "text": "text", "audio": "audio", "vision": "vision"}  # ours → MMSA's key


def check_split(content: dict[str, Any], widths: dict[str, int]) -> None:
    """MalformedInput unless keys, shapes and numbers are what is read of them; `widths`: of the splits before."""
    for key in ("id", "regression_labels"):
        if key not in content:
            raise MalformedInput(f"expected the key {key!r}, got {', '.join(map(str, content)) or 'nothing'}")
    if not hasattr(content["id"], "__len__"):
        raise MalformedInput(f"id: expected one a clip, got {content['id']!r:.40}")
    count = len(content["id"])
    present = [key for key in KINDS.values() if key in content]
    if not present:
        raise MalformedInput(f"expected features under {', '.join(KINDS.values())}, got {', '.join(map(str, content))}")
    for key in present:
        value = content[key]
        if not (isinstance(value, np.ndarray) and value.ndim == 3 and value.dtype.kind in "fiu"):
            found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise MalformedInput(f"{key}: expected a numeric array (N, T, D), got {found}")
        if key == "text_bert" and value.shape[1] != 3:
            raise MalformedInput(f"text_bert: expected (N, 3, T): ids, mask, segments; got {value.shape}")
        width = value.shape[1 if key == "text_bert" else 2]
        if widths.setdefault(key, width) != width:
            raise MalformedInput(f"{key}: expected {widths[key]} columns as in train, got {width}")
    per_clip = (*present, "raw_text", "regression_labels", "audio_lengths", "vision_lengths")
    per_clip += tuple(f"regression_labels_{name}" for name in "TAV")
    for key in per_clip:
        if key in content and (not hasattr(content[key], "__len__") or len(content[key]) != count):
            rows = len(content[key]) if hasattr(content[key], "__len__") else repr(content[key])
            raise MalformedInput(f"{key}: expected {count} rows, as many as id has; got {rows}")
    _check_numbers(content, count)


def _check_numbers(content: Mapping[str, Any], count: int) -> None:
    """One label a clip, lengths that can be, token ids that are ids: what is read as something else without a word."""
    for key in ("regression_labels", *(f"regression_labels_{name}" for name in "TAV")):
        if key in content and _numbers(content, key).size != count:
            raise MalformedInput(f"{key}: expected one number a clip, got {_numbers(content, key).shape}")
    for key in ("text_lengths", "audio_lengths", "vision_lengths"):
        if key in content:
            _check_whole(key, _numbers(content, key))
            if _numbers(content, key).size != count:
                raise MalformedInput(f"{key}: expected one number a clip, got {_numbers(content, key).shape}")
    if "text_bert" in content:
        _check_whole("text_bert", content["text_bert"])
        if "text_missing_mask" in content:
            shape, wanted = np.shape(content["text_missing_mask"]), content["text_bert"][:, 0].shape
            if shape != wanted:
                raise MalformedInput(f"text_missing_mask: expected {wanted}, got {shape}")


def _numbers(content: Mapping[str, Any], key: str) -> np.ndarray:
    try:
        return np.asarray(content[key], float)
    except (TypeError, ValueError) as error:
        raise MalformedInput(f"{key}: expected numbers: {error}") from error


def _check_whole(key: str, values: np.ndarray) -> None:
    odd = ~(np.isfinite(values) & (values >= 0) & (values == np.trunc(values)))
    if odd.any():
        raise MalformedInput(f"{key}: expected whole numbers from 0, got {values[odd][0]}")


def check_own(own: Mapping[str, Any], splits: Mapping[str, Mapping[str, Any]], kinds: Sequence[str]) -> None:
    """ValueError, or another of what damaged content raises, unless it fits what Lacuna wrote beside MMSA's keys."""
    origins = {kind: Origin(**json.loads(told)) for kind, told in own["origins"].items()}
    lacking = set(kinds) - set(origins)
    if lacking:
        raise ValueError(f"no origin of {', '.join(sorted(lacking))}")
    for split, content in splits.items():
        part, count = own[split], len(content["id"])
        labels = [value for told in part["labels"] for value in json.loads(told).values()]
        if not len(part["places"]) == len(part["labels"]) == count or any(type(v) not in (int, float) for v in labels):
            raise ValueError(f"{split}: places or labels of other clips")
        for kind, origin in origins.items():
            _check_own_frames(part, kind, content[KINDS[kind]], len(origin.columns))


def _check_own_frames(part: Mapping[str, Any], kind: str, values: np.ndarray, width: int) -> None:
    lengths, times, seen = (part[f"{kind}_{name}"] for name in ("lengths", "times", "seen"))
    padded, columns = values.shape[:0:-1] if kind == "tokens" else values.shape[1:]
    fits = lengths.shape == (len(values),) and (lengths >= 0).all() and (lengths <= padded).all() and columns == width
    if not (fits and times.shape == seen.shape == (lengths.sum(),) and seen.dtype == bool):
        raise ValueError(f"{kind}: frames that do not fit its values")
