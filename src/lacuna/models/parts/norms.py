"""Batch norm as training here needs it. In: vectors (B, D). Out: the same, normed."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows, own_rows


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over the samples of all processes; one sample alone has no deviation and takes the running one."""

    def forward(self, x_BD: Tensor) -> Tensor:
        x_BD = all_rows(x_BD)
        if self.training and len(x_BD) == 1:
            normed_BD = F.batch_norm(x_BD, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        else:
            normed_BD = super().forward(x_BD)
        return own_rows(normed_BD)
