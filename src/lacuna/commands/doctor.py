"""What this machine can run. In: nothing. Out: (name, verdict) rows by title, for `lacuna doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path

from lacuna import __version__
from lacuna.params import load_params, plugin, plugin_names
from lacuna.params.plugins import own_plugins
from lacuna.types import MalformedInput

Rows = list[tuple[str, str]]
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
    return {
        "Versions": [("lacuna", __version__), ("python", platform.python_version()), *map(_version, PACKAGES)],
        "Device": _device(),
        "Extractors": [(name, _extractor(name)) for name in plugin_names("extractors")],
        "Models": [(name, "ready") for name in plugin_names("models")],
        "Plug-ins of this project": [(room, ", ".join(names)) for room, names in own_plugins().items() if names],
        "Project": _project(),
    }


def _version(package: str) -> tuple[str, str]:
    try:
        return package, importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return package, "not installed"


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


def _extractor(name: str) -> str:
    """`ready`, or what the extractor lacks with the settings of params.yaml (its defaults where there are none)."""
    module = plugin("extractors", name)
    lacking = [p for p in getattr(module, "REQUIRES", ()) if importlib.util.find_spec(p) is None]
    if lacking:
        return f"lacks {', '.join(lacking)} (pip install lacuna[{name}])"
    try:
        module.Extractor(module.Settings())
    except (MalformedInput, TypeError) as error:
        return f"needs settings or files: {error}"
    return "ready with its defaults"


def _project() -> Rows:
    if not Path("params.yaml").is_file():
        return [("params.yaml", "none here: run from the project's root")]
    try:
        params = load_params()
    except MalformedInput as error:
        return [("params.yaml", str(error))]
    found = ", ".join(f"{d} ({'found' if Path('raw', d).is_dir() else 'no folder raw/' + d})" for d in params.datasets)
    return [("params.yaml", "valid"), ("datasets", found), ("models", ", ".join(params.models))]
