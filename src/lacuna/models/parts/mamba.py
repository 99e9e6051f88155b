"""Mamba (Gu & Dao 2023) in both directions, without kernels of its own. In: sequences (B, T, D). Out: the same shape.

A state of N numbers for each inner channel is carried along the frames, and what enters it depends on the frame.
Padding stands behind the real frames; the way back reads them turned round in their place, so no state depends on it.
B samples, T frames, D width, E inner width, N states, R rank of the step size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.models.parts.recurrent import turned

STEPS = (0.001, 0.1)  # between which step sizes begin


@dataclass(frozen=True)
class Shape:
    """Widths of a layer: D, N, E / D, and the frames that its convolution reads."""

    width: int
    states: int
    expansion: int
    kernel: int

    @property
    def inner(self) -> int:
        return self.width * self.expansion

    @property
    def rank(self) -> int:
        return math.ceil(self.width / 16)


def start_of_states(shape: Shape) -> Tensor:
    """log 1 … N for each inner channel (E, N): S4D's real start."""
    return torch.arange(1, shape.states + 1).float().log().expand(shape.inner, -1).clone()


class Way(nn.Module):
    """One direction of one stream, its state matrix given: convolution, SiLU, and the selective scan."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        inner, self.shape = shape.inner, shape
        self.convolution = nn.Conv1d(inner, inner, shape.kernel, groups=inner, padding=shape.kernel - 1)
        self.to_scan = nn.Linear(inner, shape.rank + 2 * shape.states, bias=False)
        self.to_step = nn.Linear(shape.rank, inner)
        self.skip_E = nn.Parameter(torch.ones(inner))
        nn.init.uniform_(self.to_step.weight, -(shape.rank**-0.5), shape.rank**-0.5)
        low, high = (math.log(step) for step in STEPS)
        step_E = (torch.rand(inner) * (high - low) + low).exp()
        with torch.no_grad():  # softplus of the bias is that step
            self.to_step.bias.copy_(step_E + (-torch.expm1(-step_E)).log())

    def forward(self, x_BTE: Tensor, states_EN: Tensor) -> Tensor:
        frames, shape = x_BTE.shape[1], self.shape
        u_BTE = F.silu(self.convolution(x_BTE.transpose(1, 2))[..., :frames]).transpose(1, 2)
        step_BTR, enter_BTN, leave_BTN = self.to_scan(u_BTE).split([shape.rank, shape.states, shape.states], -1)
        step_BTE = F.softplus(self.to_step(step_BTR).float())
        told_BTE = selective_scan(
            u_BTE.float(), step_BTE, -states_EN.float().exp(), enter_BTN.float(), leave_BTN.float()
        )
        return told_BTE + u_BTE * self.skip_E


def selective_scan(u_BTE: Tensor, step_BTE: Tensor, a_EN: Tensor, enter_BTN: Tensor, leave_BTN: Tensor) -> Tensor:
    """h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t u_t and y_t = C_t · h_t, (B, T, E), one frame after the other."""
    h_BEN = u_BTE.new_zeros(len(u_BTE), *a_EN.shape)
    told = []
    entering_BTE = step_BTE * u_BTE
    for t in range(u_BTE.shape[1]):
        kept_BEN = (step_BTE[:, t, :, None] * a_EN).exp()
        h_BEN = kept_BEN * h_BEN + entering_BTE[:, t, :, None] * enter_BTN[:, t, None]
        told.append((h_BEN @ leave_BTN[:, t, :, None])[..., 0])
    return torch.stack(told, 1)


class Mamba(nn.Module):
    """Streams that share one state matrix a direction: each is widened, read both ways, gated and narrowed again."""

    def __init__(self, streams: list[str], shape: Shape) -> None:
        super().__init__()
        self.widen = nn.ModuleDict({s: nn.Linear(shape.width, 2 * shape.inner, bias=False) for s in streams})
        self.narrow = nn.ModuleDict({s: nn.Linear(shape.inner, shape.width, bias=False) for s in streams})
        self.ways, self.back = (nn.ModuleDict({s: Way(shape) for s in streams}) for _ in range(2))
        self.states, self.states_back = (nn.Parameter(start_of_states(shape)) for _ in range(2))

    def forward(self, stream: str, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """One stream's frames; both ways are averaged."""
        x_BTE, gate_BTE = self.widen[stream](x_BTD).chunk(2, -1)
        there_BTE = self.ways[stream](x_BTE, self.states)
        back_BTE = turned(self.back[stream](turned(x_BTE, lengths_B), self.states_back), lengths_B)
        return self.narrow[stream](0.5 * (there_BTE + back_BTE) * F.silu(gate_BTE))
