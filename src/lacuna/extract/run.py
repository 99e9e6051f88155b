"""Extract a dataset, whole or in shards. In: clips, an extractor and its settings. Out: features and rejects.

A shard fills the content-addressed cache and writes nothing else, so that many machines may work at once; whoever then
extracts the whole finds all of it there and writes the same bytes as one machine alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from lacuna.compute.workers import Engine, Lost, expect_work, map_items, progress
from lacuna.extract.cached import Extraction, Together, Work, extract, preloaded
from lacuna.media import decode
from lacuna.params import FINETUNED, TUNED_FILES, plugin, plugin_settings
from lacuna.prepare.rejects import write_rejects
from lacuna.prepare.run import check_within, given_features
from lacuna.storage.features import NOTHING, Origin, write_features
from lacuna.types import Clip, FeatureSequence, MalformedInput, Reject, counted, empty_sequence

Item = TypeVar("Item")
Content = tuple[Origin, Iterator[tuple[str, FeatureSequence]]]


@dataclass(frozen=True)
class Job:
    """One extractor, its settings and its cache, over the clips of a dataset, whose own files are in `raw`."""

    dataset: str
    raw: Path
    clips: Sequence[Clip]
    extractor: str
    settings: dict[str, object]
    cache: Path

    @property
    def given(self) -> Content | None:
        """Features that the dataset brings along."""
        return given_features(self.raw, self.dataset, self.extractor)

    @cached_property
    def lacked(self) -> str:
        """The extractor's modality where no clip of the dataset can have it: sound or video of still pictures."""
        modality = plugin("extractors", self.extractor).MODALITY
        return modality if self._still and modality in ("audio", "vision") else ""

    @cached_property
    def _still(self) -> bool:
        """Whether there are pictures and nothing else (texts apart)."""
        media = [clip.path for clip in self.clips if clip.path is not None]
        return bool(media) and all(map(decode.is_picture, media))

    def _resolved(self) -> dict[str, object]:
        """The settings; where features of pictures are what the clips make of them, that is said."""
        known = plugin_settings("extractors", self.extractor, self.settings)
        if getattr(known, "modality", "") != "auto":
            return self.settings
        return self.settings | {"modality": "image" if self._still else "vision"}

    @cached_property
    def extraction(self) -> Extraction:
        """What makes the features; MalformedInput where it needs weights that are not there yet."""
        for key in getattr(plugin("extractors", self.extractor), "FOLDERS", ()):
            if self.settings.get(key):
                check_within(Path(str(self.settings[key])), self.raw, f"extract.{self.extractor}.{key}")
        for key, value in self.settings.items():
            if key in TUNED_FILES and isinstance(value, str) and _not_yet_tuned(Path(value)):
                network = "resnet50" if key == "weights" else "bert"
                raise MalformedInput(
                    f"extract.{self.extractor}.{key}: expected weights tuned on {self.dataset}, found none at {value} "
                    f"(name {network} in finetune.networks, then `dvc repro finetune`)"
                )
        return Extraction(self.extractor, self._resolved(), self.cache)


def _not_yet_tuned(file: Path) -> bool:
    return file.parent.name == FINETUNED and not file.exists()


def extract_dataset(job: Job, folder: Path, work: Work) -> str:
    """Write <extractor>.h5 and <extractor>.rejects.csv into `folder`; the line to print."""
    rejects: list[Reject] = []
    path = folder / f"{job.extractor}.h5"
    write_features(path, *_content(job, work, rejects))
    write_rejects(path.with_suffix(".rejects.csv"), rejects)
    without = len(job.clips) if any(r.id == "*" for r in rejects) else len(rejects)
    told = f"{job.dataset}: {job.extractor} of {counted(len(job.clips), 'clip')}"
    told += f"; {without} without any ({path.stem}.rejects.csv)"
    return f"{told}; cut at max_length: {counted(longer, 'text')}" if (longer := _longer(job)) else told


def _longer(job: Job) -> int:
    """How many texts are longer than what is read of them."""
    if job.given is not None or job.lacked or not hasattr(plugin("extractors", job.extractor).Extractor, "unread"):
        return 0
    return sum(bool(job.extraction.extractor.unread(clip)) for clip in job.clips)


def _content(job: Job, work: Work, rejects: list[Reject]) -> Content:
    """What the features file is to hold; `rejects` is filled while it is written."""
    if (given := job.given) is not None:
        return given
    if job.lacked:
        reason = f"there are still pictures alone ({len(job.clips)}): kept without {job.lacked}"
        rejects.append(Reject("*", job.raw.as_posix(), reason, job.extractor))
        origin = Origin(job.extractor, job.lacked, NOTHING, {}, {})  # the extractor itself is not even built
        return origin, ((clip.id, empty_sequence(origin.columns)) for clip in job.clips)
    expect_work(work.engine, preloaded([job.extractor]))
    return job.extraction.origin, extract(job.extraction, job.clips, work, rejects)


def extract_shard(job: Job, shard: str, work: Work) -> str:
    """Extract one shard's clips into the cache; the line to print. What fails is judged when the whole is written."""
    clips, name = shard_of(job.clips, shard), f"{job.dataset}: {job.extractor}"
    if job.given is not None:
        return f"{name} is given, there is nothing to extract"
    if job.lacked:
        return f"{name} of shard {shard}: still pictures have no {job.lacked}, there is nothing to extract"
    expect_work(work.engine, preloaded([job.extractor]))
    rejects: list[Reject] = []
    for _ in extract(job.extraction, clips, Work(work.engine), rejects):
        pass  # each is in the cache by now
    return f"{name} of shard {shard}, {counted(len(clips), 'clip')}, is in the cache; {len(rejects)} without any"


def extract_together(jobs: Sequence[Job], shard: str, work: Work) -> str:
    """Fill the cache with the features of several extractors, each clip being decoded once; the line to print.

    `extract_dataset`, or `extract_shard`, of each then finds all of it there.
    """
    clips = shard_of(jobs[0].clips, shard) if shard else jobs[0].clips
    wanted = [job for job in jobs if job.given is None and not job.lacked]
    expect_work(work.engine, preloaded([job.extractor for job in wanted]))
    both = Together(tuple(job.extraction for job in wanted))
    missing = [(clip, keys) for clip in clips if (keys := both.lacking(clip))]
    failed = 0
    engine = work.engine
    if isinstance(engine, Engine) and engine.limit:
        engine = replace(engine, limit=engine.limit * len(wanted))  # each extractor's own time for a clip
    for made in progress(map_items(both, missing, engine), len(missing), "together  "):
        if isinstance(made, Lost) and made.machine:
            raise ChildProcessError(f"{jobs[0].dataset}: {made.reason}; free memory, or set fewer workers")
        failed += isinstance(made, Lost) or any(isinstance(key, MalformedInput) for key in made)
    names = ", ".join(job.extractor for job in wanted)
    return f"{jobs[0].dataset}: {names} of {counted(len(missing), 'clip')} together; failed in part or whole: {failed}"


def shard_of(items: Sequence[Item], shard: str) -> list[Item]:
    """Every n-th item from the k-th, for "k/n" with 1 <= k <= n: neighbours are often alike in cost, so they part."""
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    k, n = map(int, match.groups()) if match else (0, 0)
    if not 1 <= k <= n:
        raise MalformedInput(f"shard: expected k/n with 1 <= k <= n, as in 3/64, got {shard!r}")
    return list(items[k - 1 :: n])
