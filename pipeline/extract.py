"""Stage extract: clips → features/<extractor>.h5, and <extractor>.rejects.csv with the clips that have none of it."""

from pathlib import Path

from lacuna.cache import default_root
from lacuna.datasets import given_features
from lacuna.datasets.rejects import write_rejects
from lacuna.extraction import Extraction, extract
from lacuna.params import load_params, run_stage
from lacuna.samples import read_clips
from lacuna.store import write_features


def main(dataset: str, extractor: str) -> None:
    params, out = load_params(), Path("processed", dataset)
    clips = read_clips(out / "clips.jsonl")
    path, rejects = out / "features" / f"{extractor}.h5", []
    given = given_features(Path("raw", dataset), dataset, extractor)
    if given is not None:
        write_features(path, *given)
    else:
        extraction = Extraction(extractor, params.extract.plain_settings(extractor, dataset), default_root())
        write_features(path, extraction.origin, extract(extraction, clips, params.workers, rejects))
    write_rejects(out / "features" / f"{extractor}.rejects.csv", rejects)
    print(f"{dataset}: {extractor} of {len(clips)} clips; {len(rejects)} have none of it ({path.stem}.rejects.csv)")


if __name__ == "__main__":
    run_stage(main)
