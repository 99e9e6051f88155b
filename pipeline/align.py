"""Stage align: features/<extractor>.h5 → features/aligned_<extractor>.h5, one frame for each token of the text."""

from collections.abc import Iterator
from pathlib import Path

from lacuna.alignment import Aligner, Settings, average
from lacuna.compute import progress
from lacuna.params import load_params, run_stage
from lacuna.samples import read_clips
from lacuna.store import FeatureFile, write_features
from lacuna.types import Clip, FeatureSequence


def aligned(aligner: Aligner, clips: list[Clip], file: FeatureFile) -> Iterator[tuple[str, FeatureSequence]]:
    for clip in progress(clips, len(clips), "align"):
        yield clip.id, average(file[clip.id], aligner.spans(clip))


def main(dataset: str, extractor: str) -> None:
    params, out = load_params(), Path("processed", dataset)
    settings = params.align.of(dataset)
    words = params.extract.plain_settings(params.export.of(dataset).tokens, dataset)
    aligner = Aligner(
        Settings(settings.words, settings.source, words.get("source", "embedded"), words.get("max_length", 50))
    )
    clips = read_clips(out / "clips.jsonl")
    with FeatureFile(out / "features" / f"{extractor}.h5") as file:
        path = out / "features" / f"aligned_{extractor}.h5"
        write_features(path, aligner.origin(file.origin), aligned(aligner, clips, file))
    print(f"{dataset}: {extractor} of {len(clips)} clips averaged over words, word times: {settings.words}")


if __name__ == "__main__":
    run_stage(main)
