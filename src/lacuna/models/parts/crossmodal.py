"""The transformer of MulT (Tsai et al., ACL 2019), and what stands before and behind it. In: frames. Out: frames.

Pre-norm; keys and values come from the other modality as it was embedded, at every layer. B samples, T frames of the
target, S frames of the source, D width, H heads, E width of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.models.parts.attention import attention, dropout
from lacuna.types import MODALITIES, MalformedInput


class Streams(Protocol):
    """The settings of a model whose modalities become streams of one width."""

    @property
    def width(self) -> int: ...

    @property
    def heads(self) -> int: ...

    @property
    def kernels(self) -> dict[str, int]: ...

    @property
    def attention_dropout(self) -> dict[str, float]: ...


def require_streams(model: str, settings: Streams) -> None:
    """Refuse modalities that there are not, kernels below 1, and a width that heads cannot share."""
    for name in ("kernels", "attention_dropout"):
        if unknown := set(getattr(settings, name)) - set(MODALITIES):
            raise MalformedInput(f"{model}.{name}: expected {', '.join(MODALITIES)}; got {', '.join(sorted(unknown))}")
    if (least := min(settings.kernels.values(), default=1)) < 1:
        raise MalformedInput(f"{model}.kernels: expected at least 1, got {least}")
    if settings.width % settings.heads:
        raise MalformedInput(f"{model}.width: expected a multiple of {settings.heads} heads, got {settings.width}")


@dataclass(frozen=True)
class Frames:
    """Values (B, T, D), of which the first `lengths_B` >= 1 are real."""

    values_BTD: Tensor
    lengths_B: Tensor

    @property
    def real_BT(self) -> Tensor:
        return torch.arange(self.values_BTD.shape[1], device=self.lengths_B.device) < self.lengths_B[:, None]

    def last(self, x_BTD: Tensor) -> Tensor:
        """The last real position of each sample, (B, 1, D)."""
        return x_BTD[torch.arange(len(x_BTD), device=x_BTD.device), self.lengths_B - 1][:, None]


@dataclass(frozen=True)
class Shape:
    """Heads, layers and dropout of a transformer."""

    heads: int
    depth: int
    attention_dropout: float = 0.0
    relu_dropout: float = 0.0
    residual_dropout: float = 0.0
    embed_dropout: float = 0.0
    positions: bool = True
    skip_zeros: bool = False  # frames whose first value is 0 get no position (published)


def sinusoids(frames: int, width: int, like: Tensor) -> Tensor:
    """(T, D) positions counted from 1: sines, then cosines, of wavelengths from 2π to 20000π."""
    half = width // 2
    scale_E = torch.exp(torch.arange(half, device=like.device) * -(math.log(10000) / max(1, half - 1)))
    angle_TE = torch.arange(1, frames + 1, device=like.device)[:, None] * scale_E
    return F.pad(torch.cat([angle_TE.sin(), angle_TE.cos()], 1), (0, width % 2)).to(like.dtype)


@dataclass(frozen=True)
class Sight:
    """What `attention` is told of which keys a query may read."""

    allowed_BHTS: Tensor | None
    ahead: int | None = None

    @classmethod
    def of(cls, target: Frames, source: Frames | None, causal: bool) -> Sight:
        """Of another sequence, or of the target itself, where causality also hides the padding behind what is real."""
        if source is None:
            return cls(None if causal else allowed(target, target, False))
        ahead = None
        if causal and target.lengths_B.device.type == "cpu":
            ahead = int((target.lengths_B - source.lengths_B).abs().max())
        return cls(allowed(target, source, causal), ahead)


def allowed(target: Frames, source: Frames, causal: bool) -> Tensor:
    """(B, 1, T, S) bool: real frames, and, if causal, none later than the target's plus the difference in length."""
    keys_B1S = source.real_BT[:, None]
    if causal:
        frames, keys = target.values_BTD.shape[1], source.values_BTD.shape[1]
        lead_TS = torch.arange(keys, device=keys_B1S.device) - torch.arange(frames, device=keys_B1S.device)[:, None]
        # Counted on real lengths, so that padding does not move the horizon.
        keys_B1S = keys_B1S & (lead_TS <= (target.lengths_B - source.lengths_B).abs()[:, None, None])
    return keys_B1S[:, None]


def convolved(frames: Frames, convolution: nn.Module | None, masked: bool) -> Frames:
    """(B, T - kernel + 1, D) frames; a sequence shorter than the kernel gives one. Without a convolution, as they are.

    `masked`: windows that reach into padding are no frames, and zero.
    """
    kernel = convolution.kernel_size[0] if isinstance(convolution, nn.Conv1d) else 1
    x_BTW = F.pad(frames.values_BTD, (0, 0, 0, max(0, kernel - frames.values_BTD.shape[1])))
    x_BTD = x_BTW if convolution is None else convolution(x_BTW.transpose(1, 2)).transpose(1, 2)
    if not masked:
        return Frames(x_BTD, torch.full_like(frames.lengths_B, x_BTD.shape[1]))
    windows = Frames(x_BTD, (frames.lengths_B - kernel + 1).clamp(min=1))
    return Frames(x_BTD * windows.real_BT[..., None], windows.lengths_B)


class ResidualHead(nn.Module):
    """x + linear(dropout(ReLU(linear(x)))), then a linear to K outputs."""

    def __init__(self, width: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second, self.out = (
            nn.Linear(width, hidden),
            nn.Linear(hidden, width),
            nn.Linear(width, outputs),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs (B, K), the hidden layer before its ReLU, and what the outputs are read from (B, D)."""
        hidden = self.first(x_BD)
        x_BD = self.second(self.dropout(F.relu(hidden))) + x_BD
        return self.out(x_BD), hidden, x_BD


class Layer(nn.Module):
    """Attention and feed-forward, each: x + f(norm(x)). One norm serves queries, keys and values."""

    def __init__(self, width: int, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for linear in (self.qkv, self.out, self.widen, self.narrow):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x_BTD: Tensor, source_BSD: Tensor, sight: Sight) -> Tensor:
        x_BTD = x_BTD + self._drop(self._attend(x_BTD, source_BSD, sight), self.shape.residual_dropout)
        hidden = self._drop(F.relu(self.widen(self.norm_feed(x_BTD))), self.shape.relu_dropout)
        return x_BTD + self._drop(self.narrow(hidden), self.shape.residual_dropout)

    def _attend(self, x_BTD: Tensor, source_BSD: Tensor, sight: Sight) -> Tensor:
        width, normed_BTD = x_BTD.shape[-1], self.norm_attention(x_BTD)
        if source_BSD is x_BTD:
            q, k, v = self.qkv(normed_BTD).chunk(3, -1)
        else:
            q = F.linear(normed_BTD, self.qkv.weight[:width], self.qkv.bias[:width])
            normed_BSD = self.norm_attention(source_BSD)
            k, v = F.linear(normed_BSD, self.qkv.weight[width:], self.qkv.bias[width:]).chunk(2, -1)
        q, k, v = (x.unflatten(-1, (self.shape.heads, -1)).transpose(1, 2) for x in (q, k, v))  # (B, H, T or S, E)
        rate = self.shape.attention_dropout if self.training else 0.0
        mixed_BHTE = attention(q, k, v, sight.allowed_BHTS, rate, sight.ahead)
        return self.out(mixed_BHTE.transpose(1, 2).flatten(2))

    def _drop(self, x: Tensor, rate: float) -> Tensor:
        return dropout(x, rate, self.training)


class CrossmodalTransformer(nn.Module):
    """Target frames that ask source frames (or themselves), layer after layer, then a layer norm."""

    def __init__(self, width: int, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.ModuleList(Layer(width, shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, target: Frames, source: Frames | None, causal: bool) -> Tensor:
        """(B, T, D): what the target's frames take from the source's, or, without one, from each other."""
        x_BTD = self._embed(target)
        source_BSD = None if source is None else self._embed(source)
        sight = Sight.of(target, source, causal)
        for layer in self.layers:
            x_BTD = layer(x_BTD, x_BTD if source_BSD is None else source_BSD, sight)
        return self.norm(x_BTD)

    def readout(self, frames: Frames, causal: bool) -> Tensor:
        """(B, D): self-attention, read at the last real position; the last layer computes no other."""
        x_BTD = self._embed(frames)
        sight = Sight.of(frames, None, causal)
        for layer in self.layers[:-1]:
            x_BTD = layer(x_BTD, x_BTD, sight)
        last_B1D = self.layers[-1](frames.last(x_BTD), x_BTD, Sight(frames.real_BT[:, None, None]))
        return self.norm(last_B1D)[:, 0]

    def _embed(self, frames: Frames) -> Tensor:
        x_BTD = frames.values_BTD
        scaled_BTD = math.sqrt(x_BTD.shape[2]) * x_BTD
        if self.shape.positions:
            places_BTD = sinusoids(x_BTD.shape[1], x_BTD.shape[2], x_BTD)
            scaled_BTD = scaled_BTD + (places_BTD * (x_BTD[..., :1] != 0) if self.shape.skip_zeros else places_BTD)
        return dropout(scaled_BTD, self.shape.embed_dropout, self.training)
