"""The rooms of src/lacuna: each imports rooms above it in the table of ARCHITECTURE.md alone, never in a circle."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "lacuna"
PLUGIN_ROOMS = ("datasets", "extractors", "patterns", "models")
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")
MOST_ROOMS = 28


def rows() -> list[list[str]]:
    """The rooms of each row, from the top of the house."""
    table = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## The rooms")[1].split("|---|---|")[1]
    lines = [line for line in table.split("\n\n")[0].strip().splitlines() if line.startswith("|")]
    return [re.findall(r"`(\w+)`", line.split("|")[1]) for line in lines]


ROWS = rows()
FLOOR = {room: i for i, row in enumerate(ROWS) for room in row}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _target(parts: tuple[str, ...], name: str) -> tuple[str, ...]:
    """`from lacuna.demo import voice` imports lacuna.demo.voice, where that is a module."""
    inside = PACKAGE.joinpath(*parts, name)
    return (*parts, name) if inside.is_dir() or inside.with_suffix(".py").is_file() else parts


def imports_of(path: Path) -> set[tuple[str, ...]]:
    """Modules of ours that a file imports, as parts after `lacuna`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lacuna":
            parts = tuple(node.module.split(".")[1:])
            found |= {_target(parts, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {tuple(a.name.split(".")[1:]) for a in node.names if a.name.split(".")[0] == "lacuna"}
    return {parts for parts in found if parts}


GRAPH = {path: imports_of(path) for path in FILES}


def test_the_table_has_every_room_once():
    rooms = sorted({room_of(path) for path in FILES})
    assert sorted(room for row in ROWS for room in row) == rooms and len(rooms) <= MOST_ROOMS


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_rooms_above_its_own(path):
    room = room_of(path)
    for other in {parts[0] for parts in GRAPH[path]} - {room}:
        assert FLOOR[other] < FLOOR[room], f"{room} may not import {other}"


@pytest.mark.parametrize("room", PLUGIN_ROOMS)
def test_plugins_never_import_a_sibling(room):
    for path in (PACKAGE / room).glob("*.py"):
        for parts in GRAPH[path]:
            sibling = parts[0] == room and len(parts) == 2 and (PACKAGE / room / f"{parts[1]}.py").is_file()
            assert not sibling or parts[1].startswith("_"), f"{path.name} imports its sibling {parts[1]}"


def test_no_circle_of_files():
    files = {}
    for path, targets in GRAPH.items():
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        files[parts[:-1] if parts[-1] == "__init__" else parts] = targets
    _assert_no_circle(files)


def test_no_circle_of_rooms():
    rooms: dict[str, set[str]] = {}
    for path, targets in GRAPH.items():
        rooms.setdefault(room_of(path), set()).update(parts[0] for parts in targets)
    _assert_no_circle(rooms)


def _assert_no_circle(graph: dict) -> None:
    done = set()

    def visit(node, trail):
        assert node not in trail, f"circle: {' -> '.join(map(str, (*trail, node)))}"
        if node not in done:
            for target in graph.get(node, set()) - {node}:
                visit(target, (*trail, node))
            done.add(node)

    for node in graph:
        visit(node, ())


@pytest.mark.parametrize("room", ["types", "storage", "media", "params", "source", "mask", "prepare"])
def test_no_torch_behind_the_disk_contract(room):
    for path in FILES:
        if room_of(path) == room and path.stem not in ("tensors", "pretrained"):
            assert not re.search(r"^\s*(import|from) torch", path.read_text(encoding="utf-8"), re.M), path
