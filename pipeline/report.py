"""Stage report: processed/figures/* → processed/report/index.html, one self-contained page."""

from pathlib import Path

from lacuna.params import load_params
from lacuna.report.run import publish
from lacuna.stages import run_stage


def main() -> None:
    page = publish(load_params(), Path("params.yaml"), Path("processed", "figures"), Path("processed", "report"))
    print(f"Report: {page} ({page.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_stage(main)
