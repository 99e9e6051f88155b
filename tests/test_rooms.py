"""The table of rooms in ARCHITECTURE.md is true: each module imports only what its room may."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "lacuna"
PLUGIN_ROOMS = ("datasets", "extractors", "patterns", "models")


def table() -> dict[str, set[str]]:
    """{room: rooms it may import}, from the last table of ARCHITECTURE.md."""
    rows = (ROOT / "ARCHITECTURE.md").read_text().split("## The rooms")[1].split("|---|---|")[1]
    allowed = {}
    for line in rows.strip().splitlines():
        if not line.startswith("|"):
            break
        left, right = (re.sub(r"\(.*?\)", "", cell).strip() for cell in line.strip("|").split("|"))
        names = {name.strip() for name in right.split(",")}
        rooms = {room.strip() for room in left.split(",")}
        names = {"the rooms above": set(allowed) | rooms}.get(right, names)
        allowed |= {room: names - {"nothing"} for room in rooms}
    return allowed


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def _target(parts: tuple[str, ...], name: str) -> tuple[str, ...]:
    """`from lacuna.demo import voice` imports lacuna.demo.voice, where that is a module."""
    inside = PACKAGE.joinpath(*parts, name)
    return (*parts, name) if inside.is_dir() or inside.with_suffix(".py").is_file() else parts


def imports_of(path: Path) -> set[tuple[str, ...]]:
    """Modules of ours that a file imports, as parts after `lacuna`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lacuna":
            parts = tuple(node.module.split(".")[1:])
            found |= {_target(parts, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {tuple(a.name.split(".")[1:]) for a in node.names if a.name.split(".")[0] == "lacuna"}
    return {parts for parts in found if parts}


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_room_may(path):
    allowed, room = table(), room_of(path)
    assert room in allowed, f"{room} has no row in ARCHITECTURE.md"
    if any(name.startswith("everything") for name in allowed[room]):
        return
    for parts in imports_of(path):
        assert parts[0] == room or parts[0] in allowed[room], f"{room} may not import {parts[0]}"


@pytest.mark.parametrize("room", PLUGIN_ROOMS)
def test_plugins_never_import_a_sibling(room):
    for path in (PACKAGE / room).glob("*.py"):
        for parts in imports_of(path):
            sibling = parts[0] == room and len(parts) > 1 and (PACKAGE / room / f"{parts[1]}.py").is_file()
            shared = sibling and (parts[1].startswith("_") or parts[1] == "rejects")
            assert not sibling or shared, f"{path.name} imports its sibling {parts[1]}"


def test_no_import_cycle():
    graph = {}
    for path in FILES:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        graph[parts[:-1] if parts[-1] == "__init__" else parts] = imports_of(path)
    done: set[tuple[str, ...]] = set()

    def visit(node: tuple[str, ...], trail: tuple[tuple[str, ...], ...]) -> None:
        assert node not in trail, f"cycle: {' -> '.join('.'.join(t) for t in (*trail, node))}"
        if node in done or node not in graph:
            return
        for target in graph[node] - {node}:
            visit(target, (*trail, node))
        done.add(node)

    for node in graph:
        visit(node, ())


def test_no_torch_behind_the_disk_contract():
    for name in ("types", "store", "media", "metrics", "cache", "masking"):
        source = (PACKAGE / f"{name}.py").read_text()
        assert not re.search(r"^\s*(import|from) torch", source, re.M), name
