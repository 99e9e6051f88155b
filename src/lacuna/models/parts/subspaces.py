"""What every modality says alone and what all say: subspaces, their losses, and the fusion over their vectors.

In: one vector per modality. Out: private and shared vectors, the three losses of MISA (Hazarika et al., 2020), fused
vectors. M modalities (or views), B samples, V vectors to fuse, D their width. Shared by `misa` and `rcml_misa`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows


class Projection(nn.Sequential):
    """Any width to D: linear, ReLU, layer norm."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__(nn.Linear(width, size), nn.ReLU(), nn.LayerNorm(size))


@dataclass(frozen=True)
class Split:
    """The vectors of M modalities, each (M, B, D): as projected, private, shared, and rebuilt from both."""

    whole_MBD: Tensor
    private_MBD: Tensor
    shared_MBD: Tensor
    rebuilt_MBD: Tensor

    def whole_batch(self) -> Split:
        """With the samples of all processes."""
        parts = (self.whole_MBD, self.private_MBD, self.shared_MBD, self.rebuilt_MBD)
        return Split(*all_rows(torch.stack(parts), 2))


class Subspaces(nn.Module):
    """A private encoder and a decoder per modality, one shared encoder: MISA eq. 4-5 and section 3.5.3."""

    def __init__(self, names: Sequence[str], size: int, private: bool = True) -> None:
        """Without `private`, all is shared and the private part stays zero."""
        super().__init__()
        self.private = nn.ModuleDict({name: nn.Linear(size, size) for name in names if private})
        self.shared = nn.Linear(size, size)
        self.decoder = nn.ModuleDict({name: nn.Linear(size, size) for name in names})

    def forward(self, whole_MBD: Tensor) -> Split:
        """Split the projected vectors, stacked in the order of the names."""
        private_MBD = torch.zeros_like(whole_MBD)
        if self.private:
            encoders = self.private.values()
            private_MBD = torch.stack([encode(x_BD) for encode, x_BD in zip(encoders, whole_MBD)]).sigmoid()
        shared_MBD = self.shared(whole_MBD).sigmoid()
        both_MBD = private_MBD + shared_MBD
        rebuilt_MBD = torch.stack([decode(x_BD) for decode, x_BD in zip(self.decoder.values(), both_MBD)])
        return Split(whole_MBD, private_MBD, shared_MBD, rebuilt_MBD)


def safe_norm(x: Tensor) -> Tensor:
    """Euclidean norm over the last axis whose gradient at zero is 0 (that of sqrt is infinite, and times 0 is NaN)."""
    squared = x.square().sum(-1)
    positive = squared > 0
    return torch.where(positive, squared, 1).sqrt() * positive


def central_moment_discrepancy(shared_MBD: Tensor, moments: int = 5) -> Tensor:
    """Mean over the pairs of modalities of CMD with K moments (MISA eq. 9); 0 for one modality."""
    if len(shared_MBD) < 2:
        return shared_MBD.new_zeros(())
    shared_MBD = shared_MBD.float()  # moments have no digits to lose to bf16
    mean_MD = shared_MBD.mean(1)
    centred_MBD = shared_MBD - mean_MD[:, None]
    order = [mean_MD, *((centred_MBD**k).mean(1) for k in range(2, moments + 1))]
    moments_KMD = torch.stack(order)
    first, second = _pairs(len(shared_MBD))
    return safe_norm(moments_KMD[:, first] - moments_KMD[:, second]).sum(0).mean()  # (K, P) → ()


def difference(private_MBD: Tensor, shared_MBD: Tensor) -> Tensor:
    """Soft orthogonality (MISA eq. 10): private against shared of each modality, and private against private.

    Each vector is centred over the batch and brought to unit norm (the norm has no gradient); each pair gives the mean
    of the squared entries of the (D, D) product XᵀY, which is Σ (X Xᵀ)(Y Yᵀ) / D²: B × B products, B < D.
    """
    gram_MBB, shared_gram_MBB = _gram(private_MBD), _gram(shared_MBD)
    loss = (gram_MBB * shared_gram_MBB).sum()
    if len(private_MBD) > 1:
        first, second = _pairs(len(private_MBD))
        loss = loss + (gram_MBB[first] * gram_MBB[second]).sum()
    return loss / private_MBD.shape[-1] ** 2


def reconstruction(split: Split) -> Tensor:
    """Mean squared error of the rebuilt vectors (MISA eq. 11)."""
    return F.mse_loss(split.rebuilt_MBD, split.whole_MBD)


def _pairs(count: int) -> tuple[list[int], list[int]]:
    first, second = zip(*combinations(range(count), 2))
    return list(first), list(second)


def _gram(x_MBD: Tensor) -> Tensor:
    centred_MBD = x_MBD.float() - x_MBD.float().mean(1, keepdim=True)
    unit_MBD = centred_MBD / (centred_MBD.detach().norm(dim=-1, keepdim=True) + 1e-6)
    return unit_MBD @ unit_MBD.transpose(1, 2)


class VectorFusion(nn.Module):
    """One post-norm transformer layer over V vectors, which also tells who attended to whom.

    Attention over so few vectors is written out: a fused kernel would be no faster and would hide its weights.
    """

    def __init__(self, size: int, heads: int = 2, hidden: int = 2048, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.norm_attention, self.norm_feed = nn.LayerNorm(size), nn.LayerNorm(size)
        self.feed = nn.Sequential(
            nn.Linear(size, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, size), nn.Dropout(dropout)
        )
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.qkv.weight)  # as torch's own multi-head attention starts
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x_BVD: Tensor) -> tuple[Tensor, Tensor]:
        """Fused vectors (B, V, D) and attention (B, V, V), rows are the askers, averaged over the heads."""
        batch, vectors, size = x_BVD.shape
        qkv = self.qkv(x_BVD).view(batch, vectors, 3, self.heads, size // self.heads)
        q_BHVE, k_BHVE, v_BHVE = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights_BHVV = (q_BHVE @ k_BHVE.transpose(-1, -2) * (size // self.heads) ** -0.5).softmax(-1)
        mixed_BHVE = self.dropout(weights_BHVV) @ v_BHVE
        mixed_BVD = self.out(mixed_BHVE.transpose(1, 2).reshape(batch, vectors, size))
        x_BVD = self.norm_attention(x_BVD + self.dropout(mixed_BVD))
        return self.norm_feed(x_BVD + self.feed(x_BVD)), weights_BHVV.mean(1)
