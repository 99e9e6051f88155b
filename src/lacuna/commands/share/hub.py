"""Checkpoints and features on a model hub. In: a folder and a repository's name. Out: files there, or here again.

The hub is Hugging Face's, by `huggingface_hub`; where the environment variable LACUNA_HUB names a folder, that folder
is the hub (for tests, and for machines without a network). Of a model two files are fetched, JSON and tensors: nothing
is unpickled and nothing is run.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from lacuna.commands.share.card import dataset_card, model_card
from lacuna.commands.share.parquet import write_parquet
from lacuna.train.checkpoint import read_card
from lacuna.types import MalformedInput

PREFIX = "hf://"
MODEL_FILES = ("model.json", "model.safetensors")
_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def push(folder: Path, repository: str, private: bool = False) -> list[str]:
    """Publish a checkpoint, or the features of processed/<dataset>, with its card; the files' names."""
    name = _named(repository)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        is_model = (folder / MODEL_FILES[0]).is_file()
        (_prepare_model if is_model else _prepare_features)(folder, name, out)
        files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
        _upload(out, name, "model" if is_model else "dataset", private)
    return files


def _prepare_model(folder: Path, name: str, out: Path) -> None:
    card = read_card(folder)
    for file in MODEL_FILES:
        shutil.copyfile(folder / file, out / file)
    (out / "README.md").write_text(model_card(card, folder, name), encoding="utf-8")


def _prepare_features(folder: Path, name: str, out: Path) -> None:
    files = sorted(folder.glob("features/*.h5"))
    if not files:
        raise MalformedInput(f"{folder}: expected a checkpoint (model.json) or features (features/*.h5), found neither")
    written = {file.stem: write_parquet(file, folder, out / file.stem) for file in files}
    (out / "README.md").write_text(dataset_card(folder.name, name, written), encoding="utf-8")


def _upload(folder: Path, name: str, kind: str, private: bool) -> None:
    local = _local()
    if local is not None:
        shutil.copytree(folder, local / name, dirs_exist_ok=True)
        return
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name, repo_type=kind, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, repo_type=kind)
    except OSError as error:  # every answer of the hub that is no success, and a network that is not there
        raise MalformedInput(f"{name}: expected a hub that takes it (hf auth login), it said: {error}") from error


def fetched(source: str) -> Path:
    """The folder of a checkpoint: of "hf://org/name" its two files, fetched once; anything else is a folder already."""
    if not source.startswith(PREFIX):
        return Path(source)
    name, local = _named(source), _local()
    if local is not None:
        return local / name
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(MODEL_FILES)))
    except OSError as error:
        raise MalformedInput(f"{source}: expected a model of the hub, it said: {str(error).splitlines()[0]}") from error


def _named(repository: str) -> str:
    name = repository.removeprefix(PREFIX)
    if not _NAME.fullmatch(name) or ".." in name:
        raise MalformedInput(f"repository: expected <organisation>/<name>, got {repository!r}")
    return name


def _local() -> Path | None:
    """The folder that acts as the hub, where one is named."""
    named = os.environ.get("LACUNA_HUB", "")
    return Path(named) if named else None
