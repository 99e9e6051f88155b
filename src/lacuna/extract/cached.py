"""Features of many clips, each made once. In: clips and an extractor's name and settings. Out: sequences in order.

A clip's result is kept under the hash of its media's bytes (or its words), its span, and the extractor's name, version,
settings and libraries: a changed label, another order or a second run costs nothing, a killed run goes on where it was.

Only what is wrong with a clip's own media or words refuses it. What is wrong with the machine (a full disk, no
permission, a killed worker) or with the settings is raised, so that it stops whoever asked, and nothing is written.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache, partial
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from lacuna.compute.workers import Engine, Lost, map_items, progress
from lacuna.media.shared import together
from lacuna.params import plugin, plugin_settings
from lacuna.params.plugins import own_plugins
from lacuna.source.closure import digest, plugin_file
from lacuna.storage.cache import Cache, digest_of
from lacuna.storage.features import Origin
from lacuna.storage.files import known_digest
from lacuna.types import Clip, FeatureSequence, MalformedInput, Reject, empty_sequence, joined

WEIGHTS = ("weights", "source", "file")  # settings that name weights; `versions()` holds their fingerprint
STREAMS = {"vision": "video", "image": "video", "audio": "audio"}  # what is decoded for a modality
BATCH = 64  # clips given at once to an extractor that takes many


def _own_code(name: str) -> dict[str, str]:
    """The digest of a plug-in of the user's own, whose VERSION is easily forgotten while it is being written."""
    return {"code": digest([plugin_file("extractors", name)])} if name in own_plugins()["extractors"] else {}


def one_thread() -> AbstractContextManager:
    """Within it, libraries that share sums between threads use one."""
    return _libraries(len(sys.modules)).limit(limits=1)


@lru_cache(maxsize=1)
def _libraries(_: int) -> ThreadpoolController:
    """What is loaded, looked for anew when modules have come: looking takes longer than some clips."""
    return ThreadpoolController()


def modality_of(module: ModuleType, settings: object) -> str:
    """What an extractor's features are: its own MODALITY, unless its settings name another."""
    named = getattr(settings, "modality", "auto")
    return str(module.MODALITY) if named == "auto" else str(named)


@dataclass
class Extraction:
    """An extractor with a cache before it: picklable, so that each worker builds its own extractor on first need."""

    name: str
    values: dict[str, object]
    cache_root: Path
    _settings: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._settings = plugin_settings("extractors", self.name, self.values)

    def __getstate__(self) -> dict[str, object]:
        return {"name": self.name, "values": self.values, "cache_root": self.cache_root}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.__post_init__()
        self.extractor  # noqa: B018 (a worker makes it before its first clip, whose time is the clip's alone)

    @cached_property
    def extractor(self) -> Any:  # noqa: ANN401 (a plug-in's: some have `pieces`, `many`, `files` or `unread`)
        return plugin("extractors", self.name).Extractor(self._settings)

    @cached_property
    def cache(self) -> Cache:
        return Cache(self.cache_root, self.name)

    @cached_property
    def origin(self) -> Origin:
        """Columns, settings and versions, as they are written beside the features."""
        module = plugin("extractors", self.name)
        return Origin(
            extractor=self.name,
            modality=modality_of(module, self._settings),
            columns=tuple(self.extractor.columns),
            settings=asdict(self._settings),
            versions={"lacuna_extractor": str(module.VERSION), **_own_code(self.name), **self.extractor.versions()},
            dtype=getattr(module, "DTYPE", "float32"),
        )

    def key(self, clip: Clip) -> str:
        """What identifies a clip's result: all that decides it and nothing else."""
        versions = self.origin.versions
        # Weights that have a fingerprint are known by it, wherever they lie.
        settings = {k: v for k, v in self.origin.settings.items() if not (k in WEIGHTS and k in versions)}
        made_by = (self.name, settings, versions)
        if self.origin.modality == "text":
            return digest_of(*made_by, clip.text)
        if clip.path is None:
            raise MalformedInput(f"{clip.id}: expected a media file for {self.name}, got none")
        # Spans of one recording ask for its digest again and again.
        read = map(known_digest, getattr(self.extractor, "files", lambda clip: ())(clip))
        return digest_of(*made_by, known_digest(clip.path), clip.start, clip.end, *read)

    def __call__(self, clip: Clip) -> FeatureSequence | MalformedInput:
        """The clip's features, from the cache where they are there; its own fault is returned, as `fill` does."""
        key = self.fill(clip, self.key(clip))
        return key if isinstance(key, MalformedInput) else joined(self.pieces(key, clip))

    def fill(self, clip: Clip, key: str) -> str | MalformedInput:
        """See to it that the cache has the clip's features under its `key`; the key, or what is wrong with the clip.

        MalformedInput is raised where the extractor cannot be made, OSError where the machine fails.
        """
        if key not in self.cache:
            try:
                # Sums of products depend in their last bits on how many threads share them: one, wherever this runs.
                with one_thread():
                    self.cache.put(key, map(_arrays, self._made(clip)))
            except MalformedInput as error:
                return MalformedInput(f"{clip.id}: {error}")
        return key

    def _made(self, clip: Clip) -> Iterable[FeatureSequence]:
        pieces = getattr(self.extractor, "pieces", None)
        return (self.extractor(clip),) if pieces is None else pieces(clip)

    def pieces(self, key: str, clip: Clip) -> Iterator[FeatureSequence]:
        """The clip's features under `key`, a stretch at a time."""
        arrays = self.cache.get(key)
        if arrays is None:  # a damaged disk left half of it
            self.fill(clip, key)
            arrays = self.cache.get(key)
        if arrays is None:
            raise MalformedInput(f"{self.cache_root}: expected what was just written there, found none ({clip.id})")
        for piece in arrays:
            yield FeatureSequence(**piece, columns=self.origin.columns)

    @property
    def batched(self) -> bool:
        """Whether the extractor takes many clips at once (text, pictures), which is faster than more processes."""
        return hasattr(plugin("extractors", self.name).Extractor, "many")

    def fill_many(self, clips: Sequence[Clip]) -> list[str | MalformedInput]:
        """The clips' keys; the features of those that are not in the cache are made together."""
        keys = [self.key(clip) for clip in clips]
        missing = {key: clip for key, clip in zip(keys, clips) if key not in self.cache}
        try:
            for key, sequence in zip(missing, self.extractor.many([*missing.values()]) if missing else ()):
                self.cache.put(key, [_arrays(sequence)])
        except MalformedInput:
            pass  # one of them is malformed: `fill` below meets it alone, and names it
        return [self.fill(clip, key) for clip, key in zip(clips, keys)]

    def each(self, clips: Sequence[Clip], engine: Engine | int | str) -> Iterator[str | MalformedInput | Lost]:
        """Keys in order. Only what the cache lacks goes to workers: one new clip among many starts one of them."""
        cached: deque[str] = deque()  # keys of clips that wait for their turn; empty where a worker has the clip

        def missing() -> Iterator[tuple[Clip, str]]:
            for clip in clips:
                key = self.key(clip)
                cached.append(key if key in self.cache else "")
                if not cached[-1]:
                    yield clip, key

        for made in chain(map_items(Filling(self), missing(), engine), (None,)):
            while cached and cached[0]:
                yield cached.popleft()
            if made is not None:
                cached.popleft()
                yield made


@dataclass(frozen=True)
class Filling:
    """What a worker does: it is given a clip with its key, which nobody computes again, and sends the key back."""

    extraction: Extraction

    def __call__(self, asked: tuple[Clip, str]) -> str | MalformedInput:
        return self.extraction.fill(*asked)

    @property
    def preload(self) -> tuple[str, ...]:
        """Modules that a process may import once for all workers."""
        return preloaded([self.extraction.name])


def preloaded(extractors: Sequence[str]) -> tuple[str, ...]:
    """The modules that extractors need, where each says in `PRELOAD` that importing its own starts no thread."""
    modules = [plugin("extractors", name) for name in extractors]
    if not all(hasattr(module, "PRELOAD") for module in modules):
        return ()
    return (__name__, *(name for module in modules for name in (module.__name__, *module.PRELOAD)))


@dataclass(frozen=True)
class Work:
    """Where clips are worked on, and the largest share of them that may fail with an error."""

    engine: Engine | int | str = 1
    max_rejects: float = 1.0

    def check(self, failed: int, total: int, rejects: Sequence[Reject]) -> None:
        """MalformedInput where too many failed: then the settings are wrong, and not the clips."""
        if failed > self.max_rejects * total:
            last = rejects[-1]
            raise MalformedInput(
                f"extract.max_rejects: expected at most {self.max_rejects:.0%} of {total} clips refused with an error "
                f"by {last.stage}, got {failed} so far; the last: {last.reason} (mend these clips or the settings of "
                f"extract.{last.stage}, or raise extract.max_rejects)"
            )


@dataclass(frozen=True)
class Together:
    """Several extractions of a clip: what reads its pictures shares a decoder, what reads its sound another."""

    extractions: tuple[Extraction, ...]

    def lacking(self, clip: Clip) -> dict[str, str]:
        """The keys that the cache lacks, by extractor."""
        keys = {e.name: e.key(clip) for e in self.extractions}
        return {e.name: keys[e.name] for e in self.extractions if keys[e.name] not in e.cache}

    def __call__(self, asked: tuple[Clip, dict[str, str]]) -> list[str | MalformedInput]:
        """See to it that the cache has what it is said to lack of a clip; the keys, and errors."""
        clip, keys = asked
        readers: dict[str, list[Extraction]] = {}
        for extraction in (e for e in self.extractions if e.name in keys):
            readers.setdefault(STREAMS.get(extraction.origin.modality, extraction.name), []).append(extraction)
        with one_thread():  # for all that run here, and until the last is done
            made = {
                extraction.name: result
                for kind, group in readers.items()
                for extraction, result in zip(
                    group, together(kind, [partial(e.fill, clip, keys[e.name]) for e in group])
                )
            }
        return [made[name] for name in keys]

    @property
    def preload(self) -> tuple[str, ...]:
        """Modules that a process may import once for all workers."""
        return preloaded([extraction.name for extraction in self.extractions])


def _arrays(sequence: FeatureSequence) -> dict[str, np.ndarray]:
    return {"values": sequence.values, "times": sequence.times, "seen": sequence.seen}


def extract(
    extraction: Extraction, clips: Sequence[Clip], work: Work, rejects: list[Reject]
) -> Iterator[tuple[str, FeatureSequence]]:
    """(clip id, features) in order, a long clip's in several pieces.

    A clip with an error has no frames and is added to `rejects`, as is one in which nothing is seen or heard.
    MalformedInput: more errors than `work.max_rejects`. ChildProcessError: workers were killed from outside.
    """
    failed = 0
    for result, clip in zip(_results(extraction, clips, work.engine), clips):
        if isinstance(result, Lost | MalformedInput):
            if isinstance(result, Lost) and result.machine:
                raise ChildProcessError(f"{clip.id}: {result.reason}; free memory, or set fewer workers")
            reason = result.reason if isinstance(result, Lost) else str(result)
            failed += 1
            yield clip.id, empty_sequence(extraction.origin.columns, np.dtype(extraction.origin.dtype).type)
        else:
            frames, seen = 0, False
            for piece in extraction.pieces(result, clip):
                frames, seen = frames + len(piece), seen or bool(piece.seen.any())
                yield clip.id, piece
            reason = "" if seen else _unseen(extraction.origin.modality, frames)
        if reason:
            rejects.append(Reject(clip.id, clip.path.as_posix() if clip.path else "", reason, extraction.name))
        work.check(failed, len(clips), rejects)


def _results(
    extraction: Extraction, clips: Sequence[Clip], engine: Engine | int | str
) -> Iterator[str | MalformedInput | Lost]:
    """The key of each clip, or its error, with a bar."""
    if extraction.batched:
        parts = (clips[i : i + BATCH] for i in range(0, len(clips), BATCH))
        results: Iterator[str | MalformedInput | Lost] = (
            result for part in parts for result in extraction.fill_many(part)
        )
    else:
        results = extraction.each(clips, engine)
    return progress(results, len(clips), f"{extraction.name:<10}")


def _unseen(modality: str, frames: int) -> str:
    if modality in ("vision", "image") and frames:
        return f"no face in any of {frames} frames: kept without {modality}"
    return f"nothing to extract: kept without {modality}"
