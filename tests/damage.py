"""Each kind of file that Lacuna writes and reads again, for tests that damage it. In: a folder. Out: `Kind`s."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from builders import samples, sequence, variants_file
from small_checkpoint import write_checkpoint

from lacuna.data.samples import read_clips, write_clips
from lacuna.export import pickle as mmsa
from lacuna.mask.variants import Variants
from lacuna.params import plugin
from lacuna.storage import pickles
from lacuna.storage.cache import Cache
from lacuna.storage.features import FeatureFile, Origin, write_features
from lacuna.storage.files import replacing
from lacuna.storage.packed import MARK, Index, packed
from lacuna.train import checkpoint
from lacuna.train.resume import read_progress, write_progress
from lacuna.train.trainer import History, Progress

MADE_ANEW = "made anew"  # what a reader gives that noticed the damage and goes on without the file


@dataclass(frozen=True)
class Kind:
    """A file, what a reader has of it (bytes that are equal where all that was read is), and what writes it again."""

    path: Path
    read: Callable[[], bytes | str]
    write: Callable[[], object]


def _written(kind: Kind) -> Kind:
    kind.write()
    return kind


def _told(values: object) -> bytes:
    """Arrays, tensors and plain values as bytes."""
    if isinstance(values, dict):
        return b"".join(str(k).encode() + _told(v) for k, v in sorted(values.items(), key=lambda item: str(item[0])))
    if isinstance(values, list | tuple):
        return b"".join(_told(value) for value in values)
    if isinstance(values, torch.Tensor):
        return _told(values.numpy())
    return values.tobytes() if isinstance(values, np.ndarray) else repr(values).encode()


def _features(folder: Path) -> Kind:
    path, made = folder / "features" / "librosa.h5", samples(4)
    columns = made[0].features["audio"].columns
    origin = Origin("librosa", "audio", columns, {"hop": 512}, {"numpy": "2"})

    def write() -> None:
        write_features(path, origin, [(s.clip.id, s.features["audio"]) for s in made])

    def read() -> bytes:
        with FeatureFile(path) as file:
            parts = [(s.values, s.times, s.seen) for s in file.each(file.ids)]
            return _told([file.ids, repr(file.origin), file.lengths(), parts])

    return _written(Kind(path, read, write))


def _variants(folder: Path) -> Kind:
    path, made = folder / "variants" / "frames.h5", samples(4)

    def write() -> None:
        variants_file(path, made, plugin("patterns", "frames"), [0.0, 0.5], [1, 2])

    def read() -> bytes:
        file = Variants(path)
        masks = [file.masks(s.clip.id, m) for s in made for m in s.features]
        return _told([file.pattern, file.levels, file.seeds, masks])

    return _written(Kind(path, read, write))


def _clips(folder: Path) -> Kind:
    path = folder / "clips.jsonl"
    made = [sample.clip for sample in samples(6)]
    return _written(
        Kind(path, lambda: _told([repr(clip) for clip in read_clips(path)]), lambda: write_clips(path, made))
    )


def _checkpoint(folder: Path, name: str) -> Kind:
    def read() -> bytes:
        model, card = checkpoint.load(folder / "model")
        return _told([repr(card), {n: t for n, t in model.state_dict().items()}])

    return _written(Kind(folder / "model" / name, read, lambda: write_checkpoint(folder / "model")))


def _state(folder: Path) -> Kind:
    path = folder / "training" / "state.safetensors"
    torch.manual_seed(0)
    weights = {"a.weight": torch.randn(3, 4), "b": torch.randn(2)}
    moments = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(3, 4)}}, "param_groups": [{"lr": 0.1}]}
    progress = Progress(2, History([{"epoch": 1}, {"epoch": 2}], 2), weights, weights, moments, {})
    whole: list[bytes] = []

    def read() -> bytes | str:
        if not path.is_file():  # the reader drops a damaged one
            path.write_bytes(whole[0])
        with contextlib.redirect_stderr(io.StringIO()) as told:
            found = read_progress(path)
        if found is None:
            assert "state.safetensors" in told.getvalue() and "training starts over" in told.getvalue()
            assert told.getvalue().count("\n") == 1
            return MADE_ANEW
        return _told([found.epoch, repr(found.history), found.model, found.best, found.optimizer, found.schedule])

    kind = _written(Kind(path, read, lambda: write_progress(path, progress)))
    whole.append(path.read_bytes())
    return kind


def _cache(folder: Path) -> Kind:
    cache, kept = Cache(folder / "cache", "librosa"), sequence(np.random.default_rng(0).normal(size=(5, 3)))
    arrays = {"values": kept.values, "times": kept.times, "seen": kept.seen}

    def write() -> None:
        cache.put("ab12", [arrays])

    def read() -> bytes | str:
        found = cache.get("ab12")
        return MADE_ANEW if found is None else _told(list(found))

    return _written(Kind(folder / "cache/librosa/ab/ab12.npz", read, write))


def _packed(folder: Path, name: str) -> Kind:
    values = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    origin = Origin("librosa", "audio", ("a", "b", "c"), {"hop": 512}, {"numpy": "2"})
    index = Index("ab12", "librosa.h5", origin, ["x", "y"], np.array([0, 150, 400]))
    made: list[str] = []

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        made.append(MADE_ANEW)
        yield values, np.ones(len(values), MARK)

    def read() -> bytes | str:
        made.clear()
        found = packed(index, blocks(), folder)
        told = [(s.values, s.times, s.seen) for s in (found[0], found[1])]
        return MADE_ANEW if made else _told([repr(found.origin), found.ids, told])

    read()
    other = replace(index, key="cd34", path="another.h5")
    return Kind(folder / "packed" / "ab12" / name, read, lambda: packed(other, blocks(), folder))


def _pickle(folder: Path) -> Kind:
    path = folder / "mmsa" / "unaligned.pkl"
    rng = np.random.default_rng(0)
    split = {
        "id": ["a$_$1", "a$_$2"],
        "raw_text": ["good", "bad"],
        "audio": rng.normal(size=(2, 4, 3)).astype(np.float32),
        "regression_labels": np.array([1, -1], np.float32),
    }

    def write() -> None:
        with replacing(path, digest=True) as temporary, temporary.open("wb") as file:
            pickles.dumps_to(file, dict.fromkeys(("train", "valid", "test"), split))

    return _written(Kind(path, lambda: _told(mmsa.load(path).splits), write))


KINDS: dict[str, Callable[[Path], Kind]] = {
    "features": _features,
    "variants": _variants,
    "clips.jsonl": _clips,
    "model.json": lambda folder: _checkpoint(folder, "model.json"),
    "model.safetensors": lambda folder: _checkpoint(folder, "model.safetensors"),
    "training state": _state,
    "cache entry": _cache,
    "pickle": _pickle,
    "packed values": lambda folder: _packed(folder, "values"),
    "packed marks": lambda folder: _packed(folder, "marks"),
    "packed index": lambda folder: _packed(folder, "index.npz"),
    "packed source": lambda folder: _packed(folder, "source.json"),
    "packed digests": lambda folder: _packed(folder, "SHA256SUMS"),
}


def flips(content: bytes, count: int, seed: int = 0) -> Iterator[tuple[int, bytes]]:
    """The content with one bit turned, at `count` places: (place, damaged content). The first and last bytes too."""
    rng = np.random.default_rng(seed)
    places = rng.choice(len(content), min(count, len(content)), replace=False)
    for place in {0, len(content) - 1, *places.tolist()}:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        yield place, bytes(damaged)
