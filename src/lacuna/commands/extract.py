"""`lacuna extract`. In: params.yaml's values, a dataset, extractors and perhaps a shard. Out: lines to print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lacuna.compute.workers import Engine
from lacuna.data.samples import read_clips
from lacuna.extract.cached import Work
from lacuna.extract.run import Job, extract_dataset, extract_shard, extract_together
from lacuna.params import Params
from lacuna.storage.cache import default_root


def work_of(params: Params, dataset: str) -> Work:
    """Where params.yaml wants clips to be worked on, and what it lets pass."""
    compute, settings = params.compute, params.extract.of(dataset)
    engine = Engine(compute.engine, params.workers, compute.address, compute.retries, settings.max_seconds)
    return Work(engine, settings.max_rejects)


def extract(params: Params, dataset: str, extractors: Sequence[str], shard: str) -> Iterator[str]:
    """Fill the cache, for several extractors together first; without a shard, write what the stage writes."""
    out, work = Path("processed", dataset), work_of(params, dataset)
    clips = read_clips(out / "clips.jsonl")
    jobs = [
        Job(dataset, Path("raw", dataset), clips, name, params.extract.plain_settings(name, dataset), default_root())
        for name in extractors
    ]
    if len(jobs) > 1:
        yield extract_together(jobs, shard, work)
    for job in jobs:
        yield extract_shard(job, shard, work) if shard else extract_dataset(job, out / "features", work)
