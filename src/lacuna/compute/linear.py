"""Linear layers on a CPU at its full speed. In: what `torch.nn.functional.linear` is given. Out: what it gives.

torch multiplies float32 on a CPU with MKL; the oneDNN that it also carries uses AVX-512 on every processor that has it.
On an AMD EPYC of Zen 4 its products are 1.1 times as fast as MKL's at the widths of BERT and 1.2 at those of LNLN;
`benchmarks/training.py --models lnln --rows mended mended-torch` tells what that is worth in training. The operator has
no public name. So it is used only where it is found, for float32 and products that are large enough; everywhere else
(on a GPU, under autocast, without the operator, for the gradient of weights) torch's own product is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

OPERATOR = "_linear_pointwise"
SMALL = 1 << 25  # multiplications below which the call costs more than it saves


def _product(a_MK: Tensor, b_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """a @ b.T + bias by oneDNN."""
    return getattr(torch.ops.mkldnn, OPERATOR)(a_MK, b_NK, bias_N, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x_MK: Tensor, weight_NK: Tensor, bias_N: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_MK, weight_NK)
        return _product(x_MK, weight_NK, bias_N)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 (torch's stubs know none of its fields)
        gradient_MN: Tensor,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x_MK, weight_NK = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(gradient_MN, weight_NK.t()) if of_x else None,
            gradient_MN.t() @ x_MK if of_weight else None,  # many rows into few: MKL is the faster one
            gradient_MN.sum(0) if of_bias else None,
        )


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`: (..., K) times (N, K) -> (..., N)."""
    if not _gains(input, weight):
        return F.linear(input, weight, bias)
    return _Linear.apply(input.reshape(-1, input.shape[-1]), weight, bias).view(*input.shape[:-1], -1)


def _gains(x: Tensor, weight_NK: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight_NK.dtype == torch.float32
        and x.numel() * len(weight_NK) >= SMALL
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, OPERATOR)
        and not torch.is_autocast_enabled("cpu")
    )


class _FastLinear(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        return (linear if func is F.linear else func)(*args, **(kwargs or {}))


def fast(device: torch.device) -> AbstractContextManager[object]:
    """Within it, every `nn.Linear`, of modules that are not ours too, goes through `linear`; on a CPU alone."""
    return _FastLinear() if device.type == "cpu" else nullcontext()
