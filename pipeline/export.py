"""Stage export: features → mmsa/unaligned.pkl, aligned.pkl (where features were aligned) and incomplete/*.pkl."""

from pathlib import Path

from lacuna.data.samples import read_clips
from lacuna.export.pickle import Settings
from lacuna.export.run import Variant, aligned_files, can_export, export_pickle, place_of
from lacuna.params import load_params
from lacuna.stages import run_stage


def main(dataset: str) -> None:
    params, out = load_params(), Path("processed", dataset)
    settings, features = params.export.of(dataset), out / "features"
    files = {name: features / f"{name}.h5" for name in settings.features}
    if not can_export(list(files.values())):
        (out / "mmsa").mkdir(parents=True, exist_ok=True)
        told = "no audio and no vision in export.features: nothing that MMSA's models could read"
        (out / "mmsa" / "none.txt").write_text(told + "\n")
        print(f"{dataset}: {told}")
        return
    clips, tokens = read_clips(out / "clips.jsonl"), features / f"{settings.tokens}.h5"
    wanted = [(None, False), *((Variant(v.pattern, v.level, v.seed), False) for v in settings.incomplete)]
    if params.align.of(dataset).extractors:
        wanted.insert(1, (None, True))
    for variant, aligned in wanted:
        path, chosen = place_of(out / "mmsa", variant, aligned), Settings(settings.lengths, aligned, bool(variant))
        given = aligned_files(features, settings.features) if aligned else files
        for line in export_pickle(path, clips, given, tokens, chosen, variant):
            print(line, flush=True)


if __name__ == "__main__":
    run_stage(main)
