"""A process that has imported what the stages import and forks for each run. In: a script's words. Out: its end.

A run then takes the time of its own work: a kill falls into that, and not into the seconds that imports take.
`python warm.py` is the process itself: a line of JSON for each run comes in, its pid and then its end go out.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import resource
import runpy
import subprocess
import sys
import threading
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Done:
    """Exit status (negative: the signal) and what was said."""

    returncode: int
    stderr: str


class Warm(AbstractContextManager):
    """Runs scripts one after the other, each in a session of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        words = [sys.executable, __file__]
        pipe = subprocess.PIPE
        self._server = subprocess.Popen(words, env=environment, stdin=pipe, stdout=pipe, text=True)

    def start(self, folder: Path, words: list[str], limit: int | None = None) -> int:
        """Begin a run in a folder, in which no file may grow beyond `limit` bytes; its pid, and its session's."""
        self._server.stdin.write(json.dumps([str(folder), words, limit]) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def wait(self) -> Done:
        """The end of the run that was started."""
        return Done(*json.loads(self._server.stdout.readline()))

    def run(self, folder: Path, words: list[str], limit: int | None = None) -> Done:
        self.start(folder, words, limit)
        return self.wait()

    def __exit__(self, *_: object) -> None:
        self._server.stdin.close()
        self._server.wait(60)


def of_session(session: int) -> list[int]:
    """Processes of a session that are no zombies."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, its = place.read_text().rpartition(")")[2].split()[:4]
            found += [int(place.parent.name)] * (int(its) == session and state != "Z")
    return found


def _serve() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what imports say is no reply
    import lacuna

    for module in pkgutil.walk_packages(lacuna.__path__, "lacuna."):
        with suppress(ImportError):
            importlib.import_module(module.name)
    from conftest import compile_librosa

    compile_librosa()
    for line in sys.stdin:
        folder, words, limit = json.loads(line)
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            replies.close()
            os.close(reader)
            _become(folder, words, limit, writer)
            return
        os.close(writer)
        print(json.dumps(pid), file=replies)
        said: list[str] = []
        listening = threading.Thread(target=_listen, args=(reader, said), daemon=True)
        listening.start()
        _, status = os.waitpid(pid, 0)
        listening.join(20)  # longer only where an orphan holds the pipe
        print(json.dumps([os.waitstatus_to_exitcode(status), "".join(said)]), file=replies)


def _listen(pipe: int, said: list[str]) -> None:
    with os.fdopen(pipe, errors="replace") as stream:
        said.append(stream.read())


def _become(folder: str, words: list[str], limit: int | None, stderr: int) -> None:
    """The script, as if Python had been started with it."""
    os.setsid()
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream, place in ((nothing, 0), (nothing, 1), (stderr, 2)):
        os.dup2(stream, place)
    if limit is not None:
        sys.dont_write_bytecode = True  # see test_machine.room_for
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
    runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    _serve()
