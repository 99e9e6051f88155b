"""params.yaml is checked before anything runs: each misspelt key or name is told, with what was meant."""

from pathlib import Path

import pytest
import yaml

from lacuna.params import load_params, merged, plugin_names, plugin_settings
from lacuna.types import MalformedInput

ROOT = Path(__file__).parents[1]


def changed(tmp_path, **changes):
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            values[section][name] = value
        else:
            values[section] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_the_file_of_the_project_is_valid():
    params = load_params(ROOT / "params.yaml")
    assert params.datasets == ["demo"]
    for name in params.extract.extractors:
        plugin_settings("extractors", name, params.extract.plain_settings(name, "demo"))
    for name in params.models:
        params.train.model_settings(name, "demo")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"models": ["lnnl"]}, "lnnl.*did you mean 'lnln'"),
        ({"mask__patterns": ["frame"]}, "frame.*did you mean 'frames'"),
        ({"extract__extractors": ["bart"]}, "bart.*did you mean 'bert'"),
        ({"mask__rate": [0.1]}, "mask.rate"),
        ({"sedes": [1]}, "sedes"),
        ({"train__lnln": {"modle": {}}}, "modle"),
        ({"prepare__max_rejects": 3}, "max_rejects.*3"),
        ({"datasets": "demo"}, "datasets"),
    ],
)
def test_a_mistake_stops_at_once_with_the_key(tmp_path, changes, told):
    with pytest.raises(MalformedInput, match=told):
        params = load_params(changed(tmp_path, **changes))
        params.train.model_settings("lnln", "demo")


def test_a_misspelt_setting_of_a_plugin_is_named():
    with pytest.raises(MalformedInput, match=r"extractors\.face\.fsp.*did you mean 'fps'"):
        plugin_settings("extractors", "face", {"fsp": 25})
    with pytest.raises(MalformedInput, match=r"extractors\.face"):
        plugin_settings("extractors", "face", {"fps": "many"})


def test_settings_of_one_dataset(tmp_path):
    params = load_params(changed(tmp_path, prepare__per_dataset={"sims": {"label_range": [-1, 1]}}))
    assert params.prepare.of("sims").label_range == (-1, 1)
    assert params.prepare.of("demo").label_range == (-3, 3)
    assert merged({"a": 1, "per_dataset": {"x": {"a": 2}}}, "x") == {"a": 2}


def test_no_file_is_told(tmp_path):
    with pytest.raises(MalformedInput, match="found none"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("room", ["datasets", "extractors", "patterns", "models"])
def test_rooms_have_members(room):
    assert plugin_names(room)
