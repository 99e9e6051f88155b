"""One decoder for several readers. In: tasks that read the same stream. Out: its frames, decoded once, to each of them.

Each task runs in a thread of its own, and they go through the stream in step: whoever wants the next frame makes it, no
more than `HELD` frames ahead of the slowest. What a task reads besides (another file, another span, the same once more)
it reads alone. A task waits only for tasks of its own group, so that none can wait for itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lacuna.types import MalformedInput

Item = TypeVar("Item")
Result = TypeVar("Result")

HELD = 4  # frames: pictures of 4K are 25 MB each
_END = object()
_here = threading.local()  # the group of this thread, and its number in it


def together(kind: str, tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """The tasks' results, in order; the streams of `kind` that they read first are read once."""
    group = _Group(kind, len(tasks))
    with ThreadPoolExecutor(max(1, len(tasks))) as pool:
        return list(pool.map(group.run, range(len(tasks)), tasks))


def stream(kind: str, key: Hashable, make: Callable[[], Generator[Item]]) -> Iterator[Item]:
    """The items of `make()`, which other threads of this one's group that ask for the same `key` are given too."""
    group = getattr(_here, "group", None)
    return make() if group is None or group.kind != kind else group.read(key, make)


def once(item: Item, make: Callable[[Item], Result]) -> Result:
    """`make(item)`, which the group's other threads that want it of the same item are given too, one at a time."""
    group = getattr(_here, "group", None)
    return make(item) if group is None else group.once(item, make)


class _Group:
    """Threads that read one stream, and the part of it that not all have read yet."""

    def __init__(self, kind: str, members: int) -> None:
        self.kind, self._making = kind, threading.Lock()
        self._last: deque[tuple[object, Any]] = deque(maxlen=HELD)  # items and what was made of them
        self._changed = threading.Condition()
        self._wanted = dict.fromkeys(range(members), 0)  # the number of the item that each still in it wants next
        self._reading: set[int] = set()
        self._key: Hashable = None
        self._source: Generator[Any] | None = None
        self._held: deque = deque()
        self._first = 0  # number of the first item held
        self._broken = False

    def run(self, member: int, task: Callable[[], Result]) -> Result:
        _here.group, _here.member = self, member
        try:
            return task()
        finally:
            self._leave(member)
            _here.group = None

    def read(self, key: Hashable, make: Callable[[], Generator[Item]]) -> Iterator[Item]:
        member = _here.member
        with self._changed:
            if self._source is None:
                self._key, self._source = key, make()
            first = member not in self._reading
            self._reading.add(member)
        if not first or key != self._key:
            if first:
                self._leave(member)
            yield from make()
            return
        try:
            while (item := self._next(member)) is not _END:
                yield item
        finally:
            self._leave(member)

    def once(self, item: Item, make: Callable[[Item], Result]) -> Result:
        with self._making:
            for other, made in self._last:
                if other is item:
                    return made
            self._last.append((item, make(item)))
            return self._last[-1][1]

    def _next(self, member: int) -> Any:  # noqa: ANN401 (an item, or `_END`)
        with self._changed:
            while self._wanted[member] == self._first + len(self._held):
                if len(self._held) < HELD:
                    self._held.append(self._made())
                    self._changed.notify_all()
                else:
                    self._changed.wait()
            item = self._held[self._wanted[member] - self._first]
            if isinstance(item, Exception):
                raise item
            if item is not _END:  # these two stay, for those that come later
                self._wanted[member] += 1
                self._drop()
            return item

    def _made(self) -> object:
        """The source's next item, or what it failed with: each reader is told the same."""
        broken, self._broken = self._broken, True  # so it remains after an error that is not caught here
        if broken or self._source is None:
            return MalformedInput(
                "expected the frames that another extractor reads too, but their decoder failed there"
            )
        try:
            item = next(self._source, _END)
        except (MalformedInput, OSError) as error:
            return error
        self._broken = False
        return item

    def _leave(self, member: int) -> None:
        """Nobody waits for this one any longer; the last one closes the source."""
        with self._changed:
            self._wanted.pop(member, None)
            self._drop()
            if not self._wanted and self._source is not None:
                self._source.close()

    def _drop(self) -> None:
        while self._held and self._first < min(self._wanted.values(), default=self._first):
            self._held.popleft()
            self._first += 1
        self._changed.notify_all()
