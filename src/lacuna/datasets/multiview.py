"""Multi-view MATLAB files. In: raw/<dataset>/<name>.mat with X and gt or Y. Out: a clip a row, and its views' features.

X is a cell array of V views, each (rows, columns) or (columns, rows); gt or Y holds the classes, in any numbering.
View v is the modality `view<v>`, of one frame a row. Such files have no split: it is drawn from the section's seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse
from scipy.io.matlab import MatReadError

from lacuna.prepare.run import Settings
from lacuna.storage.features import Origin
from lacuna.storage.files import reading
from lacuna.types import SPLITS, Clip, FeatureSequence, MalformedInput, Reject

LOOKED_FOR = "<name>.mat with X (a cell array of views) and gt or Y"
CLASSES = ("gt", "Y")
CELLS = 1 << 28  # numbers of a view that comes sparse: 2 GiB


def matches(root: Path) -> bool:
    """One file *.mat."""
    return len(_files(root)) == 1


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.suffix.lower() == ".mat")


def read(root: Path, dataset: str, settings: Settings) -> Iterator[Clip | Reject]:
    """One clip a row, labelled with its class from 0; seeded splits of the sizes `settings.fractions`."""
    path = _files(root)[0]
    classes = read_file(path)[1]
    order = np.random.default_rng(settings.seed).permutation(len(classes))
    ends = np.round(np.cumsum(settings.fractions) * len(classes)).astype(int)
    splits = np.empty(len(classes), object)
    for split, rows in zip(SPLITS, np.split(order, ends[:2])):
        splits[rows] = split
    for name, split, label in zip(_ids(path, len(classes)), splits, classes):
        yield Clip(name, dataset, split, labels={"M": float(label)})


def modalities(root: Path) -> list[str]:
    """The views' names, in the file's order."""
    return _names(len(read_file(_files(root)[0])[0]))


def features(root: Path, modality: str) -> tuple[Origin, Iterator[tuple[str, FeatureSequence]]] | None:
    """The sequences (of one frame) of one view; None for what is no view of the file. A row with NaN is unseen."""
    path = _files(root)[0]
    views, _ = read_file(path)
    names = _names(len(views))
    if modality not in names:
        return None
    view = views[names.index(modality)]
    columns = tuple(f"{modality}_{i}" for i in range(view.shape[1]))
    origin = Origin("multiview", modality, columns, {"file": path.name}, {"multiview": "1"})
    return origin, _sequences(path, view, columns)


def _sequences(path: Path, view: np.ndarray, columns: tuple[str, ...]) -> Iterator[tuple[str, FeatureSequence]]:
    seen = np.isfinite(view).all(1, keepdims=True)
    values = np.where(seen, view, 0).astype(np.float32)
    for name, row, whole in zip(_ids(path, len(view)), values, seen):
        yield name, FeatureSequence(row[None], np.zeros(1), whole, columns)


def _names(count: int) -> list[str]:
    return [f"view{v:0{len(str(count - 1))}d}" for v in range(count)]  # view00 … where there are more than ten


def _ids(path: Path, count: int) -> list[str]:
    return [f"{path.stem}$_${row:0{len(str(count - 1))}d}" for row in range(count)]


def read_file(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """V views (N, D_v) float64, and the (N,) classes 0 … K-1."""
    with reading(path, "a MATLAB file", "save it anew"):
        try:
            content = scipy.io.loadmat(path)
        except NotImplementedError as error:
            raise MalformedInput(f"{path}: expected a MATLAB file before 7.3 (save it with '-v7')") from error
        except MatReadError as error:
            raise MalformedInput(f"{path}: expected a MATLAB file: {error}") from error
    key = next((name for name in CLASSES if name in content), None)
    if key is None or "X" not in content:
        found = ", ".join(name for name in content if not name.startswith("__"))
        raise MalformedInput(f"{path}: expected X and gt or Y, found {found or 'nothing'}")
    classes = _classes(content[key], f"{path}: {key}")
    cells = content["X"].ravel() if content["X"].dtype.hasobject else []
    if not len(cells):
        raise MalformedInput(
            f"{path}: X: expected a cell array of views, got {content['X'].dtype} {content['X'].shape}"
        )
    views = [_checked(view, len(classes), f"{path}: X{{{v + 1}}}") for v, view in enumerate(cells)]
    # A view of as many columns as rows lies as the others do.
    lies = [len(view) != len(classes) for view in views if view.shape[0] != view.shape[1]]
    turned = bool(lies) and all(lies)
    return [view.T if len(view) != len(classes) or turned else view for view in views], classes


def _classes(told: np.ndarray, where: str) -> np.ndarray:
    """(N,) 0 … K-1, in the order of the file's numbers."""
    if not isinstance(told, np.ndarray) or told.dtype.kind not in "fiub" or max(told.shape, default=0) != told.size:
        got = f"{told.dtype} {told.shape}" if hasattr(told, "dtype") else type(told).__name__
        raise MalformedInput(f"{where}: expected one class a row, in numbers, got {got}")
    if not np.isfinite(told).all() or np.unique(told).size < 2:
        raise MalformedInput(f"{where}: expected at least two classes, in finite numbers, got {np.unique(told)[:5]}")
    return np.unique(told.ravel(), return_inverse=True)[1]


def _checked(view: np.ndarray | scipy.sparse.spmatrix, rows: int, where: str) -> np.ndarray:
    """(N, D) or (D, N) float64."""
    if scipy.sparse.issparse(view) and np.prod(view.shape, dtype=float) <= CELLS:
        view = scipy.sparse.csc_matrix(view).toarray()
    if not isinstance(view, np.ndarray):
        raise MalformedInput(f"{where}: expected a matrix of at most {CELLS} numbers, got {type(view).__name__}")
    if view.ndim != 2 or rows not in view.shape or view.dtype.kind not in "fiu" or not view.size:
        raise MalformedInput(f"{where}: expected numbers with {rows} rows or columns, got {view.dtype} {view.shape}")
    return view.astype(np.float64)
