"""The files that code reaches by imports, and their digests. In: Python files. Out: {name of a file: digest}.

A digest is of the syntax tree without comments and docstrings: words change nothing, and it is the same under every
Python. Data that lie beside a file that is reached (`*.csv`, `*.npz`, `*.css` …) count with their bytes.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
OWN = Path("plugins")  # the user's own plug-ins, by room
# They only carry settings to the code that uses them; the settings themselves stand beside the digests.
PLUMBING = ("params", "source", "stages.py", "__init__.py")


def digests(starts: Iterable[Path]) -> dict[str, str]:
    """Of these files, all of ours that they import, directly or not, and the data beside those."""
    files = reached(starts)
    data = {p for f in files for p in f.parent.iterdir() if p.is_file() and p.suffix not in (".py", ".pyc")}
    told = {_name(f): _tree_digest(f, f.stat().st_mtime_ns) for f in files}
    return dict(sorted({**told, **{_name(p): _digest(p.read_bytes()) for p in data}}.items()))


def digest(starts: Iterable[Path]) -> str:
    """One SHA-256 over `digests`."""
    return _digest(repr(digests(starts)).encode())


def plugin_file(room: str, name: str) -> Path:
    """The file of a plug-in, which need not be importable."""
    return _files(room, name)[0]


def reached(starts: Iterable[Path]) -> set[Path]:
    """These files and all files of ours that they import, directly or not."""
    seen: set[Path] = set()
    todo = list(starts)
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += _imported(path, path.stat().st_mtime_ns)
    return seen


@cache
def _imported(path: Path, _: int) -> list[Path]:
    """Files of ours that a file imports, wherever in it."""
    found: list[Path] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            first, *parts = (node.module or "").split(".")
            names = [(*parts, alias.name) for alias in node.names] if first == "lacuna" else []
            found += [file for name in names for file in _files(*name) or _files(*parts)]
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
            found += [file for first, *parts in names if first == "lacuna" for file in _files(*parts)]
    return [file for file in found if not _is_plumbing(file)]


def _files(*parts: str) -> list[Path]:
    """The file of the module lacuna.<parts>, if it is one."""
    if not parts:
        return []
    choices = (PACKAGE.joinpath(*parts), OWN.joinpath(*parts))
    files = [file for base in choices for file in (base.with_name(f"{base.name}.py"), base / "__init__.py")]
    return [file for file in files if file.is_file()][:1]


def _is_plumbing(file: Path) -> bool:
    return file.is_relative_to(PACKAGE) and file.relative_to(PACKAGE).parts[0] in PLUMBING


def _name(file: Path) -> str:
    """The same on every machine."""
    return file.relative_to(PACKAGE.parent).as_posix() if file.is_relative_to(PACKAGE) else "/".join(file.parts[-2:])


@cache
def _tree_digest(file: Path, _: int) -> str:
    return _digest(repr(_values(ast.parse(file.read_bytes()))).encode())


def _values(node: object) -> object:
    """A syntax tree as nested tuples, without docstrings, places and what is empty (newer Pythons have more of it)."""
    if isinstance(node, list):
        return [_values(child) for child in node]
    if not isinstance(node, ast.AST):
        return node
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    body = fields.get("body")
    if isinstance(body, list) and body and _is_words(body[0]):
        fields["body"] = body[1:]
    return type(node).__name__, [(name, _values(value)) for name, value in fields.items()]


def _is_words(node: ast.stmt) -> bool:
    """Whether a statement is a string that nothing reads: a docstring, or words in its place."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
