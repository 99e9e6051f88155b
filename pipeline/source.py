"""Stage source: code and params.yaml → processed/source, what each run of the other stages stands on."""

from pathlib import Path

from lacuna.params import load_params
from lacuna.source.run import write_sources
from lacuna.stages import run_stage
from lacuna.types import counted


def main() -> None:
    count = write_sources(load_params(), Path("processed", "source"))
    print(f"source: the code and settings of {counted(count, 'run')}")


if __name__ == "__main__":
    run_stage(main)
