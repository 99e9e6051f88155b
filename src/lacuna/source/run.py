"""Write what each run of a stage stands on. In: params.yaml and the code. Out: processed/source, files of JSON."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path

from lacuna.params import Params
from lacuna.source.reads import Source, sources
from lacuna.storage.files import replacing
from lacuna.types import MalformedInput


def write_sources(params: Params, folder: Path) -> int:
    """One file a run under `folder`; how many there are. Equal input gives equal bytes."""
    shutil.rmtree(folder, ignore_errors=True)  # a run that is no more leaves nothing behind
    count = 0
    for name, source in sources(params):
        with replacing(folder / f"{name}.json") as temporary:
            temporary.write_text(_told(source), encoding="utf-8")
        count += 1
    return count


def check_sources(params: Params, folder: Path, names: Collection[str]) -> None:
    """MalformedInput unless the files of these runs, by name, are what stage `source` would write now."""
    for name, source in sources(params):
        path = folder / f"{name}.json"
        if name in names and (not path.is_file() or path.read_text(encoding="utf-8") != _told(source)):
            raise MalformedInput(f"{path}: expected today's code and settings (run `dvc repro models`)")


def _told(source: Source) -> str:
    return json.dumps(source.values(), indent=1, sort_keys=True, default=list)
