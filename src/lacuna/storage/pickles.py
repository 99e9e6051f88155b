"""Pickles of numpy arrays and builtins. In: such a value, or a pickle of unknown origin. Out: bytes, or the value.

Reading admits numpy arrays, scalars, dtypes and builtin containers, and nothing that could run code. What it takes is
bounded by the file's size: Python's own unpickler is used, whose steps can be counted, with those operations alone that
such values need. Writing gives equal bytes for equal values, and names only what every numpy has (`numpy._core` is
unknown to many readers).
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from lacuna.storage.files import CONTENT, check_digest
from lacuna.types import MalformedInput

_LINE = 4096  # bytes

_CODE = re.compile(r"[<>=|]?([?biufcSUO])\d*")
STEPS = 50_000_000  # most operations of a pickle: values, beside those in arrays
DEPTH = 100  # most containers within each other
_SCALARS = (str, bytes, int, float, complex, bool, type(None), np.generic)
# What a pickle of plain values and arrays is made of: no persistent ids, no extension codes, no instances of classes.
_CODES = b"".join(
    getattr(pickle, name)
    for names in (
        "PROTO FRAME MARK STOP POP POP_MARK REDUCE BUILD GLOBAL STACK_GLOBAL NONE NEWTRUE NEWFALSE",
        "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING",
        "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8",
        "LIST EMPTY_LIST APPEND APPENDS TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 DICT EMPTY_DICT SETITEM SETITEMS",
        "EMPTY_SET ADDITEMS FROZENSET PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET",
    )
    for name in names.split()
)


def load(path: Path) -> object:
    """The value in the file, its arrays read-only; MalformedInput where it holds more than arrays and builtins."""
    path = Path(path)
    if not path.is_file():
        raise MalformedInput(f"{path}: expected a pickle, found no file")
    check_digest(path, "delete it and run `dvc repro export`")
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            return _Resolver().value(_Unpickler(_Bounded(file, size)).load())
    except MalformedInput as error:
        raise MalformedInput(f"{path}: {error}") from error
    except (MemoryError, OverflowError, RecursionError) as error:
        raise MalformedInput(f"{path}: expected a pickle that fits into memory: {error}") from error
    except (pickle.UnpicklingError, *CONTENT) as error:
        raise MalformedInput(f"{path}: expected a whole pickle of numpy arrays: {error!r:.200}") from error


class _Bounded:
    """A file that refuses to read more than is left of it: a length in a pickle is only a claim."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._left:
            raise EOFError(f"{count} bytes where {self._left} are left")
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(_LINE)
        if len(line) == _LINE:
            raise MalformedInput(f"expected lines of less than {_LINE} bytes, found a longer one")
        self._left -= len(line)
        return line


_PYTHONS: Any = pickle._Unpickler  # most of which type checkers do not know of


class _Unpickler(_PYTHONS):
    """Knows these operations and names and no others; `find_class` is the one way for a pickle to reach code."""

    def __init__(self, file: _Bounded) -> None:
        super().__init__(file, encoding="latin1")  # arrays that Python 2 wrote
        self._steps = 0
        self.dispatch = {code: self._step(code) for code in _CODES}

    def _step(self, code: int) -> Callable[[_Unpickler], None]:
        run = _CHECKED.get(code, _PYTHONS.dispatch[code])

        def step(unpickler: _Unpickler) -> None:
            self._steps += 1
            if self._steps > STEPS:
                raise MalformedInput(f"expected at most {STEPS:,} values beside those in arrays, found more")
            run(unpickler)

        return step

    def find_class(self, module: str, name: str) -> object:
        """The type or function of that name; stand-ins for numpy's."""
        if module in ("builtins", "__builtin__") and name in _BUILTINS:
            return _BUILTINS[name]
        if (module.replace("numpy._core", "numpy.core"), name) in _NUMPY:
            return _NUMPY[module.replace("numpy._core", "numpy.core"), name]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise MalformedInput(f"expected a pickle of numpy arrays and builtins only, found {module}.{name}"[:300])

    def load_build(self) -> None:
        """Give an array or a dtype its state: nothing else takes one."""
        if len(self.stack) < 2 or type(self.stack[-2]) not in (_Array, _Dtype):
            raise MalformedInput("expected states of numpy arrays only, found one of something else")
        state = self.stack.pop()
        self.stack[-1].__setstate__(state)

    def load_bytearray8(self) -> None:
        """Read before a place is made for it: its length is only a claim."""
        (count,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(count)))

    def load_setitem(self) -> None:
        """One key and its value."""
        _check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        """Keys and values in turn, above the last mark."""
        _check_keys(self.stack[::2])
        super().load_setitems()

    def load_dict(self) -> None:
        """The same as a new dictionary."""
        _check_keys(self.stack[::2])
        super().load_dict()

    def load_additems(self) -> None:
        """Members of a set."""
        _check_keys(self.stack)
        super().load_additems()

    def load_frozenset(self) -> None:
        """A set of what is above the last mark."""
        _check_keys(self.stack)
        super().load_frozenset()


_CHECKED = {
    code[0]: getattr(_Unpickler, f"load_{name}")
    for code, name in (
        (pickle.BUILD, "build"),
        (pickle.BYTEARRAY8, "bytearray8"),
        (pickle.SETITEM, "setitem"),
        (pickle.SETITEMS, "setitems"),
        (pickle.DICT, "dict"),
        (pickle.ADDITEMS, "additems"),
        (pickle.FROZENSET, "frozenset"),
    )
}


def _check_keys(keys: Iterable[object]) -> None:
    """A tuple of tuples of tuples hashes in exponential time: keys and members are plain."""
    for key in keys:
        if not isinstance(key, _SCALARS):
            raise MalformedInput(f"expected plain keys, found a {type(key).__name__}")


def _plain(kind: type) -> Callable[..., object]:
    """The builtin as pickles call it: of nothing, of numbers or text, or (containers) of a list of plain values."""

    def made(*values: object) -> object:
        for value in values:
            members = value if isinstance(value, list) else [value]
            _check_keys(members)
            if kind in (bytes, bytearray, list, tuple) and isinstance(value, int | np.generic):
                raise MalformedInput(f"expected the content of {kind.__name__}, found {value!r:.20}")
        if kind in (int, float, complex, str) and any(len(v) > _LINE for v in values if isinstance(v, str | bytes)):
            raise MalformedInput(f"expected a {kind.__name__} of at most {_LINE} letters")
        return kind(*values)

    return made


_BUILTINS = {
    t.__name__: _plain(t) for t in (list, dict, set, frozenset, tuple, int, float, complex, bool, str, bytes, bytearray)
}


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
    if encoding not in ("latin1", "latin-1"):
        raise MalformedInput(f"expected bytes as latin1, found {encoding}")
    return text.encode("latin1")


_NUMPY = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
}


class _Resolver:
    """Puts arrays in place of their stand-ins; what stands in several places is made once, and counted each time."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[object, int]] = {}  # and how many values it comes to, written out
        self._depth = 0

    def value(self, value: object) -> object:
        """The value with arrays in it. MalformedInput: too deep, within itself, or endless when written out."""
        return self._counted(value)[0]

    def _counted(self, value: object) -> tuple[object, int]:
        if not isinstance(value, _Array | _Dtype | dict | list | tuple):
            return value, 1
        if id(value) not in self._made:
            self._depth += 1
            if self._depth > DEPTH:
                raise MalformedInput(f"expected containers within each other {DEPTH} deep at most, found more")
            self._made[id(value)] = self._new(value)
            self._depth -= 1
        if self._made[id(value)][1] > STEPS:
            raise MalformedInput(f"expected at most {STEPS:,} values beside those in arrays, found more")
        return self._made[id(value)]

    def _new(self, value: object) -> tuple[object, int]:
        if isinstance(value, _Array):
            return value.built(self.value), 1
        if isinstance(value, _Dtype):
            return value.dtype, 1
        if isinstance(value, dict):
            items = {key: self._counted(item) for key, item in value.items()}
            return {key: item for key, (item, _) in items.items()}, sum(count for _, count in items.values()) + 1
        assert isinstance(value, list | tuple)
        members = [self._counted(item) for item in value]
        return type(value)(item for item, _ in members), sum(count for _, count in members) + 1


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
    """Write a pickle (protocol 4: Python 3.4 and later) whose bytes depend on the value alone. Where it holds `Rows`,
    an array is read from it, which was never in memory."""
    pickler = _Pickler(file, protocol=4)
    pickler.fast = True  # no memo: whether two equal strings are one object must not show
    pickler.dump(value)


class _Pickler(pickle._Pickler):
    """The standard library's own in Python, which, as the one in C, writes large bytes outside of frames."""

    framer: Any  # which type checkers do not know of

    def reducer_override(self, value: object) -> Any:  # noqa: ANN401 (a reduction, or NotImplemented)
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
            super().save(value, save_persistent_id)  # type: ignore[misc]
        elif value.array.nbytes < self.framer._FRAME_SIZE_TARGET:
            super().save(b"".join(value.array.pieces()))  # type: ignore[misc]
        else:
            size = value.array.nbytes
            code, form = (pickle.BINBYTES, "<I") if size < 1 << 32 else (pickle.BINBYTES8, "<Q")
            self.framer.write_large_bytes(code + struct.pack(form, size), b"")
            for piece in value.array.pieces():
                self.framer.file_write(piece)


@dataclass(frozen=True)
class _Content:
    """Stands for the bytes of an array."""

    array: Rows
