"""dvc.yaml is true: stage = script = section of params.yaml, and each stage's deps name every module it imports."""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "lacuna"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
# A stage reaches plug-ins by name: their own file stands in deps through the matrix, their shared parts as they are.
ROOMS = {"extract": "extractors", "mask": "patterns", "train": "models", "evaluate": "models"}
PLANNED = ("train", "evaluate")  # a model's own file stands in the plan that stage `models` writes
WHOLE = {"models": ["models"], "figures": ["models", "patterns"]}
WHOLE |= {stage: ["patterns"] for stage in ("export", "train", "evaluate")}


def modules_of(path: Path) -> set[Path]:
    """Files of ours that a file imports directly, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lacuna":
            parts = node.module.split(".")[1:]
            names = [parts, *([*parts, alias.name] for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [a.name.split(".")[1:] for a in node.names if a.name.split(".")[0] == "lacuna"]
        else:
            continue
        for name in names:
            target = PACKAGE.joinpath(*name)
            found |= {p for p in (target.with_suffix(".py"), target / "__init__.py") if name and p.is_file()}
    return found


def closure(starts: set[Path]) -> set[Path]:
    """All files of ours that are imported from these, directly or not."""
    seen: set[Path] = set()
    todo = set(starts)
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo |= modules_of(path)
    return seen


def needed(stage: str) -> set[str]:
    """What the deps of a stage must cover, as paths from the root."""
    starts = modules_of(ROOT / "pipeline" / f"{stage}.py")
    files = closure(starts)
    if any(path.parent.name == "datasets" for path in files):  # which of them reads a folder, the folder decides
        files = closure(files | set((PACKAGE / "datasets").glob("*.py")))
    for room in WHOLE.get(stage, ()):
        files |= closure(set((PACKAGE / room).glob("*.py")))
    if stage in ROOMS:
        room = ROOMS[stage]
        plugins = {p for p in (PACKAGE / room).glob("*.py") if not p.name.startswith("_")}
        files |= closure(plugins) - plugins
    return {str(p.relative_to(ROOT)) for p in files if not _only_words(p)}


def _only_words(path: Path) -> bool:
    """Whether a file is a package's docstring and nothing else, or lacuna's own version."""
    return path == PACKAGE / "__init__.py" or len(ast.parse(path.read_text()).body) <= 1


def covered(path: str, deps: list[str]) -> bool:
    return any(path == dep or path.startswith(f"{dep}/") for dep in deps)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_is_script_is_section(stage):
    assert (ROOT / "pipeline" / f"{stage}.py").is_file()
    assert stage in PARAMS
    assert f"pipeline/{stage}.py" in STAGES[stage]["deps"]
    assert any(str(key).split(".")[0] == stage for key in STAGES[stage]["params"])


def test_no_script_without_a_stage():
    assert {p.stem for p in (ROOT / "pipeline").glob("*.py")} == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_deps_name_every_module_imported(stage):
    deps = STAGES[stage]["deps"]
    missing = sorted(path for path in needed(stage) if not covered(path, deps))
    assert not missing, f"{stage}: deps lack {missing}"


@pytest.mark.parametrize("stage", ROOMS)
def test_deps_name_the_plugin_itself(stage):
    item = {"extractors": "extractor", "patterns": "pattern", "models": "model"}[ROOMS[stage]]
    own = f"src/lacuna/{ROOMS[stage]}/${{item.{item}}}.py"
    planned = "processed/${item.dataset}/settings/${item.model}.json"
    assert (planned if stage in PLANNED else own) in STAGES[stage]["deps"]


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_exist(stage):
    for dep in STAGES[stage]["deps"]:
        if dep.startswith(("src/", "pipeline/")) and "${" not in dep:
            assert (ROOT / dep).exists(), dep


def test_dvc_keeps_the_scores():
    """Git ignores processed/: a metric that DVC did not cache either would be in no experiment."""
    metrics = [entry for stage in STAGES.values() for entry in stage.get("metrics", [])]
    assert metrics and all(isinstance(entry, str) for entry in metrics)
