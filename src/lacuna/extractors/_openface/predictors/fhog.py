"""Felzenszwalb's histograms of oriented gradients, as dlib computes them. In: 112 x 112 pictures. Out: 4464 numbers.

Source: Felzenszwalb, Girshick, McAllester, Ramanan (2010), Object detection with discriminatively trained part-based
models, section 6; cells of 8 px, 18 signed and 9 unsigned orientations and 4 energies for each of the 12 x 12 inner
cells. Of three channels the one with the longest gradient counts, on a tie blue before green before red.
"""

from __future__ import annotations

from functools import cache

import numpy as np

SIDE, CELL = 112, 8
CELLS = SIDE // CELL
ORIENTATIONS = 18
CLIP, TINY = 0.2, 0.0001
ENERGY = 0.2357
WIDTH = (CELLS - 2) ** 2 * 31
_SPAN = 255  # a gradient of bytes lies within -255..255


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Orientation 0..17 and length of gradients, by (down + 255) * 511 + right + 255."""
    steps = np.arange(-_SPAN, _SPAN + 1)
    down, right = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
    turns = np.radians(20.0 * np.arange(ORIENTATIONS // 2))
    along = right[:, None] * np.cos(turns).round(4) + down[:, None] * np.sin(turns).round(4)
    both = np.stack([along, -along], axis=-1).reshape(len(along), -1).astype(np.float32)
    best = both.argmax(axis=1)
    return (best // 2 + ORIENTATIONS // 2 * (best % 2)).astype(np.int32), np.hypot(right, down)


@cache
def _shares() -> np.ndarray:
    """(14, 110): the share of each inner row (or column) of pixels that each cell takes."""
    place = (np.arange(1, SIDE - 1) + 0.5) / CELL - 0.5
    return np.maximum(0.0, 1 - np.abs(place - np.arange(CELLS)[:, None]))


def describe(pictures: np.ndarray) -> np.ndarray:
    """(T, 112, 112, 3) uint8 RGB -> (T, 4464): index (row * 12 + column) * 31 + feature."""
    return np.concatenate([_features(_histogram(picture)) for picture in pictures]).reshape(len(pictures), -1)


def _histogram(picture: np.ndarray) -> np.ndarray:
    """Lengths of gradients by cell and orientation (14, 14, 18) of one picture."""
    values = picture[..., ::-1].astype(np.int32)  # blue first
    right = values[1:-1, 2:] - values[1:-1, :-2]
    down = values[2:, 1:-1] - values[:-2, 1:-1]
    best = (right**2 + down**2).argmax(axis=2)[..., None]
    right, down = (np.take_along_axis(axis, best, axis=2)[..., 0] for axis in (right, down))
    orientations, lengths = _table()
    entry = ((down + _SPAN) * (2 * _SPAN + 1) + right + _SPAN).ravel()
    length = lengths[entry]
    there = np.flatnonzero(length)
    rows, columns = np.divmod(there, SIDE - 2)
    slot = rows * ORIENTATIONS + orientations[entry[there]]
    # across the columns first: each pixel adds to two cells; then the rows as one product
    cell, share = _columns()
    width = (SIDE - 2) * ORIENTATIONS
    across = np.zeros((CELLS + 2) * width)
    for i in range(2):
        index = cell[i, columns] * width + slot
        across += np.bincount(index, length[there] * share[i, columns], len(across))
    across = across.reshape(CELLS + 2, SIDE - 2, ORIENTATIONS)[1:-1]
    return np.einsum("rp,cpo->rco", _shares(), across)


@cache
def _columns() -> tuple[np.ndarray, np.ndarray]:
    """The two cells (2, 110), counted from one before the first, that each column adds to, and its shares of them."""
    place = (np.arange(1, SIDE - 1) + 0.5) / CELL - 0.5
    left = np.floor(place)
    share = place - left
    return np.stack([left + 1, left + 2]).astype(int), np.stack([1 - share, share])


def _features(histogram: np.ndarray) -> np.ndarray:
    """(12, 12, 31) of cells and orientations (14, 14, 18)."""
    half = ORIENTATIONS // 2
    unsigned = histogram[..., :half] + histogram[..., half:]
    energy = np.square(unsigned).sum(axis=2)
    blocks = energy[:-1, :-1] + energy[1:, :-1] + energy[:-1, 1:] + energy[1:, 1:]
    length = np.sqrt(blocks + TINY)  # (13, 13)
    inner = histogram[1:-1, 1:-1], unsigned[1:-1, 1:-1]
    norms = length[1:, 1:], length[:-1, 1:], length[1:, :-1], length[:-1, :-1]
    signed, plain = ([np.minimum(part / norm[..., None], CLIP) for norm in norms] for part in inner)
    energies = np.stack([ENERGY * part.sum(axis=2) for part in signed], axis=-1)
    return np.concatenate([0.5 * sum(signed), 0.5 * sum(plain), energies], axis=2)
