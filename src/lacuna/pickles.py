"""Pickles of numpy arrays and builtins. In: such a value, or a pickle of unknown origin. Out: bytes, or the value.

Reading admits numpy arrays, scalars, dtypes and builtin containers, and nothing that could run code. Writing gives
equal bytes for equal values, and names only what every numpy has (`numpy._core` is unknown to many readers).
"""

from __future__ import annotations

import codecs
import io
import pickle
from pathlib import Path

import numpy as np

from lacuna.types import MalformedInput

_NUMPY_CORE = {"numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric"}
_BUILTINS = {
    t.__name__: t for t in (list, dict, set, frozenset, tuple, int, float, complex, bool, str, bytes, bytearray)
}


def load(path: Path) -> object:
    """The value in the file; MalformedInput where it is no pickle, or holds anything but arrays and builtins."""
    if not Path(path).is_file():
        raise MalformedInput(f"{path}: expected a pickle, found no file")
    try:
        with Path(path).open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()  # latin1: arrays that Python 2 wrote
    except MalformedInput as error:
        raise MalformedInput(f"{path}: {error}") from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise MalformedInput(f"{path}: expected a whole pickle of numpy arrays: {error}") from error
    except (MemoryError, OverflowError) as error:
        raise MalformedInput(f"{path}: expected a pickle that fits into memory: {error}") from error


class _Unpickler(pickle.Unpickler):
    """Knows these names and no others; `find_class` is the one way for a pickle to reach code."""

    def find_class(self, module: str, name: str) -> object:
        """The type or function of that name."""
        if module in ("builtins", "__builtin__") and name in _BUILTINS:
            return _BUILTINS[name]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if module in _NUMPY_CORE and name in _FUNCTIONS:
            return _FUNCTIONS[name]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if module == "numpy.dtypes" and isinstance(getattr(np.dtypes, name, None), type):
            return getattr(np.dtypes, name)
        raise MalformedInput(f"expected a pickle of numpy arrays and builtins only, found {module}.{name}")


def _reconstruct(kind: type, shape: tuple[int, ...], code: object) -> np.ndarray:
    if kind is not np.ndarray:
        raise MalformedInput(f"expected arrays of numpy.ndarray, found {kind}")
    return np.ndarray.__new__(np.ndarray, shape, code)


def _scalar(dtype: np.dtype, data: object = None) -> object:
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(data, bytes | str):
        raise MalformedInput(f"expected a plain numpy scalar, found one of {dtype!r}")
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype, 1)[0]


def _frombuffer(buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str, axis: object = None) -> np.ndarray:
    if axis is not None:
        raise MalformedInput(f"expected arrays in C or Fortran order, found axes {axis!r}")
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _encode(text: str, encoding: str = "latin1", *_: object) -> bytes:
    if codecs.lookup(encoding).name != "iso8859-1":
        raise MalformedInput(f"expected bytes as latin1, found {encoding}")
    return text.encode("latin1")


_FUNCTIONS = {"_reconstruct": _reconstruct, "scalar": _scalar, "_frombuffer": _frombuffer}


def dumps_to(file: io.BufferedIOBase, value: object) -> None:
    """Write a pickle (protocol 4: Python 3.4 and later) whose bytes depend on the value alone."""
    pickler = _Pickler(file, protocol=4)
    pickler.fast = True  # no memo: whether two equal strings are one object must not show
    pickler.dump(value)


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: object) -> object:
        """Arrays as an empty ndarray and its state, which needs no function of numpy's inner modules."""
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return np.ndarray, ((0,), value.dtype), (1, value.shape, value.dtype, False, value.tobytes())
        return NotImplemented
