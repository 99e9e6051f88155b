"""What decides a training run, as one file: it changes with the features a model reads, and with no others."""

from pathlib import Path

import pytest

from lacuna.params import load_params
from lacuna.train.plan import plan, write_plan
from lacuna.types import MalformedInput

ROOT = Path(__file__).parents[1]


@pytest.fixture
def processed(tmp_path):
    (tmp_path / "features").mkdir()
    for name in ("tokens", "librosa", "face"):
        (tmp_path / "features" / f"{name}.h5").write_bytes(name.encode())
    return tmp_path


def written(processed: Path) -> bytes:
    params = load_params(ROOT / "params.yaml")
    write_plan(processed, plan(params.train, "lnln", "demo", params.prepare.label_range))
    return (processed / "settings" / "lnln.json").read_bytes()


def test_only_features_that_are_read_change_it(processed):
    first = written(processed)
    (processed / "features" / "bert.h5").write_bytes(b"new")
    assert written(processed) == first
    (processed / "features" / "face.h5").write_bytes(b"other")
    assert written(processed) != first


def test_features_that_are_not_there_are_named(processed):
    (processed / "features" / "face.h5").unlink()
    with pytest.raises(MalformedInput, match=r"face\.h5.*extract"):
        written(processed)
