"""Stage demo: nothing → raw/demo, synthetic videos with labels, in the raw layout of MMSA-FET."""

from pathlib import Path

from lacuna.compute.workers import map_items, progress
from lacuna.demo import Settings, make
from lacuna.params import load_params
from lacuna.stages import run_stage


def main() -> None:
    params, out = load_params(), Path("raw", "demo")
    if "demo" not in params.datasets:  # the stage must leave its out all the same
        out.mkdir(parents=True, exist_ok=True)
        (out / "README.txt").write_text("Nothing was made: `demo` is not in `datasets` of params.yaml.\n")
        print("raw/demo: not in `datasets`, nothing to make")
        return
    settings = Settings(**params.demo.model_dump(exclude={"per_dataset"}))
    make(
        out,
        settings,
        lambda function, lines: progress(map_items(function, lines, params.workers), len(lines), "demo"),
    )
    print(f"raw/demo: {settings.clips} synthetic clips")


if __name__ == "__main__":
    run_stage(main)
