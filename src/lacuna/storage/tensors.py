"""Tensors in safetensors files. In: tensors by name and a line of text. Out: the same; errors name the file."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lacuna.storage.files import damaged, reading

LABEL = "lacuna"  # the file's one key of metadata: of several, safetensors writes the order by chance


def write_tensors(path: Path, tensors: Mapping[str, Tensor], note: str = "") -> str:
    """Write the tensors, from any device, with a note and the digest of it all, which is returned."""
    state = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    digest = _digest(state, note)
    try:
        save_file(state, path, {LABEL: f"{digest}\n{note}"})
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        number = int(code.group(1)) if code else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error
    return digest


def read_tensors(path: Path, remedy: str) -> tuple[dict[str, Tensor], str, str]:
    """The tensors, on the CPU, the note and the digest; MalformedInput where they are not what was written.

    A file without a digest (an older Lacuna's, another program's) passes if it can be read.
    """
    kind = "a safetensors file"
    with reading(path, kind, remedy):
        try:
            with safe_open(path, "pt") as file:
                told = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except SafetensorError as error:
            raise damaged(path, kind, error, remedy) from error
    wanted, _, note = told.get(LABEL, "").partition("\n")
    found = _digest(tensors, note)
    if LABEL in told and wanted != found:
        raise damaged(path, f"digest {wanted[:12]}… as it says itself", f"{found[:12]}…", remedy)
    return tensors, note, found


def shapes_of(path: Path, remedy: str) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, of which none is read."""
    with reading(path, "a safetensors file", remedy):
        try:
            with safe_open(path, "pt") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise damaged(path, "a safetensors file", error, remedy) from error


def _digest(tensors: Mapping[str, Tensor], note: str) -> str:
    digest = hashlib.sha256(note.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\0{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
