"""docs/extending.md is true: each example is taken out of the page, put where it says, and does its work."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from builders import samples, sequence
from examples import FILES, PAGE
from media_files import Video, write_video

from lacuna.data.batches import InputSpec, collate
from lacuna.data.samples import polarity
from lacuna.extract.cached import Extraction
from lacuna.mask.mask import Draw
from lacuna.params import load_params, plugin, plugin_names, plugin_settings
from lacuna.params.plugins import ROOMS
from lacuna.prepare.run import prepare
from lacuna.storage.features import Origin
from lacuna.train import checkpoint
from lacuna.train.trainer import Data, Settings, fit
from lacuna.types import Clip, MalformedInput

ROOT = Path(__file__).resolve().parents[1]
CHANGES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)]


def test_the_page_has_an_example_of_each():
    assert sorted(name.split("/")[0] for name in FILES) == sorted(ROOMS) and len(CHANGES) == 5


@pytest.mark.parametrize("changes", CHANGES, ids=lambda c: ", ".join(c))
def test_params_may_be_written_so(changes, tmp_path):
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, keys in changes.items():
        values[section] = values[section] | keys if isinstance(keys, dict) else keys
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    params = load_params(tmp_path / "params.yaml")
    for name in params.extract.extractors:
        plugin_settings("extractors", name, params.extract.plain_settings(name, "demo"))
    for name in params.models:
        params.train.model_settings(name, "demo")
        params.train.training_settings(name, "demo")


def test_the_extractor_extracts(tmp_path):
    assert "loudness" in plugin_names("extractors")
    extraction = Extraction("loudness", {"step": 0.01}, tmp_path / "cache")
    heard = extraction(Clip("a", "d", "test", path=write_video(tmp_path / "a.mp4", Video(frames=30))))
    assert heard.columns == ("level_db", "zero_crossings") and heard.seen.any()
    assert heard.times[1] - heard.times[0] == pytest.approx(0.01) and len(heard) > 50
    silent = extraction(Clip("b", "d", "test", path=write_video(tmp_path / "b.mp4", Video(frames=30, audio=""))))
    assert len(silent) == 0
    with pytest.raises(MalformedInput, match=r"loudness.step: expected at least two samples"):
        plugin_settings("extractors", "loudness", {"step": 0.0001})
    with pytest.raises(MalformedInput, match=r"extractors.loudness.stpe: .*did you mean 'step'"):
        plugin_settings("extractors", "loudness", {"stpe": 1})


def test_the_pattern_loses_the_beginning():
    pattern = plugin("patterns", "late")
    for level in (0.0, 0.3, 1.0):
        kept = pattern.survivors(sequence(np.ones((200, 2))), Draw("d", "c", "audio", "late", level, 1))
        assert abs(1 - kept.mean() - level) <= 0.11 and (np.diff(kept.astype(int)) >= 0).all()


@pytest.mark.parametrize("classes", (0, 3))
def test_the_model_learns_and_loads(tmp_path, classes):
    torch.manual_seed(0)
    module, train, valid = plugin("models", "averages"), samples(96), samples(32, "valid", 1)
    if classes:
        train, valid = ([replace(s, clip=polarity(s.clip)) for s in part] for part in (train, valid))
    spec = InputSpec.of(train, {}, classes)
    model = module.Model(module.Settings(), spec)
    settings = Settings(**module.TRAINING | {"batch_size": 16})
    history = fit(model, Data(train, valid, spec, plugin("patterns", settings.pattern)), settings, 1)
    assert history.best_loss < 0.8 * history.rows[0]["valid_loss"]
    model.eval()
    alone, shared = (model(collate(group, spec.lengths))["prediction"][0] for group in (valid[:1], valid))
    assert torch.allclose(alone, shared, atol=1e-5)
    nothing = {key: {} for key in ("scaler", "training", "versions")}
    columns = {m: tuple(f"{m}_{i}" for i in range(width)) for m, width in spec.widths.items()}
    nothing["origins"] = {m: asdict(Origin("made", m, names, {}, {})) for m, names in columns.items()}
    built = {"settings": asdict(module.Settings()), "spec": asdict(spec), "seed": 1}
    card = checkpoint.Card("averages", task="", label_range=(-3, 3), params_hash="", dataset="d", **built, **nothing)
    checkpoint.save(tmp_path, model, card)
    again, _ = checkpoint.load(tmp_path)
    assert torch.equal(again(collate(valid[:1], spec.lengths))["prediction"][0], alone)


def test_the_dataset_is_recognised_and_read(tmp_path):
    root = tmp_path / "raw" / "mine"
    root.mkdir(parents=True)
    write_video(root / "a b.mp4", Video(frames=10))
    (root / "c.mp4").write_text("no video")
    rows = ["train\t1.5\ta b.mp4\twhat a day", "test\t9\ta b.mp4\tx", "test\tmuch\ta b.mp4\tx", "test\t1\tnone.mp4\tx"]
    (root / "scores.tsv").write_text("\n".join([*rows, "valid\t0\tc.mp4\tx", "test"]), encoding="utf-8")
    settings = load_params(ROOT / "params.yaml").prepare
    clips, rejects = prepare(root, "mine", settings)
    assert [(c.id, c.split, c.label, c.text) for c in clips] == [("a b$_$0", "train", 1.5, "what a day")]
    assert len(rejects) == 5 and "expected -3 to 3, got 9" in rejects[0].reason


def test_the_section_is_a_section():
    code = re.search(r"`src/lacuna/figures/sections/lengths.py`:\n\n```python\n(.*?)```", PAGE, re.S).group(1)
    scope: dict = {}
    exec(code, scope)
    section = scope["section"]("d", [Clip("a", "d", "train", "what a day"), Clip("b", "d", "train", "well")])
    assert section.id == "d-lengths" and "2.0" in section.body
