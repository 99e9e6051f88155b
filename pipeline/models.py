"""Stage models: params.yaml → settings/<model>.json, the file and every setting that a model's name stands for."""

from pathlib import Path

from lacuna.params import load_params
from lacuna.stages import run_stage
from lacuna.train.plan import plan, write_plan


def main(dataset: str, model: str) -> None:
    params = load_params()
    made = plan(params.train, model, dataset, params.prepare.of(dataset).label_range)
    write_plan(Path("processed", dataset), made)
    print(f"{dataset}: {model} is models/{made.file}.py")


if __name__ == "__main__":
    run_stage(main)
