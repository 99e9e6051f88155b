"""The documents say what is so: pages made from the code are up to date, links lead somewhere, commands exist."""

import re
from pathlib import Path

import pytest
import yaml

import lacuna
from lacuna import cli
from lacuna.commands.docs import params_page
from lacuna.commands.schema import params_schema
from lacuna.params import Params

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
GUIDES = [page for page in PAGES if page.name not in ("ARCHITECTURE.md", "CHANGELOG.md")]  # which name modules
SECTIONS = [name for name in Params.model_fields if name not in ("datasets", "models", "seeds", "workers")]
COMMANDS = {command.name or command.callback.__name__ for command in cli.app.registered_commands}


def test_the_params_page_is_what_the_code_says():
    written = (ROOT / "docs/params.md").read_text(encoding="utf-8")
    assert written == params_page(), "docs/params.md is old: run `lacuna docs params > docs/params.md`"


def test_every_setting_of_training_is_explained_or_plain():
    page = params_page()
    for key in ("`encoder_learning_rate`", "`label_range`", "extract.face", "train.lnln.model", "`span`", "`noise`"):
        assert key in page
    assert "typing." not in page and "Literal" not in page


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_exist(page):
    """Commands at the start of a line or in backquotes: `lacuna <name> …`."""
    for name in re.findall(r"(?:^\s*|`)lacuna ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), re.M):
        assert name in COMMANDS, f"{page.name}: lacuna {name}"


def members(node: dict, schema: dict) -> list[dict]:
    """What a part of the schema may be: references followed, alternatives one by one."""
    if "$ref" in node:
        return members(schema["$defs"][node["$ref"].rsplit("/", 1)[1]], schema)
    choices = [*node.get("anyOf", ()), *node.get("allOf", ()), *node.get("oneOf", ())]
    return [node, *(one for choice in choices for one in members(choice, schema))]


def has_key(path: str) -> bool:
    """Whether params.yaml may have this key."""
    schema = params_schema()
    nodes = members(schema, schema)
    for key in path.split("."):
        found = [n["properties"][key] for n in nodes if key in n.get("properties", {})]
        found = found or [n["additionalProperties"] for n in nodes if isinstance(n.get("additionalProperties"), dict)]
        nodes = [one for node in found for one in members(node, schema)]
    return bool(nodes)


@pytest.mark.parametrize("page", GUIDES, ids=lambda p: p.name)
def test_settings_exist(page):
    """In backquotes, as `mask.rates` or `train.lnln.model.encoder`."""
    named = rf"`((?:{'|'.join(SECTIONS)})(?:\.[a-z_0-9]+)+)[`:]"
    for path in set(re.findall(named, page.read_text(encoding="utf-8"))):
        if path.endswith(".sbatch"):  # the name of a file
            continue
        assert has_key(path), f"{page.name}: {path}"


def test_a_setting_that_does_not_exist_is_found():
    assert has_key("train.lnln.training.epochs") and has_key("mask.per_dataset")
    assert not any(map(has_key, ("mask.rate", "train.lnln.modle", "extract.face.fsp", "train.lnln.model.widht")))


def test_the_citation_names_this_version():
    record = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert record["version"] == lacuna.__version__ and {"cff-version", "title", "authors", "message"} <= set(record)
    assert f"## {lacuna.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def typed(page: Path) -> list[str]:
    """Indented lines without their comments and spaces: what is to be typed or written down."""
    lines = re.findall(r"^    (\S.*)$", page.read_text(encoding="utf-8"), re.M)
    return [re.sub(r"\s\s+.*", "", line).strip() for line in lines]


@pytest.mark.parametrize("name", ("README", "docs/tutorial"))
def test_both_languages_say_to_type_the_same(name):
    english, chinese = typed(ROOT / f"{name}.md"), typed(ROOT / f"{name}.zh-CN.md")
    assert english and english == chinese
