"""The examples of docs/extending.md as plug-ins of these tests, so that they are put through every room's contract.

Importing this module writes them into a folder of this process and adds it to the rooms' search paths.
"""

from __future__ import annotations

import importlib
import re
import tempfile
from pathlib import Path

from lacuna.params.plugins import ROOMS

PAGE = (Path(__file__).parents[1] / "docs/extending.md").read_text(encoding="utf-8")
FILES: dict[str, str] = dict(re.findall(r"`plugins/(\w+/\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.S))
_KEPT = tempfile.TemporaryDirectory(prefix="examples")

for name, content in FILES.items():
    path = Path(_KEPT.name, name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding="utf-8")
for room in ROOMS:
    importlib.import_module(f"lacuna.{room}").__path__.append(str(Path(_KEPT.name, room)))
