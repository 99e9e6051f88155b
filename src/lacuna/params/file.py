"""params.yaml, read. In: the file. Out: `Params`; MalformedInput names the key, what was expected and what came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

from lacuna.params.plugins import validated
from lacuna.params.sections import Params
from lacuna.types import MalformedInput

MOST_BYTES, MOST_DEPTH, MOST_VALUES = 1 << 20, 40, 100_000  # of a file; what people write is a hundredth of it


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml."""
    if not Path(path).is_file():
        raise MalformedInput(f"{path}: expected the settings of the pipeline, found none (run from the project's root)")
    raw = read_yaml(Path(path))
    if not isinstance(raw, dict):
        raise MalformedInput(f"{path}: expected sections (`datasets: [mine]` …), got {type(raw).__name__}")
    return validated(lambda: Params.model_validate(raw), str(path))


def read_yaml(path: Path) -> Any:  # noqa: ANN401 (whatever the file says)
    """A YAML file as DVC reads it (YAML 1.2, no key twice), in bounded time and memory."""
    if path.stat().st_size > MOST_BYTES:
        raise MalformedInput(f"{path}: expected at most {MOST_BYTES} bytes, got {path.stat().st_size}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        _check_depth(text, path)
        raw = _yaml().load(text)
    except UnicodeDecodeError as error:
        raise MalformedInput(f"{path}: expected UTF-8, found byte {error.object[error.start]:#04x}") from error
    except (YAMLError, ValueError) as error:  # ValueError: a date that is none, a number of too many digits
        raise MalformedInput(f"{path}: expected YAML: {' '.join(str(error).split())}") from error
    _check_size(raw, path)
    return raw


def _check_depth(text: str, path: Path) -> None:
    depth = 0
    for event in _yaml().parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise MalformedInput(f"{path}: expected at most {MOST_DEPTH} levels, found more")


def _check_size(raw: object, path: Path) -> None:
    """Few lines of aliases can stand for billions of values, or for values inside themselves."""
    sizes: dict[int, tuple[int, int]] = {}

    def size(value: object) -> tuple[int, int]:
        """How many values there are once every alias is written out, and on how many levels."""
        if not isinstance(value, dict | list):
            return 1, 1
        if id(value) not in sizes:
            sizes[id(value)] = MOST_VALUES, MOST_DEPTH  # what is met again inside itself has no end
            inner = [size(child) for child in (value if isinstance(value, list) else [*value, *value.values()])]
            sizes[id(value)] = 1 + sum(count for count, _ in inner), 1 + max((depth for _, depth in inner), default=0)
        return sizes[id(value)]

    count, depth = size(raw)
    if count > MOST_VALUES or depth > MOST_DEPTH:
        raise MalformedInput(
            f"{path}: expected at most {MOST_VALUES} values on {MOST_DEPTH} levels, found more once aliases are "
            "written out"
        )


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)
