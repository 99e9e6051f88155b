"""What the user put into raw/<dataset>. In: that folder. Out: clips whose media can be read, and rejects with reasons.

Each module of lacuna/datasets knows one layout:
- `LOOKED_FOR`: the layout in words, told when no module finds its own;
- `matches(root) -> bool`: whether raw/<dataset> has it;
- `read(root, dataset, settings) -> Iterator[Clip | Reject]`: in their order; MalformedInput where none can be read;
- `check(clip) -> tuple[str, ...] | None` (optional): MalformedInput unless the clip's media can be read, else what is
  odd about them and yet no fault; called for many clips at once;
- `features(root, modality) -> (Origin, Iterator[(clip id, FeatureSequence)]) | None` (optional): given features, with
  modality "tokens" for token ids, "text" for embeddings, "audio", "vision" or "image";
- `modalities(root) -> list[str]` (optional): names of modalities that no extractor has;
- `classes(settings) -> tuple[str, ...]` (optional): names of the classes that labels count;
- `SPEAKERS = True` (optional): the layout knows who speaks, and heeds `settings.speakers_apart`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Protocol

from tqdm import tqdm

from lacuna.params.plugins import plugin, plugin_names
from lacuna.storage.features import NOTHING, Origin
from lacuna.types import Clip, FeatureSequence, MalformedInput, Reject, counted

__all__ = ["Clip", "Reject", "Settings", "given_features", "layout_of", "prepare"]


class Settings(Protocol):
    """What layouts ask of the section `prepare` of params.yaml."""

    @property
    def label_range(self) -> tuple[float, float]: ...

    @property
    def seed(self) -> int: ...

    @property
    def fractions(self) -> tuple[float, float, float]: ...

    @property
    def encoding(self) -> str: ...

    @property
    def speakers_apart(self) -> bool: ...

    @property
    def target(self) -> str: ...


def layouts() -> list[ModuleType]:
    """Every layout, by name."""
    return [plugin("datasets", name) for name in plugin_names("datasets")]


def layout_of(root: Path) -> ModuleType:
    """The module that knows the layout of `root`; MalformedInput where none or more than one does."""
    if not root.is_dir():
        raise MalformedInput(f"{root}: expected the folder of a dataset, found none")
    known = layouts()
    matching = [module for module in known if module.matches(root)]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(map(name_of, matching))
    found = f"more than one ({names})" if matching else f"none of them ({_contents(root)})"
    choices = "; or ".join(module.LOOKED_FOR for module in known)
    raise MalformedInput(f"{root}: expected one layout among: {choices}. Found {found}")


def name_of(layout: ModuleType) -> str:
    """The name of a layout's file."""
    return layout.__name__.rpartition(".")[2]


def refuse_links(root: Path) -> None:
    """MalformedInput where a folder within `root` is a link: DVC does not look behind it, and misses all changes there.

    `root` itself may be one, and so may files: those DVC follows.
    """
    for folder, folders, _ in os.walk(root):
        for name in sorted(folders):
            path = Path(folder, name)
            if path.is_symlink():
                raise MalformedInput(
                    f"{path}: expected a folder, got a link to {os.readlink(path)}, behind which DVC sees no change: "
                    f"move the folder here, or make {root} itself the link"
                )


def check_within(folder: Path, root: Path, key: str) -> None:
    """MalformedInput unless a folder of the user's own files lies in raw/<dataset>, all of whose content DVC knows."""
    if not folder.resolve().is_relative_to(root.resolve()):
        raise MalformedInput(f"{key}: expected a folder within {root}, where DVC sees its changes, got {folder}")


def _contents(root: Path) -> str:
    names = sorted(path.name + "/" * path.is_dir() for path in root.iterdir())
    return "it holds " + (", ".join(names[:8]) + ", …" * (len(names) > 8) if names else "nothing")


def classes_of(layout: ModuleType, settings: Settings) -> list[str]:
    """Names of the classes that a layout's labels count; none where they are scores, or have no names."""
    return list(layout.classes(settings)) if hasattr(layout, "classes") else []


def prepare(root: Path, dataset: str, settings: Settings, workers: int | str = 1) -> tuple[list[Clip], list[Reject]]:
    """The clips of raw/<dataset> in its order, and what was refused. The same with any number of workers."""
    refuse_links(root)
    layout = layout_of(root)
    if settings.speakers_apart and not getattr(layout, "SPEAKERS", False):
        raise MalformedInput(f"prepare.speakers_apart: expected false, because {root} does not say who speaks")
    records = list(layout.read(root, dataset, settings))
    checked = list(_checked(records, getattr(layout, "check", None), workers))
    _tell(dataset, checked)
    clips = [outcome for outcome, _ in checked if isinstance(outcome, Clip)]
    return clips, [outcome for outcome, _ in checked if isinstance(outcome, Reject)]


Check = Callable[[Clip], tuple[str, ...] | None]
Checked = tuple[Clip | Reject, tuple[str, ...]]  # a record, and what is odd about its media


def _tell(dataset: str, checked: Iterable[Checked]) -> None:
    odd: dict[str, list[str]] = {}
    for record, remarks in checked:
        for remark in remarks:
            odd.setdefault(remark, []).append(record.id)
    for remark, ids in odd.items():
        print(f"{dataset}: {counted(len(ids), 'clip')}: {remark} (the first: {ids[0]})")


def _checked(records: list[Clip | Reject], check: Check | None, workers: int | str) -> Iterator[Checked]:
    if check is None:
        yield from ((record, ()) for record in records)
        return
    count = (os.cpu_count() or 1) if workers == "auto" else int(workers)
    # Reading headers and a few frames is FFmpeg's work, done outside the interpreter's lock: threads are enough.
    with ThreadPoolExecutor(count) as pool:
        verdicts = pool.map(partial(_verdict, check), records)
        yield from tqdm(verdicts, "checked", len(records), unit="clip", mininterval=0.1 if sys.stderr.isatty() else 10)


def _verdict(check: Check, record: Clip | Reject) -> Checked:
    if isinstance(record, Reject):
        return record, ()
    try:
        return record, check(record) or ()
    except MalformedInput as error:
        file = record.path.as_posix() if record.path else ""
        return Reject(record.id, file, str(error).removeprefix(f"{record.path}: ")), ()


def given_features(
    root: Path, dataset: str, extractor: str
) -> tuple[Origin, Iterator[tuple[str, FeatureSequence]]] | None:
    """What raw/<dataset> itself gives in place of an extractor's work; None where the extractor is to do it.

    It is for a folder of media, and for text that comes as words only. Sound or pictures that are not given cannot be
    had otherwise: no frames. `extractor` may also name a modality of the layout's own (`view0`).
    """
    layout = layout_of(root)
    if not hasattr(layout, "features"):
        return None
    if extractor in getattr(layout, "modalities", lambda _: ())(root):
        return layout.features(root, extractor)
    module = plugin("extractors", extractor)
    tokens = module.MODALITY == "text" and getattr(module, "DTYPE", "float32") == "int64"
    given = layout.features(root, "tokens" if tokens else module.MODALITY)
    if given is None and module.MODALITY != "text":
        return Origin("given", module.MODALITY, NOTHING, {}, {}), iter(())
    return given
