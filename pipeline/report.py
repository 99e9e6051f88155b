"""Stage report: processed/figures/* → processed/report/index.html, one self-contained page."""

from pathlib import Path

from lacuna.params import load_params
from lacuna.report.run import Made, publish
from lacuna.stages import LOG, read_costs, run_stage

SETTINGS, FIGURES, OUT = Path("params.yaml"), Path("processed", "figures"), Path("processed", "report")


def main() -> None:
    params = load_params(SETTINGS)
    items = {*params.models, *params.extract.extractors, *params.mask.patterns, *map(str, params.seeds)}
    made = Made(SETTINGS.read_text(encoding="utf-8"), read_costs(LOG, {*params.datasets, *items}))
    page = publish(params.report.title, params.datasets, FIGURES, OUT, made)
    print(f"Report: {page} ({page.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_stage(main)
