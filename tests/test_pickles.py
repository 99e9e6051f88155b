"""Arrays that are written while they are made: the bytes are those of Python's own pickler in C."""

import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lacuna.storage.pickles import Rows, dumps_to, load


class Whole(pickle.Pickler):
    """The standard library's pickler in C, with arrays as an empty one and its state."""

    def reducer_override(self, value):
        if isinstance(value, np.ndarray):
            return np.ndarray, ((0,), value.dtype), (1, value.shape, value.dtype, False, value.tobytes())
        return NotImplemented


def written_whole(value) -> bytes:
    file = io.BytesIO()
    pickler = Whole(file, protocol=4)
    pickler.fast = True
    pickler.dump(value)
    return file.getvalue()


def written(value) -> bytes:
    file = io.BytesIO()
    dumps_to(file, value)
    return file.getvalue()


def rows_of(array: np.ndarray) -> Rows:
    return Rows(array.shape, array.dtype, lambda: iter(array))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
shapes = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)
small = arrays.arrays(st.sampled_from([np.float32, np.int64, bool]), shapes)


@settings(max_examples=60, deadline=None)
@given(value=plain, array=small)
def test_bytes_are_those_of_the_pickler_in_c(value, array):
    wanted = written_whole({"value": value, "array": array, "list": [array]})
    assert written({"value": value, "array": array, "list": [array]}) == wanted
    assert written({"value": value, "array": rows_of(array), "list": [rows_of(array)]}) == wanted


@pytest.mark.parametrize("size", [255, 256, 65535, 65536, 65537, 300_000])
def test_large_arrays_stand_outside_of_frames_as_in_c(size):
    array = np.arange(size, dtype=np.uint8).reshape(size, 1)
    content = {"before": "x" * 70, "array": array, "after": list(range(3000))}
    assert written(content | {"array": rows_of(array)}) == written_whole(content)


def test_rows_are_asked_for_while_they_are_written(tmp_path):
    alive: list[int] = []

    def rows():
        for i in range(100):
            alive.append(i)
            yield np.full((1000,), i, np.float32)

    with (tmp_path / "a.pkl").open("wb") as file:
        dumps_to(file, {"a": Rows((100, 1000), np.dtype(np.float32), rows)})
    assert len(alive) == 100
    assert np.array_equal(load(tmp_path / "a.pkl")["a"], np.repeat(np.arange(100.0), 1000).reshape(100, 1000))


def test_too_few_rows_are_an_error():
    with pytest.raises(ValueError, match="expected rows of 400000 bytes"):
        written({"a": Rows((100, 1000), np.dtype(np.float32), lambda: iter([np.zeros(1000)]))})
