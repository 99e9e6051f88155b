"""Official pickles as a dataset of given features. In: one MMSA pickle in the folder. Out: clips, and their features.

Values that are not finite (MOSEI's audio column 7, -inf in MOSI's audio) become 0, that value alone; their number is
among the origin's settings. A frame of zeros is unseen: so these files mark padding, [CLS], [SEP] and lost faces.
Their frame rates were not published, so times are frame numbers, unless Lacuna wrote the file and knows them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lacuna.data.samples import HIDDEN_COLUMN, TOKEN_COLUMNS
from lacuna.export.content import KINDS
from lacuna.export.pickle import LOST_TOKEN, Pickle, load
from lacuna.prepare.run import Settings
from lacuna.prepare.tables import find_file
from lacuna.storage.features import Origin
from lacuna.storage.text import decode
from lacuna.types import Clip, FeatureSequence, MalformedInput, Reject

LOOKED_FOR = "one MMSA pickle (*.pkl, as unaligned_50.pkl)"
UR_FUNNY = "humor_label_sdk.pkl"  # whose pickles are others


def matches(root: Path) -> bool:
    """A pickle in the folder or in its Processed/, and no videos with labels that the features could be made from."""
    videos = find_file(root, "Raw") and (find_file(root, "label.csv") or find_file(root, "meta.csv"))
    return bool(_pickles(root)) and not videos and not (root / UR_FUNNY).exists()


def _pickles(root: Path) -> list[Path]:
    return sorted([*root.glob("*.pkl"), *root.glob("Processed/*.pkl")])


def pickle_of(root: Path) -> Path:
    """The folder's pickle; of several, the only one called unaligned."""
    found = _pickles(root)
    chosen = [path for path in found if "unaligned" in path.name] if len(found) > 1 else found
    if len(chosen) != 1:
        raise MalformedInput(f"{root}: expected one pickle, got {', '.join(path.name for path in found) or 'none'}")
    return chosen[0]


def read(root: Path, dataset: str, settings: Settings) -> Iterator[Clip | Reject]:
    """The clips of the three splits, in the file's order (in the order they once had, where Lacuna wrote it)."""
    given = load(pickle_of(root))
    print(f"{dataset}: {given.path.name} is {given.official or 'no published file known here'}")
    for split, row in _order(given):
        name = str(given.splits[split]["id"][row])
        try:
            yield Clip(name, dataset, split, _text(given, split, row), _labels(given, split, row, settings.label_range))
        except MalformedInput as error:
            yield Reject(name, given.path.as_posix(), str(error).removeprefix(f"clip {name}: "))
    for split, row in _repeated(given):
        name = str(given.splits[split]["id"][row])
        yield Reject(name, given.path.as_posix(), f"expected each id once, got it again in {split}[{row}]")


def _order(given: Pickle) -> list[tuple[str, int]]:
    """(split, row) of each clip, the first of each id."""
    own = given.own
    rows = [(split, row) for split, content in given.splits.items() for row in range(len(content["id"]))]
    if own is not None:
        rows.sort(key=lambda at: own[at[0]]["places"][at[1]])
    first = {_id(given, at): at for at in reversed(rows)}
    return [at for at in rows if first[_id(given, at)] == at]


def _repeated(given: Pickle) -> list[tuple[str, int]]:
    first = set(_order(given))
    rows = [(split, row) for split, content in given.splits.items() for row in range(len(content["id"]))]
    return [at for at in rows if at not in first]


def _id(given: Pickle, at: tuple[str, int]) -> str:
    return str(given.splits[at[0]]["id"][at[1]])


def _text(given: Pickle, split: str, row: int) -> str:
    texts = given.splits[split].get("raw_text")
    text = "" if texts is None else texts[row]
    if isinstance(text, np.ndarray | list | tuple) and np.size(text) == 1:
        text = np.ravel(text)[0]
    if isinstance(text, bytes):  # as Python 2 wrote them
        text = decode(text, f"{given.path}: {split}: raw_text[{row}]")[0]
    if not isinstance(text, str | None | float):
        raise MalformedInput(f"raw_text: expected words, got {text!r:.60}")
    return text if isinstance(text, str) else ""  # None, NaN: as pandas has what is empty


def _labels(given: Pickle, split: str, row: int, limits: tuple[float, float]) -> dict[str, float]:
    if given.own is not None:
        return json.loads(given.own[split]["labels"][row])
    labels = {}
    for name in "MTAV":
        key = "regression_labels" + ("" if name == "M" else f"_{name}")
        if key not in given.splits[split]:
            continue
        value = float(np.asarray(given.splits[split][key][row], np.float64).reshape(-1)[0])
        if not limits[0] <= value <= limits[1] and (name == "M" or math.isfinite(value)):
            raise MalformedInput(f"{key}: expected a number from {limits[0]:g} to {limits[1]:g}, got {value}")
        if math.isfinite(value):
            labels[name] = value
    return labels


def features(root: Path, modality: str) -> tuple[Origin, Iterator[tuple[str, FeatureSequence]]] | None:
    """Origin and (clip id, sequence) of "tokens", "text", "audio" or "vision"; None where the pickle has it not."""
    given = load(pickle_of(root))
    if modality not in given.kinds:
        return None
    origin = _origin(given, modality)
    return origin, ((_id(given, at), _sequence(given, modality, at, origin)) for at in _order(given))


def _origin(given: Pickle, kind: str) -> Origin:
    if given.own is not None:
        record = json.loads(given.own["origins"][kind])
        return Origin(**record | {"columns": tuple(record["columns"])})
    padded = given.splits["train"][KINDS[kind]].shape[2 if kind == "tokens" else 1]
    rows = {split: len(content["id"]) for split, content in given.splits.items()}
    settings: dict[str, object] = {"file": given.path.name, "sha256": given.sha256, "official": given.official}
    settings |= {"padded": padded, "rows": rows}  # which the pattern `legacy` goes by
    if kind == "tokens":
        return Origin("given", "text", TOKEN_COLUMNS, settings, {}, "int64")
    arrays = [content[KINDS[kind]] for content in given.splits.values()]
    settings["zeroed"] = sum(int(np.count_nonzero(~np.isfinite(part))) for array in arrays for part in array)
    prefix = f"{kind}_"
    if kind == "text" and _is_hidden(given):
        prefix = HIDDEN_COLUMN.removesuffix("0")
    return Origin("given", kind, tuple(f"{prefix}{i}" for i in range(arrays[0].shape[2])), settings, {})


def _is_hidden(given: Pickle) -> bool:
    """Whether `text` is the hidden states of `text_bert`'s tokens, [CLS] and [SEP] among them."""
    train = given.splits["train"]
    return "tokens" in given.kinds and train["text"].shape[1:] in [
        (train["text_bert"].shape[2], d) for d in (768, 1024)
    ]


def _sequence(given: Pickle, kind: str, at: tuple[str, int], origin: Origin) -> FeatureSequence:
    split, row = at
    values = given.splits[split][KINDS[kind]][row]
    values = values.T if kind == "tokens" else values
    if given.own is not None:
        return _own_sequence(given.own[split], kind, row, values, origin)
    length = _length(given, kind, split, row)
    if kind == "tokens":
        return _token_sequence(given.splits[split], row, values[:length])
    with np.errstate(over="ignore"):
        values = values[:length].astype(np.float32)
    values[~np.isfinite(values)] = 0
    return FeatureSequence(values, np.arange(length, dtype=np.float64), values.any(1), origin.columns)


def _own_sequence(own: Mapping[str, Any], kind: str, row: int, values: np.ndarray, origin: Origin) -> FeatureSequence:
    """As it was before Lacuna wrote it."""
    ends = np.cumsum(own[f"{kind}_lengths"])
    length, span = own[f"{kind}_lengths"][row], slice(ends[row] - own[f"{kind}_lengths"][row], ends[row])
    seen = own[f"{kind}_seen"][span]
    values = values[:length].astype(origin.dtype)
    if kind == "tokens":
        values[~seen, 0] = LOST_TOKEN
    return FeatureSequence(values, own[f"{kind}_times"][span], seen, origin.columns)


def _token_sequence(content: Mapping[str, Any], row: int, values: np.ndarray) -> FeatureSequence:
    values, seen = values.astype(np.int64), np.ones(len(values), bool)
    if "text_missing_mask" in content:
        seen = np.asarray(content["text_missing_mask"])[row, : len(values)] > 0
        values[~seen, 0] = LOST_TOKEN
    return FeatureSequence(values, np.arange(len(values), dtype=np.float64), seen, TOKEN_COLUMNS)


def _length(given: Pickle, kind: str, split: str, row: int) -> int:
    """Frames before the padding: as the file says, else as many as tokens where aligned, else the last non-zero."""
    content = given.splits[split]
    padded = content[KINDS[kind]].shape[2 if kind == "tokens" else 1]
    if f"{kind}_lengths" in content:
        return int(min(padded, np.asarray(content[f"{kind}_lengths"][row]).reshape(-1)[0]))
    if "tokens" in given.kinds and content["text_bert"].shape[2] == padded:
        filled = content["text_bert"][row, 1]
    else:
        filled = content[KINDS[kind]][row].any(1)
    return int(np.flatnonzero(filled)[-1]) + 1 if np.any(filled) else 0
