"""Sizes of a model before it is built. In: what builds it, and its weights' shapes on disk. Out: an error, or none.

model.json may come from a stranger: a width in it is believed only where the weights have it too. The model is built on
torch's device `meta` first, where tensors have shapes and no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from lacuna.data.batches import InputSpec
from lacuna.types import MalformedInput

VALUES = 1 << 28  # most values of one modality of one clip: 1 GiB
BUFFERS = 1 << 28  # bytes of tables that a model makes for itself
UNSAVED = 2000  # most tensors beside those on disk: of a text encoder that is read from its source

Shapes = Mapping[str, tuple[int, ...]]


def check_spec(spec: InputSpec, where: Path) -> None:
    """MalformedInput where a clip of these widths and lengths could not be held."""
    for modality, width in spec.widths.items():
        length = spec.lengths.get(modality, 1)
        if min(width, length) < 1 or width * length > VALUES:
            expected = f"{modality}: expected a width and a length of at least 1 and {VALUES:,} values at most"
            raise MalformedInput(f"{where}: {expected}, got {width} and {length}")


def check_sizes(build: Callable[[], nn.Module], saved: Shapes, where: Path) -> None:
    """MalformedInput unless `build()` makes a model with tensors of the shapes that are `saved`."""
    with _at_most(len(saved) + UNSAVED, where), torch.device("meta"):
        try:
            model = build()
        except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MalformedInput(f"{where}: expected settings that a model can be built with: {told}") from error
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name in shapes.keys() & saved.keys():
        if shapes[name] != saved[name]:
            raise MalformedInput(f"{where}: expected {name} of the saved shape {saved[name]}, got {shapes[name]}")
    kept = {id(value) for value in model.state_dict(keep_vars=True).values()}
    made = sum(value.nbytes for value in model.buffers() if id(value) not in kept)
    made += sum(v.nbytes for n, v in model.state_dict().items() if n not in saved and not n.startswith("text_encoder."))
    if made > BUFFERS:
        raise MalformedInput(f"{where}: expected tables of at most {BUFFERS:,} bytes, got {made:,}")


@contextmanager
def _at_most(count: int, where: Path) -> Iterator[None]:
    """Within it, a model that has more parameters than that is given up: a billion layers would take for ever."""
    left = count

    def counted(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise MalformedInput(f"{where}: expected a model of at most {count} tensors, as its weights have them")

    handle = register_module_parameter_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()
