"""What this machine can run. In: nothing. Out: (name, verdict) rows by title, for `lacuna doctor`.

Nothing is downloaded: weights that are not on this machine yet are told as such.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lacuna import __version__
from lacuna.params import Params, load_params, plugin, plugin_names, plugin_settings
from lacuna.params.plugins import own_plugins
from lacuna.types import MalformedInput

Rows = list[tuple[str, str]]
NOT_FOR_USERS = ("", "dev", "docs", "test")
ABSENT = "not installed"
PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "librosa",
    "opencv-contrib-python",
    "av",
    "h5py",
    "dvc",
    "ai-edge-litert",
)


def examine() -> dict[str, Rows]:
    """Everything `lacuna doctor` prints."""
    params, told = _params()
    with _offline():
        extractors = [(name, _extractor(name, params)) for name in plugin_names("extractors")]
    return {
        "Versions": [("lacuna", __version__), ("python", platform.python_version()), *map(_version, PACKAGES)],
        "Device": _device(),
        "Extractors": extractors,
        "Models": [("ready", ", ".join(plugin_names("models")))],
        "Optional parts": _extras(),
        "Plug-ins of this project": [(room, ", ".join(names)) for room, names in own_plugins().items() if names],
        "Project": told if params is None else _project(params),
    }


def _version(package: str) -> tuple[str, str]:
    try:
        return package, importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return package, ABSENT


def _extras() -> Rows:
    """The extras that users install by name: ready, or what to type and what that brings."""
    needs: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("lacuna") or ():
        need, _, extra = line.partition("; extra == ")
        if (name := extra.strip("'\"")) not in NOT_FOR_USERS:
            needs.setdefault(name, []).append(re.split(r"[^\w.-]", need, maxsplit=1)[0])
    lacking = {name: [p for p in packages if _version(p)[1] == ABSENT] for name, packages in needs.items()}
    return [
        (name, f"pip install 'lacuna[{name}]'  (brings {', '.join(packages)})" if packages else "ready")
        for name, packages in lacking.items()
    ]


def _device() -> Rows:
    import torch

    rows = [("cores", str(os.cpu_count())), ("cuda", "none: models train on the CPU")]
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        rows[1] = (
            "cuda",
            f"{device.name}, {device.total_memory / 2**30:.0f} GiB, bf16 {torch.cuda.is_bf16_supported()}",
        )
    return rows


@contextmanager
def _offline() -> Iterator[None]:
    """Within it, no host is found: libraries use what is here, or say at once that it is not."""

    def nowhere(*_: object, **__: object) -> list:
        raise socket.gaierror("lacuna doctor downloads nothing")

    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}  # read when these are first imported
    found, socket.getaddrinfo = socket.getaddrinfo, nowhere
    try:
        yield
    finally:
        socket.getaddrinfo = found


def _extractor(name: str, params: Params | None) -> str:
    """`ready`, or what the extractor lacks with the settings of params.yaml (its defaults where there are none)."""
    values = {} if params is None or not params.datasets else params.extract.plain_settings(name, params.datasets[0])
    try:
        plugin("extractors", name).Extractor(plugin_settings("extractors", name, values))
    except (MalformedInput, TypeError, OSError) as error:
        told = " ".join(str(error).split()).removeprefix(f"extractors.{name}: ")
        return f"needs settings or files: {told}"
    return "ready with params.yaml's settings" if values else "ready with its defaults"


def _params() -> tuple[Params | None, Rows]:
    """params.yaml, or why there is none."""
    if not Path("params.yaml").is_file():
        return None, [("params.yaml", "none here: run from the project's root")]
    try:
        return load_params(), []
    except MalformedInput as error:
        return None, [("params.yaml", str(error))]


def _project(params: Params) -> Rows:
    found = ", ".join(f"{d} ({'found' if Path('raw', d).is_dir() else 'no folder raw/' + d})" for d in params.datasets)
    return [("params.yaml", "valid"), ("datasets", found), ("models", ", ".join(params.models))]
