"""What a run stood on. In: this machine and checkout. Out: (name, value) facts for the report; no times."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess

from lacuna import __version__

PACKAGES = (
    "torch",
    "transformers",
    "numpy",
    "librosa",
    "ai-edge-litert",
    "opencv-contrib-python",
    "av",
    "scikit-learn",
    "dvc",
)
SOURCES = ("src", "pipeline", "dvc.yaml", "params.yaml")  # what decides results: the lock and scores change by running
UNKNOWN = "not known: not a git checkout"


def facts() -> list[tuple[str, str]]:
    """Code, device and versions, in the order in which they are shown."""
    told = [
        ("Lacuna", __version__),
        ("Commit", commit()),
        ("Device", device()),
        ("Python", platform.python_version()),
        ("System", f"{platform.system()} {platform.machine()}"),
    ]
    return told + [(name, version) for name in PACKAGES if (version := _version(name))]


def commit() -> str:
    """The commit of the checkout in the working directory, and whether sources differ from it."""
    head = _git("rev-parse", "HEAD")
    if not head:
        return UNKNOWN
    return head + (" with local changes" if _git("status", "--porcelain", "--", *SOURCES) else "")


def device() -> str:
    """The accelerator that `auto` takes, or the processor."""
    import torch

    if torch.cuda.is_available():
        return f"CUDA: {torch.cuda.get_device_name(0)}"
    return f"CPU: {os.cpu_count()} cores"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""  # no git, or no checkout
    return done.stdout.strip()
