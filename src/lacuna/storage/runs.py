"""What a run of a stage made, kept by what it read. In: dvc.yaml, a stage and its words. Out: its outs, put into place.

Where many machines work for one stage, each keeps what it made; the stage's script, whenever DVC runs it, then has only
to copy it. The key is the content of everything that dvc.yaml names as the run's deps: its code and settings, too.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lacuna.storage.cache import digest_of
from lacuna.storage.files import digest_of_file, filling, is_temporary, known_digest, replacing
from lacuna.types import MalformedInput

STAGES, LOCK = Path("dvc.yaml"), Path("dvc.lock")
SUMS = "SHA256SUMS"  # of what is kept of a run, as `sha256sum --check` reads it


@dataclass(frozen=True)
class Run:
    """One run of a stage: DVC's name for it, the script's words, the files and folders that it reads and writes."""

    stage: str
    name: str
    deps: tuple[Path, ...]
    outs: tuple[Path, ...]

    @staticmethod
    def of(stage: str, words: Iterable[str]) -> Run | None:
        """As dvc.yaml in the working directory has it; None where it has no such run."""
        told = _read(STAGES).get("stages", {}).get(stage, {})
        keys, values = re.findall(r"\$\{item\.(\w+)\}", str(told.get("cmd", ""))), [*words]
        if not keys or len(keys) != len(values):
            return None
        item = dict(zip(keys, values))
        made = [entry for kind in ("outs", "metrics", "plots") for entry in told.get(kind, ())]
        name = "-".join(item[key] for key in told.get("matrix", keys))
        return Run(stage, f"{stage}@{name}", _paths(told.get("deps", ()), item), _paths(made, item))

    def key(self) -> str:
        """SHA-256 over the content of all that the run reads; MalformedInput where some of it is not there."""
        for dep in self.deps:
            if not dep.exists():
                raise MalformedInput(f"{dep}: expected what stage {self.stage} reads, found none (run `dvc repro`)")
        return digest_of(self.name, {dep.as_posix(): _content(dep) for dep in self.deps})

    def place(self, root: Path) -> bool:
        """Put what an equal run made where the stage writes it; False where the cache under `root` has none."""
        if not (root / "runs" / self.stage).is_dir() or not all(dep.exists() for dep in self.deps):
            return False
        kept = self._folder(root)
        if not kept.is_dir():
            return False
        if not (kept / SUMS).is_file() or (kept / SUMS).read_text(encoding="utf-8") != _sums(kept):
            shutil.rmtree(kept, ignore_errors=True)  # a damaged disk: it is made anew
            return False
        for out in self.outs:
            _copy(kept / out, out)
        return True

    def keep(self, root: Path) -> None:
        """Keep what the run made, for a later `place`."""
        with filling(self._folder(root)) as temporary:
            for out in self.outs:
                _copy(out, temporary / out)
            (temporary / SUMS).write_text(_sums(temporary), encoding="utf-8")

    def done(self) -> bool:
        """Whether DVC has the run as done: deps and outs are what dvc.lock says, by its own MD5."""
        told = _read(LOCK).get("stages", {}).get(self.name, {})
        known = {entry["path"]: entry.get("md5") for kind in ("deps", "outs") for entry in told.get(kind, ())}
        files = (*self.deps, *self.outs)
        return known.keys() == {f.as_posix() for f in files} and all(
            file.exists() and _md5(file) == known[file.as_posix()] for file in files
        )

    def _folder(self, root: Path) -> Path:
        return root / "runs" / self.stage / self.key()


def _read(path: Path) -> dict[str, Any]:
    return (YAML(typ="safe").load(path) or {}) if path.is_file() else {}


def _paths(entries: Iterable[str | dict[str, object]], item: dict[str, str]) -> tuple[Path, ...]:
    """The paths of deps or outs, which may have options."""
    names = (entry if isinstance(entry, str) else next(iter(entry)) for entry in entries)
    return tuple(Path(re.sub(r"\$\{item\.(\w+)\}", lambda found: item[found[1]], name)) for name in names)


def _files(folder: Path) -> dict[str, Path]:
    """The files within a folder by their path in it, in order."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not is_temporary(p))
    return {p.relative_to(folder).as_posix(): p for p in files}


def _sums(folder: Path) -> str:
    return "".join(f"{digest_of_file(f)}  {name}\n" for name, f in _files(folder).items() if name != SUMS)


def _content(path: Path) -> object:
    """The digest of a file, or of each file of a folder."""
    return {n: known_digest(file) for n, file in _files(path).items()} if path.is_dir() else known_digest(path)


def _md5(path: Path) -> str:
    """As DVC computes it: of a folder, over a list of its files."""
    if not path.is_dir():
        return digest_of_file(path, "md5")
    entries = [{"md5": digest_of_file(file, "md5"), "relpath": name} for name, file in _files(path).items()]
    listed = json.dumps(entries, sort_keys=True).encode()
    return f"{hashlib.md5(listed, usedforsecurity=False).hexdigest()}.dir"


def _copy(source: Path, target: Path) -> None:
    """A file or folder takes the place of another, whole."""
    if source.is_dir():
        if target.is_dir():
            shutil.rmtree(target)
        with filling(target) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
    else:
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
