"""A .mat in raw/ goes through every stage: views are features by name, lost, noisy or taken from another class."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import yaml
from builders import stage
from small_project import ROOT, runs

NAME, ROWS = "faces", 60
WIDTHS = (6, 4, 3)
PARAMS = {
    "datasets": [NAME],
    "models": ["rcml", "ridge"],
    "seeds": [1],
    "workers": 1,
    "extract": {"extractors": ["view0", "view1", "view2"]},
    "mask": {"patterns": ["modality", "noise", "conflict"], "rates": [0.0, 0.9], "seeds": [1]},
    "export": {"features": []},
    "train": {
        "features": ["view0", "view1", "view2"],
        "task": "class",
        "device": "cpu",
        "rcml": {"training": {"epochs": 15, "batch_size": 16, "learning_rate": 0.02}},
        "ridge": {"training": {"epochs": 4}},
    },
    "evaluate": {"patterns": ["modality", "noise", "conflict"], "bootstrap": 20},
}


def write(root: Path) -> None:
    """Three views that each tell the class, with noise."""
    rng = np.random.default_rng(0)
    classes = np.arange(ROWS) % 3
    cells = np.empty((1, len(WIDTHS)), object)
    for v, width in enumerate(WIDTHS):
        cells[0, v] = rng.normal(size=(3, width))[classes] * 2 + rng.normal(0, 0.5, (ROWS, width))
    root.mkdir(parents=True)
    scipy.io.savemat(root / "faces.mat", {"X": cells, "gt": classes[:, None] + 1})


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """The scores of both models, after every stage has run."""
    folder = tmp_path_factory.mktemp("multiview")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LACUNA_CACHE", str(folder / "cache"))
        shutil.copytree(ROOT / "pipeline", "pipeline")
        write(Path("raw", NAME))
        Path("params.yaml").write_text(yaml.safe_dump(PARAMS, sort_keys=False))
        for name, item in runs(PARAMS | {"align": {"extractors": []}}):
            if name != "demo":
                stage(name, *item.values())
        assert Path("processed/report/index.html").is_file()
        told = Path("processed", NAME, "scores")
        yield {
            m: json.loads((told / f"{m}.json").read_text()) | dict(np.load(told / f"{m}.npz")) for m in PARAMS["models"]
        }


@pytest.mark.parametrize("model", ["rcml", "ridge"])
def test_views_are_learnt_from_and_lost(scores, model):
    patterns = scores[model]["patterns"]
    assert patterns["modality"]["0.0"]["accuracy"]["mean"] > 0.8
    alone = [patterns["modality"][f"view{v}"]["accuracy"]["mean"] for v in range(3)]
    assert min(alone) > 0.5 and max(alone) <= 1


@pytest.mark.parametrize("pattern", ["noise", "conflict"])
def test_views_are_disturbed_by_the_patterns_of_rcml(scores, pattern):
    """Noise is as wide as a view's own columns spread; conflict takes a view of another class."""
    for record in scores.values():
        clean, spoilt = (record["patterns"][pattern][level]["accuracy"]["mean"] for level in ("0.0", "0.9"))
        assert clean == record["patterns"]["modality"]["0.0"]["accuracy"]["mean"]
        assert spoilt < clean if pattern == "conflict" else spoilt <= clean  # noise may leave the classes apart
        answers = [record[f"{pattern}/{level}/1/1/prediction"] for level in ("0.0", "0.9")]
        assert np.abs(answers[0] - answers[1]).max() > 0.01
