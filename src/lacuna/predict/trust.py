"""What a checkpoint may ask for. In: its card, and what the user named. Out: the card with the user's own in its place.

A checkpoint is data, perhaps a stranger's: it may name numbers and words, but no program to run, no folder to read and
no weights to load. Those are the user's to name: in params.yaml, or with `--use <name>=<value>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from lacuna.align.words import Settings as Alignment
from lacuna.params import checked, plugin, plugin_names
from lacuna.storage.features import Origin
from lacuna.storage.pretrained import EMBEDDED
from lacuna.train.checkpoint import Card
from lacuna.types import MalformedInput

# Settings that name something outside, whatever they say; of others, what looks like a path.
OUTSIDE = frozenset({"source", "weights", "file", "openface", "csv", "task", "config", "tokenizer", "encoder"})
INSIDE = (EMBEDDED, "", "imagenet", "random")  # what Lacuna and its libraries bring along


def trusted(card: Card, use: Mapping[str, str]) -> Card:
    """The card with each program, folder and weights taken from `use`: {"<extractor>.<setting>", "align.<setting>" or
    "model.encoder": value}. MalformedInput: one that the user did not name; it says how to."""
    origins = {modality: _origin(origin, use) for modality, origin in card.origins.items()}
    if not card.spec.tokens:  # then no model builds the text encoder that it names
        return replace(card, origins=origins)
    return replace(card, origins=origins, settings=_own("model", card.settings, {}, use))


def _origin(origin: Origin, use: Mapping[str, str]) -> Origin:
    settings = {key: value for key, value in origin.settings.items() if key != "aligned"}
    if origin.extractor in plugin_names("extractors"):  # given features are made by nobody
        module = plugin("extractors", origin.extractor)
        usual = {name: field.default for name, field in module.Settings.__dataclass_fields__.items()}
        settings = _own(origin.extractor, settings, usual, use)
    if "aligned" in origin.settings:
        words = origin.settings["aligned"]
        if not isinstance(words, Mapping):
            raise MalformedInput(f"{origin.extractor}: aligned: expected settings, got {words!r:.60}")
        settings["aligned"] = asdict(checked(Alignment, _own("align", words, {}, use), "align"))
    return replace(origin, settings=settings)


def _own(where: str, values: Mapping[str, Any], usual: Mapping[str, object], use: Mapping[str, str]) -> dict[str, Any]:
    result = dict(values)
    for key, value in values.items():
        if isinstance(value, str) and _outside(key, value) and value != usual.get(key):
            name = f"{where}.{key}"
            if name not in use:
                raise MalformedInput(
                    f"{name}: expected programs, folders and weights from your own settings only; the checkpoint "
                    f"asks for {value!r}: say --use {name}={value} (in Python use={{{name!r}: …}}) if you trust that, "
                    "or name your own"
                )
            result[key] = use[name]
    return result


def _outside(key: str, value: str) -> bool:
    return value not in INSIDE and (key in OUTSIDE or "/" in value or "\\" in value)


def parse_use(words: Sequence[str]) -> dict[str, str]:
    """{"bert.source": "…"} of ["bert.source=…"], as a command line has it."""
    pairs = [word.partition("=") for word in words]
    for name, found, value in pairs:
        if not (found and value and "." in name):
            raise MalformedInput(f"use: expected <name>=<value>, such as bert.source=bert-base-chinese, got {name!r}")
    return {name: value for name, _, value in pairs}
