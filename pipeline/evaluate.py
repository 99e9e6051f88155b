"""Stage evaluate: checkpoints of one model + variants → scores/<model>.json, .npz (predictions) and .unlabelled.csv."""

from pathlib import Path

from lacuna.evaluate.run import Settings, judge
from lacuna.params import load_params
from lacuna.stages import run_stage
from lacuna.train.plan import plan


def main(dataset: str, model: str) -> None:
    params = load_params()
    evaluate = params.evaluate.of(dataset)
    made = plan(params.train, model, dataset, params.prepare.of(dataset).label_range)
    settings = Settings(
        seeds=params.seeds,
        patterns=evaluate.patterns,
        calibrate=evaluate.calibrate,
        bootstrap=evaluate.bootstrap,
        words=params.export.of(dataset).features,
        device=params.train.of(dataset).device,
    )
    scores = judge(made, Path("processed", dataset), settings)
    for pattern, levels in scores.patterns.items():
        print(f"{dataset}: {model} under {pattern}: {', '.join(levels)}")


if __name__ == "__main__":
    run_stage(main)
