"""What stands behind `lacuna serve`. In: an uploaded file and words. Out: its features, or why it has none; answers.

Files of strangers are read in a process of their own, which is killed when it takes too long and made anew when a file
kills it. Neither the file nor anything made of it stays on disk, also where the server is killed: the next one sweeps.
"""

from __future__ import annotations

import multiprocessing
import shutil
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import av

from lacuna.compute.processes import die_with_parent, kill
from lacuna.figures.overlay import preview
from lacuna.media import decode
from lacuna.predict.answers import Answer, Question
from lacuna.predict.features import Given
from lacuna.predict.run import Predictor
from lacuna.stages import told
from lacuna.storage.scratch import Scratch
from lacuna.types import Clip, MalformedInput

WAITING = 3  # uploads that may wait while another is read
# What a model may raise on a clip that it was not made for
FAILURES = (RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, AssertionError, MemoryError)


SHOWN = 60.0  # s of an upload that can be played beside the answer


@dataclass(frozen=True)
class Limits:
    """Of an upload: its size, its length, and how long reading it may take."""

    megabytes: float = 200.0
    seconds: float = 120.0
    patience: float = 90.0  # s

    def __post_init__(self) -> None:
        if min(self.megabytes, self.seconds, self.patience) <= 0:
            raise MalformedInput(f"limits: expected numbers above 0, got {self}")

    @property
    def bytes(self) -> int:
        return int(self.megabytes * 1e6)


class Desk:
    """Takes uploads and answers for them."""

    def __init__(
        self, checkpoint: Path, limits: Limits, device: str = "auto", use: Mapping[str, str] | None = None
    ) -> None:
        self.predictor = Predictor(checkpoint, device, use=use)
        self.limits = limits
        self._scratch = Scratch("lacuna-serve")
        self.folder = self._scratch.path
        self._reader = _Reader(checkpoint, self.folder / "features", limits, dict(use or {}))
        self._model, self._places = threading.Lock(), threading.Semaphore(1 + WAITING)

    def place(self, name: str) -> Path:
        """Where an upload of that name is to be put: its own name is a stranger's, only the suffix is kept."""
        suffix = Path(name).suffix.lower()
        return self.folder / (uuid.uuid4().hex + (suffix if suffix[1:].isalnum() and len(suffix) <= 6 else ""))

    def take(self, path: Path, name: str, question: Question) -> Given:
        """Features of the file at `path`, which is deleted whatever happens."""
        try:
            self._check_size(path)
            given = self._read(path, question)
        except (MalformedInput, OSError) as error:
            raise MalformedInput(told(error).replace(str(path), name)) from error
        finally:
            path.unlink(missing_ok=True)
        return replace(given, sample=replace(given.sample, clip=replace(given.sample.clip, path=Path(name))))

    def example(self, clip: Clip, question: Question) -> Given:
        """Features of a clip of the model's own data set, whose file stays where it is."""
        if clip.path is None:
            raise MalformedInput(f"{clip.id}: expected a clip with a file")
        return self._read(clip.path, replace(question, start=clip.start, end=clip.end))

    def _check_size(self, path: Path) -> None:
        size, most = path.stat().st_size, self.limits.megabytes
        if size > self.limits.bytes:
            raise MalformedInput(f"{path}: expected at most {most:g} MB, got {size / 1e6:.1f} MB")

    def _read(self, path: Path, question: Question) -> Given:
        if not self._places.acquire(blocking=False):
            raise MalformedInput(f"{path}: expected at most {WAITING} files to wait for one; try again in a minute")
        try:
            return self._reader.read(path, question)
        finally:
            self._places.release()

    def answer(self, given: Given, question: Question) -> Answer:
        """What the model says, with what the sliders took away."""
        with self._model:
            try:
                return self.predictor.answer(given, question)
            except FAILURES as error:
                raise MalformedInput(f"the model failed: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """End the reader and leave nothing behind."""
        self._reader.stop()
        self._scratch.close()


class _Reader:
    """A process that makes features of files, one at a time."""

    def __init__(self, checkpoint: Path, cache: Path, limits: Limits, use: dict[str, str]) -> None:
        self._made_of = (checkpoint, cache, limits.seconds, use)
        self._cache, self._patience = cache, limits.patience
        self._lock = threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._line: Connection | None = None

    def read(self, path: Path, question: Question) -> Given:
        with self._lock:
            line = self._started()
            try:
                line.send((path, question))
                if not line.poll(self._patience):
                    self.stop()
                    raise MalformedInput(
                        f"{path}: expected to be read within {self._patience:g} s, gave it up (`lacuna serve "
                        "--max-seconds` sets how long it may take)"
                    )
                result = line.recv()
            except (EOFError, OSError) as error:
                self.stop()
                raise MalformedInput(f"{path}: expected a readable file, but reading it killed the reader") from error
            finally:
                shutil.rmtree(self._cache, ignore_errors=True)
        if isinstance(result, Given):
            return result
        raise MalformedInput(result)

    def _started(self) -> Connection:
        if self._line is None or self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("spawn")  # a fork would inherit the server's threads in mid-step
            self._line, theirs = context.Pipe()
            self._process = context.Process(target=_work, args=(theirs, *self._made_of), daemon=True)
            self._process.start()
            theirs.close()
        return self._line

    def stop(self) -> None:
        if self._process is not None:
            kill(self._process)
            self._process.join()
            self._process = None
        if self._line is not None:
            self._line.close()
            self._line = None


def _work(line: Connection, checkpoint: Path, cache: Path, seconds: float, use: dict[str, str]) -> None:
    """The reader's loop: a file and a question in, features or a sentence out. Anything unforeseen ends the process."""
    die_with_parent()
    predictor = Predictor(checkpoint, "cpu", cache, use)
    while True:
        try:
            path, question = line.recv()
        except EOFError:
            return
        try:
            if not decode.is_picture(path) and question.end is None:  # an end: a short clip of a long video
                _check_length(path, seconds)
            line.send(_with_preview(predictor.read(path, question), path))
        except (MalformedInput, OSError, MemoryError) as error:
            line.send(told(error))


def _with_preview(given: Given, path: Path) -> Given:
    """With a small copy to play beside the answer, its face drawn over it."""
    if decode.is_picture(path) or not decode.probe(path).video:
        return given
    clip = given.sample.clip
    end = min(clip.start + SHOWN, clip.start + given.seconds)
    return replace(given, preview=preview(clip, end, given.sample.features.get("vision")))


def _check_length(path: Path, seconds: float) -> None:
    """MalformedInput where the file is longer, whatever its header says: its packets are looked at, none is decoded."""
    length = decode.probe(path).duration
    if length <= seconds:
        first, last = float("inf"), 0.0
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
            for packet in container.demux():
                if packet.pts is None or packet.time_base is None:
                    continue
                first = min(first, float(packet.pts * packet.time_base))
                last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if last - first > seconds + 1:  # a last packet may be longer than what it holds
                    break
        length = max(length, last - first) if last - first > seconds + 1 else length
    if length > seconds:
        raise MalformedInput(f"{path}: expected at most {seconds:g} s, got {length:.1f} s or more")
