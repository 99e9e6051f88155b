"""Stage extract: clips → features/<extractor>.h5, and <extractor>.rejects.csv with the clips that have none of it."""

from pathlib import Path

from lacuna.compute.workers import Engine
from lacuna.data.samples import read_clips
from lacuna.extract.cached import Work
from lacuna.extract.run import Job, extract_dataset
from lacuna.params import load_params
from lacuna.stages import run_stage
from lacuna.storage.cache import default_root


def main(dataset: str, extractor: str) -> None:
    params, raw, out = load_params(), Path("raw", dataset), Path("processed", dataset)
    settings, limits = params.extract.plain_settings(extractor, dataset), params.extract.of(dataset)
    job = Job(dataset, raw, read_clips(out / "clips.jsonl"), extractor, settings, default_root())
    compute = params.compute
    engine = Engine(compute.engine, params.workers, compute.address, compute.retries, limits.max_seconds)
    print(extract_dataset(job, out / "features", Work(engine, limits.max_rejects)))


if __name__ == "__main__":
    run_stage(main)
