"""Stage mask: features → variants/<pattern>.h5, which frames survive at each level and seed."""

from pathlib import Path

from lacuna.data.samples import read_samples
from lacuna.mask.variants import levels_of, write_variants
from lacuna.params import load_params, plugin
from lacuna.stages import run_stage


def main(dataset: str, pattern: str) -> None:
    params, out = load_params(), Path("processed", dataset)
    settings = params.mask.of(dataset)
    samples, origins = read_samples(out, params.train.of(dataset).features)
    levels = levels_of(pattern, settings.rates, list(origins), settings.subsets)
    path = out / "variants" / f"{pattern}.h5"
    shares = write_variants(path, samples, plugin("patterns", pattern), levels, settings.seeds, origins)
    for modality, lost in shares.items():
        print(f"{dataset}: {pattern} loses {', '.join(f'{x:.0%}' for x in lost)} of {modality} at {levels}")


if __name__ == "__main__":
    run_stage(main)
