"""Stage across: models of one dataset on the test split of another → across/<model>.<other>.json."""

from pathlib import Path

from lacuna.across.run import Other, judge_across, write_across
from lacuna.params import load_params
from lacuna.stages import run_stage


def main(dataset: str, model: str, other: str) -> None:
    params, out = load_params(), Path("processed", dataset)
    section, patterns = params.train.of_model(model, other), params.evaluate.of(other).patterns
    folders = [out / "models" / model / str(seed) for seed in params.seeds]
    judged = Other(Path("processed", other), section.features, params.prepare.of(other).label_range, patterns)
    scores = judge_across(folders, judged, section.device)
    write_across(out / "across" / f"{model}.{other}.json", scores)
    print(f"{model} of {dataset} judged on {scores.clips['test']} test clips of {other}: {', '.join(patterns)}")


if __name__ == "__main__":
    run_stage(main)
