"""Arrays of one shape, appended and read back by number: on disk where they are many. In, out: float32 arrays."""

from __future__ import annotations

from tempfile import SpooledTemporaryFile

import numpy as np

IN_MEMORY = 1 << 18  # bytes; a clip of some seconds never sees the disk


class Rows:
    """`rows[i]` is an array of `shape`, `rows[a:b]` is (n, *shape): what a long clip needs again, but not at once."""

    def __init__(self, *shape: int) -> None:
        self._file = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (it goes when its clip does)
        self._shape, self._size, self._count = shape, 4 * int(np.prod(shape)), 0

    def extend(self, rows: np.ndarray) -> None:
        """Add rows (n, *shape)."""
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(rows, np.float32).data.cast("B"))
        self._count += len(rows)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: int | slice) -> np.ndarray:
        if isinstance(at, int):
            at = at + len(self) if at < 0 else at
            if at >= len(self):
                raise IndexError(at)  # what ends a loop over rows
            return self[at : at + 1][0]
        first, last, _ = at.indices(len(self))
        self._file.seek(first * self._size)
        read = bytearray(self._file.read((last - first) * self._size))
        return np.frombuffer(read, np.float32).reshape(-1, *self._shape)
