"""Each published model, given its published weights, is the reference: every case in the folder LACUNA_FIXTURES.

That folder holds `<model>/<case>.json` and `.safetensors`; `tests/parity/<model>.py` maps a case to our types, so
a case never seen before runs as it stands. An adapter exposes `CHECKS`, functions of a case.
"""

import importlib
import os
from pathlib import Path

import pytest
import torch
from parity.harness import Case

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = Path(os.environ.get("LACUNA_FIXTURES", ROOT / "../shared/fixtures")).resolve()
ADAPTERS = sorted(p.stem for p in (ROOT / "tests/parity").glob("[!_]*.py") if p.stem != "harness")
ELSEWHERE = {("lnln", "metrics")}  # read by tests/test_metrics.py


def cases() -> list[tuple[str, Path]]:
    found = [(model, path) for model in ADAPTERS for path in sorted((FIXTURES / model).glob("*.json"))]
    return [(model, path) for model, path in found if (model, path.stem) not in ELSEWHERE]


@pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"NO PARITY CHECKED: no fixtures in {FIXTURES} (set LACUNA_FIXTURES)")
def test_there_are_cases():
    assert cases(), f"expected <model>/<case>.json in {FIXTURES}, found none for {ADAPTERS}"


@pytest.mark.parametrize(("model", "path"), cases(), ids=lambda value: value if isinstance(value, str) else value.stem)
def test_case(model: str, path: Path):
    torch.manual_seed(0)
    adapter = importlib.import_module(f"parity.{model}")
    case = Case.read(path)
    for check in adapter.CHECKS:
        check(case)
