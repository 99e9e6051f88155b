"""Stage align: features/<extractor>.h5 → features/aligned_<extractor>.h5, one frame for each token of the text.

aligned_<extractor>.rejects.csv beside it names the clips that could not be aligned.
"""

from pathlib import Path

from lacuna.align.run import aligned
from lacuna.align.words import Aligner, Settings
from lacuna.data.heard import FILE as HEARD
from lacuna.data.samples import read_clips
from lacuna.params import load_params
from lacuna.prepare.rejects import check_share, write_rejects
from lacuna.prepare.run import check_within
from lacuna.stages import run_stage
from lacuna.storage.features import FeatureFile, write_features
from lacuna.types import counted


def main(dataset: str, extractor: str) -> None:
    params, folder = load_params(), Path("processed", dataset, "features")
    settings = params.align.of(dataset)
    if settings.words == "files":
        check_within(Path(settings.source), Path("raw", dataset), "align.source")
    words = params.extract.plain_settings(params.export.of(dataset).tokens, dataset)
    tokens = {"tokenizer": words.get("source", "embedded"), "max_length": words.get("max_length", 50)}
    source = str(folder.parent / HEARD) if settings.words == "heard" else settings.source
    aligner = Aligner(Settings(settings.words, source, **tokens, clean=tuple(words.get("clean", ()))))
    clips, rejects = read_clips(folder.parent / "clips.jsonl"), []
    with FeatureFile(folder / f"{extractor}.h5") as file:
        path = folder / f"aligned_{extractor}.h5"
        write_features(path, aligner.origin(file.origin), aligned(aligner, clips, file, rejects))
    write_rejects(path.with_suffix(".rejects.csv"), rejects)
    print(f"{dataset}: {extractor} of {counted(len(clips), 'clip')} averaged over words, word times: {settings.words}")
    none = any(reject.id == "*" for reject in rejects)
    print(f"{counted(len(clips) if none else len(rejects), 'clip')} could not be aligned ({path.stem}.rejects.csv)")
    if not none:  # all of them, one by one: the settings are wrong
        check_share(rejects, len(clips), 1.0, path.with_suffix(".rejects.csv"))


if __name__ == "__main__":
    run_stage(main)
