"""params.yaml is checked before anything runs: each misspelt key or name is told, with what was meant."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lacuna.params import load_params, merged, plugin_names, plugin_settings
from lacuna.train import plan as plans
from lacuna.types import MalformedInput

ROOT = Path(__file__).parents[1]


def plan(params, name):
    return plans.plan(params.train, name, "demo", params.prepare.label_range)


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
        ({"align__extractors": ["libros"]}, r"align.extractors: .*libros.*did you mean 'librosa'"),
        ({"train__features": ["tokens", "aligned_fase"]}, r"train.features: .*did you mean 'aligned_face'"),
        ({"train__lnln": {"features": ["token"]}}, r"train.lnln.features: .*did you mean 'tokens'"),
        ({"train__lnln": {"training": {"pattern": "mixd"}}}, r"train.lnln.training.pattern: .*did you mean 'mixed'"),
        ({"export__features": ["brt"]}, r"export.features: .*did you mean 'bert'"),
        ({"export__tokens": "tokns"}, r"export.tokens: .*did you mean 'tokens'"),
        (
            {"export__per_dataset": {"demo": {"incomplete": [{"pattern": "fram", "level": 0.3}]}}},
            r"export.incomplete: .*did you mean 'frames'",
        ),
        ({"evaluate__patterns": ["modalty"]}, r"evaluate.patterns: .*did you mean 'modality'"),
        ({"evaluate__patterns": ["span"]}, r"evaluate.patterns: expected one of frames, modality; got 'span'"),
        ({"extract__librsa": {}}, r"extract.librsa: .*did you mean 'librosa'"),
        ({"seeds": [-1]}, "seeds"),
        ({"seeds": [2**32]}, "seeds"),
        ({"seeds": [1, 1]}, "each once, found 1 twice"),
        ({"workers": 0}, "workers"),
        ({"workers": 10**30}, "workers"),
        ({"mask__rates": [1.5]}, r"rates.*1\.5"),
        ({"mask__grid": {"text": [0.1, 1.5]}}, r"grid.*1\.5"),
        ({"mask__grid": {"txt": [0.1]}}, r"mask.grid: .*did you mean 'text'"),
        ({"mask__imbalanced": [{"text": 0.1, "visoin": 0.2}]}, r"mask.imbalanced: .*did you mean 'vision'"),
        ({"datasets": ["demo", "demo"]}, "'demo' twice"),
    ],
)
def test_a_mistake_stops_at_once_with_the_key(tmp_path, changes, told):
    with pytest.raises(MalformedInput, match=told):
        params = load_params(changed(tmp_path, **changes))
        params.train.model_settings("lnln", "demo")


@pytest.mark.parametrize(
    "name", ["my data", "a&b", "a;b", "$(x)", "../up", ".", "..", ".x", "-x", "a/b", "a\\b", "", "x" * 101, "a\nb"]
)
@pytest.mark.parametrize("key", ["datasets", "models", "extract__extractors", "mask__patterns", "align__extractors"])
def test_a_name_is_a_word_that_a_shell_and_a_file_system_take(tmp_path, key, name):
    with pytest.raises(MalformedInput) as error:
        load_params(changed(tmp_path, **{key: [name]}))
    assert "expected letters, digits" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["CON", "nul", "aux.v2", "com1", "LPT9.txt", "mine."])
@pytest.mark.parametrize("key", ["datasets", "models"])
def test_names_that_some_systems_give_no_file_are_refused(tmp_path, key, name):
    with pytest.raises(MalformedInput, match="expected a name that every system can give a file"):
        load_params(changed(tmp_path, **{key: [name]}))


@pytest.mark.parametrize("names", [["mine", "Mine"], ["a", "données", "DONNÉES"]])
def test_names_that_some_disks_take_for_one_are_refused(tmp_path, names):
    with pytest.raises(MalformedInput, match="expected names that differ in more than the case of letters"):
        load_params(changed(tmp_path, datasets=names))


@pytest.mark.parametrize("name", ["report", "source", "figures", "Report"])
def test_a_dataset_is_not_called_as_what_is_of_all_of_them(tmp_path, name):
    """processed/report would hold both, and DVC would remove one with the other."""
    with pytest.raises(MalformedInput, match="expected a name other than source, figures, report"):
        load_params(changed(tmp_path, datasets=[name]))


@pytest.mark.parametrize("name", ["mine", "CH-SIMS.v2", "数据_1", "données", "Ωmega", "1"])
def test_names_of_any_script_are_taken(tmp_path, name):
    assert load_params(changed(tmp_path, datasets=[name])).datasets == [name]


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfe", "expected UTF-8"),
        ("datasets: [démo]".encode("latin-1"), "expected UTF-8, found byte 0xe9"),
        (b"datasets: [demo", "expected YAML"),
        (b"seeds: [1]\nseeds: [2]\n", "expected YAML.*seeds"),
        (b"a: " + b"[" * 5000 + b"]" * 5000, "at most 40 levels"),
        (b"a: " * 1, "a"),
        (BOMB.encode(), "aliases"),
        (b"a: &a [*a]", "aliases"),
        (b"seeds: [" + b"9" * 5000 + b"]", "expected YAML|seeds"),
        (b"x: !!python/object/apply:os.system [echo]", "expected YAML"),
        (b"[1, 2]", "expected sections"),
        (b"", "expected sections"),
        (b"a: b\n" * 400_000, "at most 1048576 bytes"),
        (b"? [a, b]\n: 1\n", "params"),
        (b"datasets: {a: 1}\n", "datasets"),
        (b"\x00", "expected YAML"),
    ],
    ids=lambda value: repr(value[:16]),
)
def test_a_hostile_file_is_one_line(tmp_path, content, told):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(MalformedInput, match=told) as error:
        load_params(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


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


LIKE = {"like": "misa", "model": {"sim_weight": 0.0}, "training": {"epochs": 3}, "task": "polarity"}
MISA = {"model": {"size": 64, "diff_weight": 0.2}, "training": {"epochs": 9, "batch_size": 8}, "standardize": False}


def test_a_name_may_be_like_a_model_under_other_settings(tmp_path):
    changes = {"models": ["misa", "misa_alone"], "train__misa": MISA, "train__misa_alone": LIKE}
    params = load_params(changed(tmp_path, **changes))
    base, other = plan(params, "misa"), plan(params, "misa_alone")
    assert other.file == base.file == "misa" and other.module is base.module
    assert other.model == replace(base.model, sim_weight=0.0) and base.model.size == 64
    assert other.training == replace(base.training, epochs=3) and base.training.batch_size == 8
    assert (other.inputs.task, base.inputs.task) == ("polarity", "regression")
    assert other.inputs.standardize is base.inputs.standardize is False


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train__other": {"like": "mias"}}, "mias.*did you mean 'misa'"),
        ({"train__misa": {"like": "lnln"}}, "train.misa.like: expected a new name"),
        ({"train__a/b": {"like": "lnln"}}, "train.a/b.like: expected a new name"),
        ({"models": ["other"]}, "got 'other'"),
        ({"train__other": {"like": "misa", "model": {"sise": 1}}}, "misa.sise.*did you mean 'size'"),
    ],
)
def test_a_mistaken_likeness_is_told(tmp_path, changes, told):
    with pytest.raises(MalformedInput, match=told):
        plan(load_params(changed(tmp_path, **changes)), "other")


def test_a_plan_tells_its_own_model_alone(tmp_path):
    """What is said of another model, or which models there are, is not in it; its own settings and code are."""
    values = plan(load_params(changed(tmp_path)), "misa").values()
    others = {"models": ["dmd"], "train__dmd": {"training": {"epochs": 2}}, "evaluate__bootstrap": 3}
    assert plan(load_params(changed(tmp_path, **others)), "misa").values() == values
    for changes in (
        {"train__misa": {"model": {"size": 64}}},
        {"train__training": {"epochs": 2}},
        {"train__task": "polarity"},
    ):
        assert plan(load_params(changed(tmp_path, **changes)), "misa").values() != values
    assert values["file"] == "misa" and not {"device", "processes", "live"} & set(values)


def test_no_file_is_told(tmp_path):
    with pytest.raises(MalformedInput, match="found none"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("room", ["datasets", "extractors", "patterns", "models"])
def test_rooms_have_members(room):
    assert plugin_names(room)
