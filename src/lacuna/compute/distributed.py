"""Several processes train as one, on the same global batches. In: each one's rows. Out: all rows, one gradient.

A process computes its own rows of a batch, and `all_rows` of what the loss reads: so terms that couple samples
(moments, pairs of clips, batch norm) are of the whole batch, as in one process. Each then has the same loss;
`sum_gradients` adds up what each contributed. The processes are torchrun's (gloo on CPUs, NCCL on GPUs), joined by
accelerate.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

from lacuna.types import MalformedInput

_counts: list[int] | None = None  # rows of each process in the batch at hand; None where there is one process


def launch(count: int) -> bool:
    """Run this program once more in `count` processes; False where one is enough, or this is one of them."""
    if count == 1 or "WORLD_SIZE" in os.environ:
        return False
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        run.main(["--standalone", f"--nproc-per-node={count}", *sys.argv])
    except ChildFailedError as error:  # its process said why
        sys.exit(f"{sys.argv[0]}: process {error.get_first_failure()[0]} of {count} failed")
    return True


def join(device: torch.device) -> torch.device:
    """Meet the processes that torchrun started, if it did; the device of this one (one GPU each)."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if device.type == "cuda" and here > gpus:
        raise MalformedInput(f"train.processes: expected at most one for each of {gpus} GPUs, got {here}")
    from accelerate import PartialState

    return PartialState(cpu=device.type == "cpu").device


def world() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0; only 0 writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def own_slice(rows: int) -> slice:
    """Which of a batch's rows are this process's to compute. One for which none is left computes the first, which is
    not counted."""
    if world() == 1:
        return slice(None)
    return slice(rank(), None, world()) if rank() < rows else slice(0, 1)


@contextmanager
def sharing(rows: int) -> Iterator[None]:
    """Within it, `all_rows` are those of a batch of `rows`, of which each process has its `own_slice`."""
    global _counts
    if world() > 1:
        _counts = [len(range(r, rows, world())) for r in range(world())]
    try:
        yield
    finally:
        _counts = None


def all_rows(x: Tensor, axis: int = 0) -> Tensor:
    """`x` with the rows of all processes, the same in each; itself where there is one. Gradients go back to their own.

    Every process must call it as often and in the same order.
    """
    return x if _counts is None else _AllRows.apply(x.movedim(axis, 0), _counts).movedim(0, axis)


def own_rows(x: Tensor) -> Tensor:
    """This process's of all rows of `x`."""
    if _counts is None:
        return x
    first = sum(_counts[: rank()])
    return x[first : first + _counts[rank()]] if _counts[rank()] else x[:1]


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of all processes, in each."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if world() > 1 and gradients:
        together = nn.utils.parameters_to_vector(gradients)
        distributed.all_reduce(together)
        nn.utils.vector_to_parameters(together, gradients)


class _AllRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:  # noqa: ANN401 (attributes of any name)
        ctx.counts, ctx.rows = counts, len(x)
        own = counts[rank()]
        padded = x.new_zeros(max(counts), *x.shape[1:])
        padded[:own] = x[:own]
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 (what `forward` put there)
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)  # what every process's loss asks of these rows
        first, own = sum(ctx.counts[: rank()]), ctx.counts[rank()]
        back = gradient.new_zeros(ctx.rows, *gradient.shape[1:])
        back[:own] = gradient[first : first + own]
        return back, None
