"""Local processes that work on items. In: a picklable function. Out: its results, and `Lost` where a worker died.

A worker that dies is replaced, and its item tried again while nothing else runs. Workers end with the process that
started them, however that ends, and take along whatever they started themselves.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, InvalidStateError, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_first
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from lacuna.compute.engine import Engine, lost, too_slow
from lacuna.types import MalformedInput

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

    Context: TypeAlias = ForkServerContext | SpawnContext


class Processes(AbstractContextManager):
    """Local processes, each looked after by a thread."""

    def __init__(self, function: Callable, workers: int, engine: Engine) -> None:
        self._packed, self.workers, self._engine = pickle.dumps(function), workers, engine
        self._context = starting(getattr(function, "preload", ()))
        self._threads = ThreadPoolExecutor(workers)
        self._mine = threading.local()
        self._started: list[Worker] = []
        self._running, self._alone = threading.Semaphore(workers), threading.Lock()
        self._closed = False
        self._failed: Future = Future()  # done as soon as any item has raised

    def submit(self, item: object) -> Future:
        ticket = self._threads.submit(self._done, item)
        ticket.add_done_callback(self._note)
        return ticket

    def _note(self, ticket: Future) -> None:
        error = None if ticket.cancelled() else ticket.exception()
        if error is not None:
            with suppress(InvalidStateError):  # the first one is told
                self._failed.set_exception(error)

    def done(self, ticket: Future) -> bool:
        return ticket.done()

    def result(self, ticket: Future) -> object:
        """The item's result; what any item raised, whichever comes first: it ends the run, so none need wait for it."""
        wait_for_first([ticket, self._failed], return_when=FIRST_COMPLETED)
        return (self._failed if self._failed.done() else ticket).result()

    def _done(self, item: object) -> object:
        """The item's result; where its worker dies, tried again while no other runs."""
        try:
            with self._running:
                return self._asked(item)
        except DiedError as error:
            died = error
        retries = max(1, self._engine.retries)
        with self._alone, ExitStack() as stack:
            for _ in range(self.workers):
                stack.enter_context(self._running)
            for _ in range(retries):
                try:
                    return self._asked(item)
                except DiedError as error:
                    died = error
        return lost(retries + 1, died.why, died.machine)

    def _asked(self, item: object) -> object:
        if self._closed:
            raise CancelledError
        if not hasattr(self._mine, "worker"):
            self._mine.worker = Worker(self._packed, self._context)
            self._started.append(self._mine.worker)
        return self._mine.worker.ask(item, self._engine.limit)

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._closed = True
        if kind is not None:
            for worker in list(self._started):  # all at once: each may take its time
                worker.terminate()
        for worker in list(self._started):
            worker.end(at_once=kind is not None)
        self._threads.shutdown(cancel_futures=True)
        _await_fork_server()


def starting(preload: Sequence[str] = ()) -> Context:
    """How workers start: each anew, because children forked from this process would inherit its threads in mid-step.

    Where there are modules to `preload`, which start no thread, workers are forked from a process that imports them
    once. It begins to now, beside this one.
    """
    # One thread a worker: two threads each on a busy machine are slower than one.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if not preload or sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*preload])
    forkserver.ensure_running()
    return context


def _await_fork_server() -> None:
    """Let the process that workers were forked from end: only then do its memory and time, and theirs, count as this
    one's children's. Python has no public name for it; without, they are not counted."""
    stop = getattr(getattr(forkserver, "_forkserver", None), "_stop", None)
    if stop is not None:
        stop()


class DiedError(Exception):
    """A worker died. Its exit status tells why, and whether that was done to it from outside."""

    def __init__(self, code: int | None) -> None:
        self.machine = code is not None and code in (-signal.SIGTERM, -getattr(signal, "SIGKILL", 9))
        name = signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"
        self.why = f"{name}: killed, as for want of memory" if self.machine else f"{name}: a crash in a library"
        super().__init__(code)  # which is what a pickled one is made of again


class Worker:
    """A process that holds the function; when it has died, the next item starts another. For one thread."""

    def __init__(self, packed: bytes, context: Context) -> None:
        self._packed, self._context = packed, context
        self._process: multiprocessing.process.BaseProcess | None = None
        self._line: Connection | None = None

    def ask(self, item: object, limit: float | None) -> object:
        """function(item), or what it raised; `Lost` when it has worked on the item for `limit` s; DiedError."""
        try:
            line = self._line or self._start()
            line.send(item)
            if not line.poll(limit):
                self.end(at_once=True)
                return too_slow(limit or 0)
            answer = line.recv()
        except (EOFError, ConnectionError) as error:
            raise DiedError(self.end(at_once=False)) from error
        if isinstance(answer, _Raised):
            raise answer.error
        return answer

    def _start(self) -> Connection:
        self._line, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs, self._packed), daemon=True)
        self._process.start()
        theirs.close()
        self._line.recv()  # it has loaded the function: from here on time counts
        return self._line

    def terminate(self) -> None:
        """Ask the process to end: it removes what it was writing."""
        process = self._process
        if process is not None and process.pid is not None:
            process.terminate()

    def end(self, at_once: bool) -> int | None:
        """Let the process end, or end it, with all that it started; its exit status."""
        process, line, self._process, self._line = self._process, self._line, None, None
        if process is None or line is None:
            return None
        if at_once:
            process.terminate()
        else:
            line.close()  # it reads no further item
        process.join(5)
        kill(process)
        process.join()
        line.close()
        return process.exitcode


@dataclass(frozen=True)
class _Raised:
    error: Exception


def _serve(line: Connection, packed: bytes) -> None:
    """A worker: items in, results out. What is no fault of an item or the machine ends it, with its traceback."""
    die_with_parent()
    signal.signal(signal.SIGTERM, _end)
    try:
        _answer(line, packed)
    except _TerminatedError:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)  # for whoever asks how it ended


class _TerminatedError(BaseException):
    """The process was asked to end: what it was writing is removed on the way out."""


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would disturb the removing
    raise _TerminatedError


def _answer(line: Connection, packed: bytes) -> None:
    """Results for items, until there are no more."""
    failed: _Raised | None = None
    try:
        function = pickle.loads(packed)
    except (MalformedInput, OSError) as error:
        failed = _Raised(error)
    line.send(None)
    with suppress(EOFError):
        while True:
            item = line.recv()
            try:
                answer = failed or function(item)
            except (MalformedInput, OSError, MemoryError) as error:
                answer = _Raised(error)
            line.send(answer)


def die_with_parent() -> None:
    """In a process that multiprocessing started: it ends, with all that it starts, when its parent is gone."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        _kill_group(os.getpid())


def kill(process: multiprocessing.process.BaseProcess) -> None:
    """End a process that called `die_with_parent`, and all that it started."""
    if process.pid is not None:
        _kill_group(process.pid)
    process.kill()  # where it was not yet the head of its group


def _kill_group(pid: int) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    elif pid == os.getpid():
        os._exit(1)
