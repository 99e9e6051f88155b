"""Pickles of numpy arrays and builtins. In: such a value, or a pickle of unknown origin. Out: bytes, or the value.

Reading admits numpy arrays, scalars, dtypes and builtin containers, and nothing that could run code. Writing gives
equal bytes for equal values, and names only what every numpy has (`numpy._core` is unknown to many readers).
"""

from __future__ import annotations

import codecs
import io
import math
import pickle
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lacuna.types import MalformedInput

_CODE = re.compile(r"[<>=|]?([?biufcSUO])\d*")
_BUILTINS = {
    t.__name__: t for t in (list, dict, set, frozenset, tuple, int, float, complex, bool, str, bytes, bytearray)
}


def load(path: Path) -> object:
    """The value in the file, its arrays read-only; MalformedInput where it holds more than arrays and builtins."""
    if not Path(path).is_file():
        raise MalformedInput(f"{path}: expected a pickle, found no file")
    try:
        with Path(path).open("rb") as file:
            return _resolved(_Unpickler(file, encoding="latin1").load())  # latin1: arrays that Python 2 wrote
    except MalformedInput as error:
        raise MalformedInput(f"{path}: {error}") from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise MalformedInput(f"{path}: expected a whole pickle of numpy arrays: {error}") from error
    except (MemoryError, OverflowError, RecursionError) as error:
        raise MalformedInput(f"{path}: expected a pickle that fits into memory: {error}") from error


class _Unpickler(pickle.Unpickler):
    """Knows these names and no others; `find_class` is the one way for a pickle to reach code."""

    def find_class(self, module: str, name: str) -> object:
        """The type or function of that name; stand-ins for numpy's."""
        if module in ("builtins", "__builtin__") and name in _BUILTINS:
            return _BUILTINS[name]
        if (module, name) in _NUMPY or (module.replace("numpy._core", "numpy.core"), name) in _NUMPY:
            return _NUMPY[module.replace("numpy._core", "numpy.core"), name]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise MalformedInput(f"expected a pickle of numpy arrays and builtins only, found {module}.{name}")


class _Dtype:
    """Stands for numpy.dtype, whose own __setstate__ believes anything and can break numpy's types for good."""

    def __init__(self, code: str, *_: object) -> None:
        if not (isinstance(code, str) and _CODE.fullmatch(code)):
            raise MalformedInput(f"expected arrays of numbers, strings or objects, found {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if len(state) < 5 or state[1] not in ("<", ">", "=", "|") or any(part is not None for part in state[2:5]):
            raise MalformedInput(f"expected plain arrays, found the dtype state {state!r}")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for numpy.ndarray until all that it holds has been read."""

    def __init__(self, *_: object) -> None:
        self.value: np.ndarray | None = None
        self.state: tuple | None = None

    def __setstate__(self, state: tuple) -> None:
        *_, shape, dtype, fortran, data = state
        self.state = shape, dtype.dtype, "F" if fortran else "C", data

    def built(self, resolve: Callable[[object], object]) -> np.ndarray:
        if self.value is None:
            if self.state is None:
                raise MalformedInput("expected an array's content, found none")
            shape, dtype, order, data = self.state
            if dtype.hasobject:
                flat = np.empty(len(data), object)
                for i, item in enumerate(data):
                    flat[i] = resolve(item)
            else:
                flat = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype)
            self.value, self.state = flat.reshape(shape, order=order), None
        return self.value


def _reconstruct(kind: type, *_: object) -> _Array:
    if kind is not _Array:
        raise MalformedInput(f"expected arrays of numpy.ndarray, found {kind}")
    return _Array()


def _scalar(dtype: _Dtype, data: bytes | str = b"") -> object:
    if dtype.dtype.hasobject or not isinstance(data, bytes | str):
        raise MalformedInput(f"expected a plain numpy scalar, found one of {dtype.dtype}")
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype.dtype, 1)[0]


def _frombuffer(buffer: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str, axis: object = None) -> _Array:
    if axis is not None or dtype.dtype.hasobject:
        raise MalformedInput(f"expected arrays in C or Fortran order, found {dtype.dtype} with axes {axis!r}")
    array = _Array()
    array.state = shape, dtype.dtype, order, buffer
    return array


def _encode(text: str, encoding: str = "latin1", *_: object) -> bytes:
    if codecs.lookup(encoding).name != "iso8859-1":
        raise MalformedInput(f"expected bytes as latin1, found {encoding}")
    return text.encode("latin1")


_NUMPY = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
}


def _resolved(value: object) -> object:
    """The value with arrays in place of their stand-ins."""
    if isinstance(value, _Array):
        return value.built(_resolved)
    if isinstance(value, _Dtype):
        return value.dtype
    if isinstance(value, dict):
        return {key: _resolved(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_resolved(item) for item in value)
    return value


@dataclass(frozen=True)
class Rows:
    """An array that is made while it is written: its shape, its type, and what makes its rows, in order, anew."""

    shape: tuple[int, ...]
    dtype: np.dtype
    rows: Callable[[], Iterable[np.ndarray]]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, in C order, row after row."""
        written = 0
        for row in self.rows():
            piece = np.ascontiguousarray(row, self.dtype).tobytes()
            written += len(piece)
            yield piece
        if written != self.nbytes:
            raise ValueError(f"expected rows of {self.nbytes} bytes for an array {self.shape}, got {written}")


def dumps_to(file: io.BufferedIOBase, value: object) -> None:
    """Write a pickle (protocol 4: Python 3.4 and later) whose bytes depend on the value alone. Where it holds `Rows`, an
    array is read from it, which was never in memory."""
    pickler = _Pickler(file, protocol=4)
    pickler.fast = True  # no memo: whether two equal strings are one object must not show
    pickler.dump(value)


class _Pickler(pickle._Pickler):
    """The standard library's own in Python, which, as the one in C, writes large bytes outside of frames."""

    def reducer_override(self, value: object) -> object:
        """Arrays as an empty ndarray and its state, which needs no function of numpy's inner modules."""
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            # An array of the caller's is bytes already; `Rows` is where its bytes will stand.
            return np.ndarray, ((0,), value.dtype), (1, value.shape, value.dtype, False, value.tobytes())
        if isinstance(value, Rows):
            return np.ndarray, ((0,), value.dtype), (1, value.shape, value.dtype, False, _Content(value))
        return NotImplemented

    def save(self, value: object, save_persistent_id: bool = True) -> None:
        """As the standard library's, but for bytes that are not there yet."""
        if not isinstance(value, _Content):
            super().save(value, save_persistent_id)
        elif value.array.nbytes < self.framer._FRAME_SIZE_TARGET:
            super().save(b"".join(value.array.pieces()))
        else:
            size = value.array.nbytes
            code = pickle.BINBYTES + struct.pack("<I", size) if size < 1 << 32 else pickle.BINBYTES8 + struct.pack("<Q", size)
            self.framer.write_large_bytes(code, b"")
            for piece in value.array.pieces():
                self.framer.file_write(piece)


@dataclass(frozen=True)
class _Content:
    """Stands for the bytes of an array."""

    array: Rows
