"""Stage figures: all of one data set → processed/figures/<dataset>/: section.html, and every figure as SVG and PNG."""

from pathlib import Path

from lacuna.figures.run import Wanted, illustrate
from lacuna.params import load_params
from lacuna.stages import run_stage
from lacuna.train.plan import plan
from lacuna.types import counted


def main(dataset: str) -> None:
    params, out = load_params(), Path("processed", "figures", dataset)
    shown, label_range = params.figures.of(dataset), params.prepare.of(dataset).label_range
    wanted = Wanted(
        features=params.train.of(dataset).features,
        models={model: plan(params.train, model, dataset, label_range).inputs for model in params.models},
        seeds=params.seeds,
        clip=shown.clip,
        frames=shown.frames,
        asked=shown.asked,
        device=params.train.of(dataset).device,
    )
    sections = illustrate(wanted, Path("raw", dataset), Path("processed", dataset), out)
    figures = counted(sum(len(section.pictures) for section in sections), "figure")
    print(f"{dataset}: {figures} in {counted(len(sections), 'section')} ({out})")


if __name__ == "__main__":
    run_stage(main)
