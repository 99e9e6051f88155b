"""Stage evaluate: checkpoints of one model + variants → scores/<model>.json, .npz (predictions) and .unlabelled.csv."""

from pathlib import Path

from lacuna.evaluate.run import judge
from lacuna.params import load_params
from lacuna.stages import run_stage


def main(dataset: str, model: str) -> None:
    scores = judge(load_params(), Path("processed", dataset), model)
    for pattern, levels in scores["patterns"].items():
        print(f"{dataset}: {model} under {pattern}: {', '.join(levels)}")


if __name__ == "__main__":
    run_stage(main)
