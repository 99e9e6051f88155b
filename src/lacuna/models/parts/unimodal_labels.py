"""Labels that Self-MM makes for each modality of each training clip. In: features of a batch. Out: labels of its own.

A modality's label is the clip's, moved by how much nearer the modality's feature is to the positive clips than the
fused feature is (Yu et al., AAAI 2021, "Unimodal Label Generation Module"). N training clips and one row for all
others, B samples, S kinds of features (`M`, the fused one, first), F width of a feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor, nn

OTHERS = torch.iinfo(torch.int64).max  # the key of the last row, which is every clip's that is not trained on
TINY = 1e-8
SMALLEST = 1e-3  # a ratio to less than this is no measure


def keys_of(ids: Sequence[str]) -> Tensor:
    """A number for each clip id, the same in every process and run."""
    digests = (blake2b(name.encode(), digest_size=8).digest() for name in ids)
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests], dtype=torch.int64)


@dataclass(frozen=True)
class Limits:
    """The lowest and the highest label, and whether labels are guarded against what makes them meaningless."""

    low: float
    high: float
    guarded: bool = True


class UnimodalLabels(nn.Module):
    """The last feature and the label of every training clip, by kind; buffers, so that a resumed run has them."""

    keys_N: Tensor
    labels_SN: Tensor

    def __init__(self, widths: Mapping[str, int], limits: Limits) -> None:
        super().__init__()
        self.widths, self.limits = dict(widths), limits
        self.meet([], torch.empty(0))
        self.register_load_state_dict_pre_hook(self._as_many_rows)

    def meet(self, ids: Sequence[str], labels_N: Tensor) -> None:
        """Forget all, and start each clip's labels as its own (NaN where it has none)."""
        keys_N, order_N = torch.sort(keys_of(ids))
        self._hold("keys_N", torch.cat([keys_N, torch.tensor([OTHERS])]))
        labels_N = torch.cat([labels_N.float()[order_N], torch.tensor([torch.nan])])
        self._hold("labels_SN", labels_N.repeat(len(self.widths), 1))
        for name, width in self.widths.items():
            self._hold(f"features_{name}", torch.zeros(len(labels_N), width))

    def _hold(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.to(getattr(self, name, value).device))

    def _as_many_rows(self, module: nn.Module, state: Mapping[str, Tensor], prefix: str, *rest: object) -> None:
        for name, buffer in self.named_buffers():
            if prefix + name in state:
                self._hold(name, torch.empty_like(state[prefix + name], dtype=buffer.dtype))

    def rows(self, keys_B: Tensor) -> Tensor:
        """Where each clip's labels stand, (B,)."""
        last = len(self.keys_N) - 1
        found_B = torch.searchsorted(self.keys_N, keys_B).clamp(max=last)
        return torch.where(self.keys_N[found_B] == keys_B, found_B, last)

    def trained(self, row_B: Tensor) -> Tensor:
        """Which of these rows are training clips', (B,) bool."""
        return row_B < len(self.keys_N) - 1

    def of(self, name: str, row_B: Tensor) -> Tensor:
        """The labels of one kind, (B,); NaN where there is none."""
        return self.labels_SN[list(self.widths).index(name), row_B]

    @torch.no_grad()
    def update(self, row_B: Tensor, features: Mapping[str, Tensor], epoch: int) -> None:
        """From epoch 2 on, make the batch's labels of what is known so far; then keep its features (B, F)."""
        features = {name: x_BF.to(self.labels_SN.dtype) for name, x_BF in features.items()}
        if epoch > 1:
            deltas = {name: self._delta(name, x_BF) for name, x_BF in features.items()}
            for place, name in enumerate(self.widths):
                if name != "M":
                    old_B, new_B = self.labels_SN[place, row_B], self._made(row_B, deltas[name], deltas["M"])
                    new_B = (epoch - 1) / (epoch + 1) * old_B + 2 / (epoch + 1) * new_B
                    keep_B = new_B.isnan() if self.limits.guarded else torch.zeros_like(new_B, dtype=torch.bool)
                    self.labels_SN[place, row_B] = torch.where(keep_B, old_B, new_B)
        for name, x_BF in features.items():
            getattr(self, f"features_{name}")[row_B] = x_BF

    def _delta(self, name: str, x_BF: Tensor) -> Tensor:
        """How much nearer to the positive centre than to the negative one, relative to the distance to the former.

        NaN where there is no clip of one sign.
        """
        labels_N, features_NF = self.labels_SN[list(self.widths).index(name)], getattr(self, f"features_{name}")
        sign_2N = torch.stack([labels_N > 0, labels_N < 0]).to(features_NF.dtype)
        centre_2F = sign_2N @ features_NF / sign_2N.sum(1, keepdim=True)
        to_positive_B, to_negative_B = (x_BF - centre_2F[:, None]).norm(dim=-1)
        return (to_negative_B - to_positive_B) / (to_positive_B + TINY)

    def _made(self, row_B: Tensor, delta_B: Tensor, fused_B: Tensor) -> Tensor:
        """Half by the ratio and half by the difference of both deltas."""
        label_B = self.of("M", row_B)
        by_ratio_B, by_difference_B = delta_B / (fused_B + TINY) * label_B, label_B + delta_B - fused_B
        if self.limits.guarded:
            by_ratio_B = torch.where(fused_B.abs() > SMALLEST, by_ratio_B, by_difference_B)
        return (0.5 * (by_ratio_B + by_difference_B)).clamp(self.limits.low, self.limits.high)
