"""Write what each run of a stage stands on. In: params.yaml and the code. Out: processed/source, files of JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lacuna.params import Params
from lacuna.source.reads import sources
from lacuna.storage.files import replacing


def write_sources(params: Params, folder: Path) -> int:
    """One file a run under `folder`; how many there are. Equal input gives equal bytes."""
    shutil.rmtree(folder, ignore_errors=True)  # a run that is no more leaves nothing behind
    count = 0
    for name, source in sources(params):
        with replacing(folder / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(source.values(), indent=1, sort_keys=True, default=list), encoding="utf-8")
        count += 1
    return count
