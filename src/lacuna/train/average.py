"""A running mean of a model's weights. In: the model after each step. Out: the mean, lent to it between epochs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def learnt(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model without its frozen parameters, which stay as they were made."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


class Average:
    """A running mean of a model's learnt weights, which the model wears between epochs in place of its own.

    The decay of step t is min(decay, (1 + t) / (10 + t)), so that the start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float, steps: int) -> None:
        self._decay, self._steps, self._step = decay, steps, 0
        self.mean = copy.deepcopy(learnt(model))
        self.own: dict[str, Tensor] = {}  # the model's weights while it wears the mean

    def resume(self, mean: dict[str, Tensor], epoch: int) -> None:
        """Go on after an epoch."""
        self.mean, self._step = {name: value.clone() for name, value in mean.items()}, epoch * self._steps

    @torch.no_grad()
    def add(self, model: nn.Module) -> None:
        """One step; what cannot be averaged (counts) is copied."""
        self._step += 1
        decay = min(self._decay, (1 + self._step) / (10 + self._step))
        for name, value in learnt(model).items():
            if value.is_floating_point():
                self.mean[name] = self.mean[name].to(value.device).lerp(value, 1 - decay)
            else:
                self.mean[name] = value.clone()

    def lend(self, model: nn.Module) -> dict[str, Tensor]:
        """Put the mean into the model; the mean."""
        self.own = copy.deepcopy(learnt(model))
        model.load_state_dict(self.mean, strict=False)
        return self.mean

    def take_back(self, model: nn.Module) -> None:
        """Put the model's own weights back."""
        if self.own:
            model.load_state_dict(self.own, strict=False)
