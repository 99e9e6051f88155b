"""Batches made ahead. In: a function that makes a batch in given arrays. Out: batches, each while the last is used.

A GPU that waits for its batches is a GPU that idles. So a thread makes the next one while this one is learnt from, into
page-locked arrays that are used again and that the GPU reads by itself. On a CPU, where the thread would only take the
model's core, each batch is made when it is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from typing import Generic, TypeVar

import numpy as np
import torch

from lacuna.data.stores import Room

Asked = TypeVar("Asked")
Made = TypeVar("Made")
AHEAD = 2  # batches that wait


class PinnedRoom(Room):
    """Arrays in page-locked memory, which a GPU reads without the host's help."""

    def allocate(self, size: int) -> np.ndarray:
        return torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy()


class Loader(Generic[Asked, Made]):
    """`make(asked, room)` for each thing asked for, in order, and `place` of what it made.

    `make` works on the host, in a thread where the device is a GPU; `place` moves what was made to the device. An array
    of `room` is used again when the device has read it.
    """

    def __init__(
        self, make: Callable[[Asked, Room], Made], place: Callable[[Made], Made], device: torch.device
    ) -> None:
        self._make, self._place, self._device = make, place, device
        self._rooms = [PinnedRoom() for _ in range(AHEAD + 1)] if device.type == "cuda" else [Room()]
        self._read: dict[int, torch.cuda.Event] = {}

    def __call__(self, asked: Iterable[Asked]) -> Iterator[Made]:
        if self._device.type != "cuda":
            for one in asked:
                yield self._place(self._make(one, self._rooms[0]))
            return
        with ThreadPoolExecutor(1, "lacuna-loader") as thread:
            waiting: deque[tuple[int, Future[Made]]] = deque()
            for number, one in zip(cycle(range(len(self._rooms))), asked):
                waiting.append((number, thread.submit(self._in_room, one, number)))
                if len(waiting) > AHEAD:
                    yield self._placed(*waiting.popleft())
            while waiting:
                yield self._placed(*waiting.popleft())

    def _in_room(self, one: Asked, number: int) -> Made:
        if number in self._read:
            self._read[number].synchronize()
        return self._make(one, self._rooms[number])

    def _placed(self, number: int, made: Future[Made]) -> Made:
        placed = self._place(made.result())
        self._read[number] = torch.cuda.Event()
        self._read[number].record()
        return placed
