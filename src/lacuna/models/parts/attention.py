"""Attention whose weights are dropped out, and dropout itself. In: queries, keys, values. Out: what the queries read.

On a CPU torch fuses attention only where nothing is dropped; otherwise it keeps several (B, H, T, S) tables for the
backward pass. Here the table is made a few queries at a time, in the cache, and again for the gradient, unless there
are few queries in all; keys that no query of a group may see are left out. B samples, H heads, T queries, S keys, E
width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_NARROW = 32  # heads below this width are faster here than in torch's fused kernel, with a gradient
_QUERIES = 64  # at a time
_TABLE = 1 << 18  # numbers in a table, of as many samples as that allows


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """`F.dropout`; on a CPU a random byte decides for each value (rates in 256ths), three times as fast as torch."""
    if not training or rate == 0 or x.device.type != "cpu":
        return F.dropout(x, rate, training)
    lost = round(256 * rate)
    return x * ((_bytes(x.shape) >= lost) * _scale(lost))


def attention(
    q_BHTE: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, allowed_BHTS: Tensor | None, rate: float, ahead: int | None = None
) -> Tensor:
    """(B, H, T, E): softmax(q·k / √E)·v over the keys that are `allowed`, its weights dropped at `rate`.

    H and T of `allowed` may be 1. None: each query reads the keys up to its own place. `ahead`, where it is known,
    promises that no query t is allowed a key later than t + `ahead`.
    """
    narrow = q_BHTE.shape[-1] < _NARROW and torch.is_grad_enabled()
    if q_BHTE.device.type != "cpu" or not (rate or narrow):
        causal = allowed_BHTS is None
        return F.scaled_dot_product_attention(q_BHTE, k_BHSE, v_BHSE, allowed_BHTS, rate, is_causal=causal)
    shape_BHTS = (*q_BHTE.shape[:3], k_BHSE.shape[2])
    if allowed_BHTS is None:
        ahead = 0
    else:
        allowed_BHTS = allowed_BHTS.expand(shape_BHTS[0], -1, *shape_BHTS[2:])
    how, bytes_BHTS = _How(round(256 * rate), ahead), _bytes(shape_BHTS) if rate else None
    return _Dropped.apply(q_BHTE, k_BHSE, v_BHSE, allowed_BHTS, bytes_BHTS, how)


def _bytes(shape: tuple[int, ...]) -> Tensor:
    """Random bytes, eight to a random number."""
    count, range_ = torch.Size(shape).numel(), torch.iinfo(torch.int64)
    return torch.randint(range_.min, range_.max, (count // 8 + 1,)).view(torch.uint8)[:count].view(shape)


def _scale(lost: int) -> float:
    return 256 / max(1, 256 - lost)


@dataclass(frozen=True)
class _How:
    """Below which random byte a weight is lost, and how many keys ahead a query may see."""

    lost: int
    ahead: int | None


@dataclass(frozen=True)
class _Group:
    """Some samples, some of their queries, and how many keys these may see; G samples × heads, t queries, s keys."""

    samples: slice
    queries: slice
    keys: int

    def of_queries(self, x_BHET: Tensor) -> Tensor:
        """(G, E, t)."""
        return x_BHET[self.samples].flatten(0, 1)[..., self.queries]

    def of_keys(self, x_BHES: Tensor) -> Tensor:
        """(G, E, s)."""
        return x_BHES[self.samples].flatten(0, 1)[..., : self.keys]

    def of_table(self, x_BHTS: Tensor) -> Tensor:
        """(samples, H, t, s)."""
        return x_BHTS[self.samples, :, self.queries, : self.keys]


class _Tables:
    """Every (G, t, s) table of a call, group by group in the same memory: to ask for more costs more than to fill it.

    Heads are so narrow that products are fast only with the width first: queries, keys and values are (B, H, E, ·).
    """

    def __init__(
        self,
        q_BHET: Tensor,
        k_BHES: Tensor,
        hides: tuple[Tensor | None, Tensor | None],
        how: _How,
        made: Tensor | None = None,
    ) -> None:
        """`made`: the whole weights (B, H, T, S) that an earlier call left in `whole`, where there are few queries."""
        self._q, self._k, self._how = q_BHET, k_BHES, how
        self._allowed, self._bytes = hides
        self.groups = list(_groups(q_BHET.shape, k_BHES.shape[3], how.ahead))
        most = max(self._shape(group).numel() for group in self.groups)
        self._memory = q_BHET.new_empty(3, most)
        self.whole, self._made = made, made is not None
        if made is None and q_BHET.shape[3] <= _QUERIES:
            self.whole = q_BHET.new_empty(*q_BHET.shape[:2], q_BHET.shape[3], self.groups[0].keys)

    def _shape(self, group: _Group) -> torch.Size:
        rows, _, queries = group.of_queries(self._q).shape
        return torch.Size((rows, queries, group.keys))

    def _table(self, number: int, group: _Group) -> Tensor:
        shape = self._shape(group)
        return self._memory[number, : shape.numel()].view(shape)

    def weights(self, group: _Group) -> tuple[Tensor, Tensor]:
        """Softmax of the scores that are allowed, whole and with what is lost."""
        weights = self._table(1, group) if self.whole is None else self.whole[group.samples].flatten(0, 1)
        if not self._made:
            self._fill(weights, group)
        if self._bytes is None:
            return weights, weights
        # A byte less the last one that loses, cut at 0 and 1, is 0 or 1: fewer cycles than a comparison takes.
        kept = self._table(2, group)
        kept.view(-1, self._q.shape[1], *kept.shape[1:]).copy_(group.of_table(self._bytes))
        return weights, kept.sub_(self._how.lost - 1).clamp_(0, 1).mul_(weights)

    def _fill(self, weights: Tensor, group: _Group) -> None:
        scores = self.product(group.of_queries(self._q), group.of_keys(self._k), group)
        if self._allowed is None:
            own = scores[..., group.queries]
            own += torch.full(own.shape[1:], -torch.inf).triu(1)
        else:
            hidden = torch.where(group.of_table(self._allowed), 0.0, -torch.inf)
            scores.view(-1, self._q.shape[1], *scores.shape[1:]).add_(hidden)
        torch.softmax(scores, -1, out=weights)

    def product(self, x: Tensor, y: Tensor, group: _Group) -> Tensor:
        """(G, E, t) and (G, E, s) -> (G, t, s)."""
        return torch.bmm(x.transpose(1, 2), y, out=self._table(0, group))


def _groups(shape: torch.Size, keys: int, ahead: int | None) -> Iterator[_Group]:
    batch, heads, _, frames = shape
    for start in range(0, frames, _QUERIES):
        end = min(start + _QUERIES, frames)
        seen = keys if ahead is None else min(keys, end + ahead)
        step = max(1, _TABLE // (heads * (end - start) * seen))
        for first in range(0, batch, step):
            yield _Group(slice(first, min(first + step, batch)), slice(start, end), seen)


class _Dropped(torch.autograd.Function):
    """softmax(q·kᵀ / √E)·v with weights lost where `bytes_BHTS` are below `how.lost`."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any,  # noqa: ANN401 (attributes of any name)
        q_BHTE: Tensor,
        k_BHSE: Tensor,
        v_BHSE: Tensor,
        allowed_BHTS: Tensor | None,
        bytes_BHTS: Tensor | None,
        how: _How,
    ) -> Tensor:
        q, k, v = _wide(q_BHTE * q_BHTE.shape[-1] ** -0.5), _wide(k_BHSE), _wide(v_BHSE)
        tables, read = _Tables(q, k, (allowed_BHTS, bytes_BHTS), how), torch.empty_like(q)
        for group in tables.groups:
            _, lossy = tables.weights(group)
            group.of_queries(read).copy_(group.of_keys(v) @ lossy.transpose(1, 2))
        read *= _scale(how.lost)
        ctx.how = how
        ctx.save_for_backward(q, k, v, allowed_BHTS, bytes_BHTS, read, tables.whole)
        return read.transpose(2, 3)

    @staticmethod
    @once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, gradient_BHTE: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # noqa: ANN401
        q, k, v, allowed_BHTS, bytes_BHTS, read, whole = ctx.saved_tensors
        tables = _Tables(q, k, (allowed_BHTS, bytes_BHTS), ctx.how, whole)
        gradient = _wide(gradient_BHTE)
        # The mean gradient that a softmax subtracts is known from what was read.
        mean = (gradient * read).sum(2, keepdim=True)
        gradient = gradient * _scale(ctx.how.lost)
        of_q, of_k, of_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for group in tables.groups:
            weights, lossy = tables.weights(group)
            came = group.of_queries(gradient)
            group.of_keys(of_v).add_(came @ lossy)
            of_scores = tables.product(came, group.of_keys(v), group).mul_(lossy)
            of_scores.addcmul_(weights, group.of_queries(mean).transpose(1, 2), value=-1)
            group.of_queries(of_q).copy_(group.of_keys(k) @ of_scores.transpose(1, 2))
            group.of_keys(of_k).add_(group.of_queries(q) @ of_scores)
        of_q *= q.shape[2] ** -0.5
        return of_q.transpose(2, 3), of_k.transpose(2, 3), of_v.transpose(2, 3), None, None, None


def _wide(x_BHTE: Tensor) -> Tensor:
    """(B, H, E, T), in memory too."""
    return x_BHTE.transpose(2, 3).contiguous()
