"""Stage figures: all of one data set → processed/figures/<dataset>/: section.html, and every figure as SVG and PNG."""

from pathlib import Path

from lacuna.figures.run import illustrate
from lacuna.params import load_params
from lacuna.stages import run_stage


def main(dataset: str) -> None:
    out = Path("processed", "figures", dataset)
    sections = illustrate(load_params(), Path("raw", dataset), Path("processed", dataset), out)
    print(f"{dataset}: {sum(len(s.pictures) for s in sections)} figures in {len(sections)} sections ({out})")


if __name__ == "__main__":
    run_stage(main)
