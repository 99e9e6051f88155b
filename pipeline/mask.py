"""Stage mask: features → variants/<pattern>.h5, which frames survive at each level and seed."""

from pathlib import Path

from lacuna.data.samples import read_clips
from lacuna.mask.variants import Grid, count_frames, levels_of, write_variants
from lacuna.params import load_params, plugin
from lacuna.stages import run_stage


def main(dataset: str, pattern: str) -> None:
    params, out = load_params(), Path("processed", dataset)
    settings, features = params.mask.of(dataset), params.train.of(dataset).features
    clips = read_clips(out / "clips.jsonl")
    modalities = count_frames(clips, [out / "features" / f"{name}.h5" for name in features])
    levels = levels_of(pattern, settings.rates, list(modalities), settings.subsets, settings.by_modality)
    grid = Grid(plugin("patterns", pattern), levels, settings.seeds)
    shares = write_variants(out / "variants" / f"{pattern}.h5", clips, modalities, grid)
    for modality, lost in shares.items():
        print(f"{dataset}: {pattern} loses {', '.join(f'{x:.0%}' for x in lost)} of {modality} at {levels}")


if __name__ == "__main__":
    run_stage(main)
