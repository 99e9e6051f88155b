"""rejects.csv. In: what was refused. Out: a CSV file, and an error where too much was."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from lacuna.storage.files import replacing
from lacuna.types import MalformedInput, Reject, counted

COLUMNS = ("id", "file", "stage", "reason")


def write_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    """One row a reject, in order; utf-8 with BOM, so that spreadsheets read names in any script."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([r.id, r.file, r.stage, r.reason] for r in rejects)


def check_share(rejects: Sequence[Reject], total: int, most: float, path: Path) -> None:
    """MalformedInput when nothing was accepted, or more than the share `most` of `total` was refused."""
    first = f"; the first: {rejects[0].id}: {rejects[0].reason}" if rejects else ""
    if len(rejects) == total:
        raise MalformedInput(f"{path}: expected at least one usable clip among {total}, got none{first}")
    if len(rejects) > most * total:
        share = f"{len(rejects)} of {counted(total, 'clip')}"
        raise MalformedInput(f"{path}: expected at most max_rejects = {most:.0%} refused, got {share}{first}")
