"""The folder AU_predictors of an OpenFace copy. In: its path. Out: a shape model, triangles, and linear predictors.

Text files hold matrices (rows, columns, an OpenCV type, then the values); `.dat` files hold one predictor each: little
endian, a kind, then matrices of float64 and a few numbers. A file that is missing or damaged is named.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lacuna.types import MalformedInput

POINTS, MODES = 68, 34
LISTS = {False: "main_dynamic_svms.txt", True: "main_static_svms.txt"}  # videos, photos
DESCRIPTOR = 12 * 12 * 31  # FHOG values before the geometry
_SVR, _DYNAMIC_SVR, _SVM, _DYNAMIC_SVM = 0, 1, 4, 5
_DOUBLES = 6  # OpenCV's number for float64


@dataclass(frozen=True)
class Shape:
    """mean (68, 3) mm, modes (M, 68, 3), variances (M,)."""

    mean: np.ndarray
    modes: np.ndarray
    variances: np.ndarray


@dataclass(frozen=True)
class Predictor:
    """y = (x - mean) . weights + bias, less the clip's median of x where `dynamic`.

    An intensity has a `cutoff` (-1: none); a presence `labels`, for a positive y and otherwise.
    """

    unit: int
    dynamic: bool
    mean: np.ndarray
    weights: np.ndarray
    bias: float
    cutoff: float = -1.0
    labels: tuple[float, float] | None = None


@dataclass(frozen=True)
class Predictors:
    """What a folder holds, and what identifies it."""

    shape: Shape
    triangles: np.ndarray  # (n, 3) int
    all: tuple[Predictor, ...]
    sha256: str


def read(folder: Path, static: bool = False) -> Predictors:
    """The predictors for videos, or with `static` those for single pictures."""
    main = folder / LISTS[static]
    named = dict(line.split(None, 1) for line in _lines(main) if len(line.split(None, 1)) == 2)
    missing = [key for key in ("AUPredictor", "PDM", "Triangulation") if key not in named]
    if missing:
        raise MalformedInput(f"{main}: expected lines for AUPredictor, PDM and Triangulation, {missing} missing")
    listed, pdm, triangles = (folder / _path(named[key]) for key in ("AUPredictor", "PDM", "Triangulation"))
    shape = _shape(pdm)
    pairs = [line.split(None, 1) for line in _lines(listed)]
    if not pairs or any(len(pair) < 2 for pair in pairs):
        raise MalformedInput(f"{listed}: expected lines `path.dat AU01`, got {pairs[:1] or 'none'}")
    width = DESCRIPTOR + 3 * POINTS + len(shape.modes)
    files = [folder / _path(pair[0]) for pair in pairs]
    found = tuple(_predictor(file, pair[1], width) for file, pair in zip(files, pairs))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in (main, listed, pdm, triangles, *files)))
    return Predictors(shape, _triangles(triangles), found, digest.hexdigest())


def _path(written: str) -> Path:
    return Path(written.strip().replace("\\", "/"))


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in _content(path).decode("utf-8", "replace").splitlines() if line.strip()]


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise MalformedInput(
            "face: au_predictors: expected OpenFace's whole folder AU_predictors (the Windows package without action "
            f"units lacks a part of it), found no {path}"
        )
    return path.read_bytes()


def _matrices(path: Path, count: int) -> list[np.ndarray]:
    """The first `count` matrices of a text file."""
    words = iter(word for line in _lines(path) if not line.startswith("#") for word in line.split())
    try:
        found = []
        for _ in range(count):
            rows, columns, _ = (int(next(words)) for _ in range(3))
            values = np.array([float(next(words)) for _ in range(rows * columns)])
            found.append(values.reshape(rows, columns))
    except (StopIteration, RuntimeError, ValueError) as error:
        raise MalformedInput(f"{path}: expected {count} matrices of numbers, the file ends or breaks off") from error
    return found


def _shape(path: Path) -> Shape:
    mean, modes, variances = _matrices(path, 3)
    if (
        len(mean) != 3 * POINTS
        or modes.shape != (3 * POINTS, MODES)
        or not (variances.size == MODES and variances.all())
    ):
        raise MalformedInput(
            f"{path}: expected a shape model of {POINTS} points and {MODES} modes, got matrices {mean.shape}, "
            f"{modes.shape}, {variances.shape}"
        )
    by_point = modes.T.reshape(-1, 3, POINTS).swapaxes(1, 2)
    return Shape(mean.reshape(3, POINTS).T, np.ascontiguousarray(by_point), variances.ravel())


def _triangles(path: Path) -> np.ndarray:
    found = _matrices(path, 1)[0].astype(int)
    if found.shape[1] != 3 or found.min() < 0 or found.max() >= POINTS:
        raise MalformedInput(f"{path}: expected triangles of points 0..{POINTS - 1}, got a matrix {found.shape}")
    return found


def _predictor(path: Path, name: str, width: int) -> Predictor:
    reader = _Reader(path)
    unit, kind = name.strip().removeprefix("AU"), reader.number("i")
    if not unit.isdigit():
        raise MalformedInput(f"{path}: expected a name such as AU01 beside it, got {name!r}")
    if kind not in (_SVR, _DYNAMIC_SVR, _SVM, _DYNAMIC_SVM):
        raise MalformedInput(f"{path}: expected an SVR or SVM of OpenFace (kind 0, 1, 4 or 5), got kind {kind}")
    cutoff = reader.number("d") if kind == _DYNAMIC_SVR else -1.0
    mean, weights = reader.vector(width), reader.vector(width)
    bias = reader.number("d")
    labels = (reader.number("d"), reader.number("d")) if kind in (_SVM, _DYNAMIC_SVM) else None
    reader.end()
    return Predictor(int(unit), kind in (_DYNAMIC_SVR, _DYNAMIC_SVM), mean, weights, bias, cutoff, labels)


class _Reader:
    """A `.dat` file from its start to its end."""

    def __init__(self, path: Path) -> None:
        self._path, self._content, self._at = path, _content(path), 0

    def number(self, kind: str) -> int | float:
        """The next int32 ("i") or float64 ("d")."""
        return struct.unpack(f"<{kind}", self._take(struct.calcsize(kind)))[0]

    def vector(self, width: int) -> np.ndarray:
        """The next matrix, which must hold `width` float64."""
        rows, columns, kind = (self.number("i") for _ in range(3))
        if rows * columns != width or kind != _DOUBLES:
            raise MalformedInput(f"{self._path}: expected {width} numbers, got {rows} x {columns} of type {kind}")
        found = np.frombuffer(self._take(8 * width), "<f8")
        if not np.isfinite(found).all():
            raise MalformedInput(f"{self._path}: expected finite numbers, got others among the {width}")
        return found

    def end(self) -> None:
        if self._at != len(self._content):
            raise MalformedInput(f"{self._path}: expected {self._at} bytes, got {len(self._content)}")

    def _take(self, count: int) -> bytes:
        taken = self._content[self._at : self._at + count]
        if len(taken) < count:
            raise MalformedInput(f"{self._path}: expected {self._at + count} bytes or more, got {len(self._content)}")
        self._at += count
        return taken
