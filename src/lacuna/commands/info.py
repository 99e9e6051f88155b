"""What a file of the pipeline holds. In: a path. Out: (name, value) rows, for `lacuna info`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sized
from pathlib import Path

import h5py

from lacuna.export.pickle import load
from lacuna.mask.variants import REMEDY, axes
from lacuna.storage.features import FeatureFile
from lacuna.storage.files import reading
from lacuna.storage.hdf5 import opened
from lacuna.train.checkpoint import read_card
from lacuna.types import MalformedInput, counted

Row = tuple[str, object]


def describe(path: Path) -> Iterator[Row]:
    """Rows on a features file, a variants file, an MMSA pickle or a checkpoint folder."""
    if path.is_dir():
        return _checkpoint(path)
    if not path.is_file():
        raise MalformedInput(f"{path}: expected an .h5 or .pkl file or a checkpoint folder, found none")
    if path.suffix == ".pkl":
        return _pickle(path)
    if h5py.is_hdf5(path):
        with opened(path, "a features or variants file", "make it anew") as file:
            variants = "pattern" in file.attrs
        return _variants(path) if variants else _features(path)
    raise MalformedInput(f"{path}: expected a features or variants file (.h5), a pickle (.pkl) or a checkpoint folder")


def _features(path: Path) -> Iterator[Row]:
    with FeatureFile(path) as file:
        lengths, origin = file.lengths(), file.origin
        yield "features", f"{origin.modality} by {origin.extractor}"
        yield "clips", len(file)
        if len(lengths):
            yield "frames", f"{lengths.sum()} (per clip {lengths.min()} to {lengths.max()}, mean {lengths.mean():.1f})"
            yield "seen", f"{file.seen() / lengths.sum():.1%} of frames" if lengths.any() else "no frames"
            yield "empty", f"{counted((lengths == 0).sum(), 'clip')} without a frame"
        yield "columns", f"{len(origin.columns)}: {_shortened(origin.columns)}"
        yield "settings", json.dumps(origin.settings)
        yield "versions", json.dumps(origin.versions)


def _variants(path: Path) -> Iterator[Row]:
    with opened(path, "incomplete variants", REMEDY) as file, reading(path, "incomplete variants", REMEDY):
        pattern, levels, seeds = axes(file)
    yield "variants", pattern
    yield "levels", ", ".join(map(str, levels))
    yield "seeds", ", ".join(map(str, seeds))


def _pickle(path: Path) -> Iterator[Row]:
    yield "pickle", "MMSA layout"
    pickle = load(path)
    yield "published", pickle.official or "no: not one of the files that papers were written with"
    for split, content in pickle.splits.items():
        for key, value in content.items():
            shape = getattr(value, "shape", None) or ((len(value),) if isinstance(value, Sized) else ())
            yield f"{split}.{key}", f"{shape} {getattr(value, 'dtype', type(value).__name__)}"


def _checkpoint(path: Path) -> Iterator[Row]:
    card = read_card(path)
    yield "model", f"{card.model}, seed {card.seed}, trained on {card.dataset} ({card.task})"
    chosen = "".join(f", chosen on test by {name} = {value:.4f}" for name, value in card.chosen_on_test.items())
    yield "best epoch", f"{card.best_epoch}{chosen}"
    for modality, width in card.spec.widths.items():
        origin = card.origins[modality]
        yield modality, f"{counted(width, 'column')} by {origin.extractor} {json.dumps(origin.settings)}"
    yield "versions", json.dumps(card.versions)


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names if len(names) <= 8 else (*names[:4], "…", *names[-3:]))
