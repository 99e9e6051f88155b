"""Plug-ins by name. In: a room (`datasets`, `extractors`, `patterns`, `models`) and a name. Out: the file of that name.

A file `plugins/<room>/<name>.py` in the project's folder is found like one of the package.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from lacuna.types import MalformedInput

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PlainSettings = dict[str, Any]  # settings of one plug-in, checked by the plug-in's own dataclass
ROOMS = ("datasets", "extractors", "patterns", "models")
MOST_SHOWN = 80  # characters of a refused value
Value = TypeVar("Value")
Settings = TypeVar("Settings", bound="DataclassInstance")


def own_folder(room: str) -> str:
    """The folder of the user's own plug-ins of a room, which each room adds to its search path."""
    return str(Path("plugins", room).absolute())


def plugin(room: str, name: str) -> ModuleType:
    """The module `lacuna.<room>.<name>`, of the package or of the user's own folder."""
    require_names(room, [name], plugin_names(room))
    return importlib.import_module(f"lacuna.{room}.{name}")


def plugin_names(room: str) -> list[str]:
    """The names a room offers; MalformedInput where one of the user's own is a name that the package has."""
    ours, *others = (_names_in(folder) for folder in importlib.import_module(f"lacuna.{room}").__path__)
    own = {name for names in others for name in names}
    if both := sorted(own & ours):
        raise MalformedInput(f"plugins/{room}/{both[0]}.py: expected a name that lacuna/{room} does not have")
    return sorted(own | ours)


def package_names(room: str) -> list[str]:
    """The names of a room's files in the package itself."""
    return sorted(_names_in(importlib.import_module(f"lacuna.{room}").__path__[0]))


def own_plugins() -> dict[str, list[str]]:
    """{room: names} of the user's own plug-ins."""
    return {room: sorted(_names_in(own_folder(room))) for room in ROOMS}


def _names_in(folder: str) -> set[str]:
    modules = (m for m in pkgutil.iter_modules([folder]) if not m.ispkg)
    return {m.name for m in modules if not m.name.startswith("_")}


def plugin_settings(room: str, name: str, values: PlainSettings, dataset: str = "") -> object:
    """`values` as the plug-in's own `Settings`."""
    return checked(plugin(room, name).Settings, merged(values, dataset), f"{room}.{name}")


def checked(settings: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """A settings dataclass from plain values, types checked and unknown keys refused."""
    refuse_unknown(values, [f.name for f in fields(settings)], where)
    return validated(lambda: TypeAdapter(settings).validate_python(dict(values)), where)


def merged(values: Mapping[str, Any], dataset: str) -> PlainSettings:
    """Settings with their `per_dataset` changes for one dataset put in."""
    own = {key: value for key, value in values.items() if key != "per_dataset"}
    return own | values.get("per_dataset", {}).get(dataset, {})


def require_names(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    """MalformedInput, with the nearest name, unless all `names` of a list in params.yaml are `known`."""
    known = list(known)
    for name in names:
        if name not in known:
            raise MalformedInput(f"{where}: expected {_choice(known)}; got {name!r}{_guess(name, known)}")


def refuse_unknown(values: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """MalformedInput, with the nearest key, unless all keys of a section are `known`."""
    known = list(known)
    for key in values:
        if key not in known:
            raise MalformedInput(f"{where}.{key}: expected {_choice(known)}{_guess(key, known)}")


def _choice(known: list[str]) -> str:
    return f"one of {', '.join(known)}" if known else "nothing here"


def _guess(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(str(word), known, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def validated(make: Callable[[], Value], where: str) -> Value:
    """What `make` gives; the first thing that pydantic refuses as one line."""
    try:
        return make()
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(told := first.get("ctx", {}).get("error"), MalformedInput):
            raise MalformedInput(f"{where}: {told}") from error
        key, found = ".".join(map(str, first["loc"])), repr(first["input"])
        found = found if len(found) <= MOST_SHOWN else f"{found[:MOST_SHOWN]}…"
        raise MalformedInput(f"{where}: {key}: {first['msg'].removeprefix('Value error, ')}; got {found}") from error
