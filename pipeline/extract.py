"""Stage extract: clips → features/<extractor>.h5, and <extractor>.rejects.csv with the clips that have none of it."""

from lacuna.extract.run import extract_dataset
from lacuna.params import load_params
from lacuna.stages import run_stage


def main(dataset: str, extractor: str) -> None:
    print(extract_dataset(load_params(), dataset, extractor))


if __name__ == "__main__":
    run_stage(main)
