"""Tables for a terminal. In: a title, a head, rows, and how wide the terminal is. Out: a table that cuts no word."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.table import Table


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> Table:
    """Columns as wide as they need, or no narrower than their longest word where `room` is short.

    Where these do not fit, the spaces beside the words go; where that does not help, each row is told downwards, a line
    for each of the head's names.
    """
    for padding in (1, 0):
        made = Table(title=title, title_justify="left", padding=(0, padding))
        if widths := _widths(list(zip(head, *rows)), room - (1 + 2 * padding) * len(head) - 1):
            for name, width in zip(head, widths):
                made.add_column(name, width=width)
            for row in rows:
                made.add_row(*row)
            return made
    return _downwards(Table(title=title, title_justify="left"), head, rows)


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """What the longest words leave goes to the first columns first; nothing where these alone are too wide."""
    wanted = [max(map(cell_len, column)) for column in columns]
    widths = [max(cell_len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    spare = room - sum(widths)
    if spare < 0:
        return []
    for i, most in enumerate(wanted):
        more = min(spare, most - widths[i])
        widths[i], spare = widths[i] + more, spare - more
    return widths


def _downwards(made: Table, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    made.show_header = False
    for _ in range(2):
        made.add_column(overflow="fold")
    for row in rows:
        for name, cell in zip(head, row):
            made.add_row(name, cell)
        made.add_section()
    return made
