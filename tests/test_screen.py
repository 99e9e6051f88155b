"""What the command says fits any terminal, and counts in English."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from lacuna.commands.screen import table
from lacuna.evaluate.compare import DIFFERENCES
from lacuna.types import counted

TITLE = "first minus second: mean error over all rates"
ROWS = [
    ["quorum", "ridge", "not clear", "-0.123", "-0.400 to +0.200", "1e-05", "0.0021", "–"],
    ["dual_stream", "我的模型", "dual_stream", "+0.020", "+0.010 to +0.030", "0.3", "1", "0.5"],
]


def _printed(width: int, head: list[str], rows: list[list[str]]) -> str:
    console = Console(width=width, file=io.StringIO(), markup=False, emoji=False, highlight=False)
    console.print(table(TITLE, head, rows, width))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 72, 80, 82, 100, 200])
@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS], ids=["none", "one", "two"])
@pytest.mark.parametrize("columns", [2, 5, 8])
def test_no_word_of_a_table_is_cut(width: int, rows: list[list[str]], columns: int) -> None:
    head, rows = DIFFERENCES[:columns], [row[:columns] for row in rows]
    printed = _printed(width, head, rows)
    assert "…" not in printed and max(cell_len(line) for line in printed.splitlines()) <= width
    words = [word for row in [head, *rows] if rows or width > 60 for cell in row for word in cell.split()]
    assert [word for word in words if word not in printed] == []


def test_where_there_is_room_a_row_is_one_line() -> None:
    printed = _printed(200, DIFFERENCES, ROWS)
    assert len(printed.splitlines()) == 1 + 3 + len(ROWS) + 1  # title, head and its rules, rows, the last rule
    assert "p, nothing lost" in printed and "-0.400 to +0.200" in printed


def test_counted() -> None:
    assert [counted(n, "clip") for n in (0, 1, 2)] == ["0 clips", "1 clip", "2 clips"]
    assert [counted(n, "entry", "entries") for n in (0, 1, 2)] == ["0 entries", "1 entry", "2 entries"]
