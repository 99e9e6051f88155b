"""Functions that the documentation would miss. In: the package as griffe read it. Out: the same, with them beside.

`lacuna.extract`, `mask` and `predict` are functions and folders of one name. griffe keeps the folder, so each function
is put beside it under its name and an underscore; the page shows the function's own name.
"""

from __future__ import annotations

from typing import Any

import griffe


class Functions(griffe.Extension):
    """Used by mkdocs.yml."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:  # noqa: ANN401 (griffe hands over more)
        if pkg.name != "lacuna":
            return
        alone = griffe.visit(pkg.name, filepath=pkg.filepath, code=pkg.filepath.read_text(encoding="utf-8"))
        for name, function in alone.functions.items():
            if pkg.members[name].is_module:
                function.parent = pkg
                pkg.members[f"{name}_"] = function
