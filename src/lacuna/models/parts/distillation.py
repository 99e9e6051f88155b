"""What DMD distils with. In: outputs and representations of M modalities. Out: graph edges, and losses.

M modalities, B samples, D width, K outputs, P = M (M - 1) ordered pairs (student, teacher).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def ordered_pairs(count: int) -> tuple[list[int], list[int]]:
    """The students and the teachers of all ordered pairs of `count` modalities."""
    students, teachers = zip(*permutations(range(count), 2))
    return list(students), list(teachers)


def cosine(x: Tensor, y: Tensor, axis: int) -> Tensor:
    """Cosine along an axis, of zeros 0 (as torch's CosineEmbeddingLoss has it)."""
    x, y = x.float(), y.float()
    squares = (x.square().sum(axis) + 1e-12) * (y.square().sum(axis) + 1e-12)
    return (x * y).sum(axis) / squares.sqrt()


class DistillationUnit(nn.Module):
    """Who teaches whom, and how much: an edge per ordered pair, from both one's outputs and representations.

    `favoured` (P,) says which pairs the prior expects to teach.
    """

    SHARPNESS, PRIOR_TEMPERATURE = 1 / 8, 1 / 4
    prior_P: Tensor

    def __init__(self, outputs: int, width: int, size: int, favoured: Sequence[bool]) -> None:
        super().__init__()
        self.logit, self.representation = nn.Linear(outputs, size), nn.Linear(width, size)
        self.edge = nn.Linear(4 * size, 1)
        prior_P = torch.softmax(torch.tensor(favoured).float() / self.PRIOR_TEMPERATURE, 0)
        self.register_buffer("prior_P", prior_P, persistent=False)

    def forward(self, logits_MBK: Tensor, reprs_MBD: Tensor) -> Tensor:
        """(P, B) edges, which sum to 1 over the pairs."""
        z_MBD = torch.cat([self.logit(logits_MBK), self.representation(reprs_MBD)], -1)
        student, teacher = ordered_pairs(len(z_MBD))
        scores_PB = self.edge(torch.cat([z_MBD[student], z_MBD[teacher]], -1))[..., 0]
        return torch.softmax(scores_PB * self.SHARPNESS, 0)

    def regularizer(self, edges_PB: Tensor) -> Tensor:
        """Squared distance of the mean edges from the prior."""
        return (edges_PB.mean(1) - self.prior_P).square().sum()

    def weighted(self, distances_PB: Tensor, edges_PB: Tensor) -> Tensor:
        """Distances weighted by edge and prior: mean over the samples, sum over the pairs."""
        return (distances_PB * (edges_PB + self.prior_P[:, None])).mean(1).sum()


def imitation(x_MBD: Tensor, kind: str) -> Tensor:
    """(P, B): how far each student is from its teacher, who is not taught: `l1`, `pull` (1 - cosine) or `push`."""
    student, teacher = ordered_pairs(len(x_MBD))
    learns, taught = x_MBD[student], x_MBD.detach()[teacher]
    if kind == "l1":
        return (learns - taught).abs().sum(-1)
    angle_PB = cosine(learns, taught, -1)
    if kind == "pull":
        return 1 - angle_PB
    # Published: the loss for what should be apart, and its mean over the batch before the edges weigh it.
    return F.relu(angle_PB).mean(1, keepdim=True).expand_as(angle_PB)


def margin_loss(features_BMD: Tensor, labels_B: Tensor, margin: float) -> Tensor:
    """For each of M·B anchors, positives (equal label) must be nearer than negatives by margin · |label difference|.

    Mean over an anchor's positives × negatives, then over the anchors that have both; samples without a label (NaN) are
    neither. The negatives of an anchor are sorted, so that the sum over those that are too near for a positive is a
    sum of the last ones: (N, N) numbers instead of (N, N, N), and no question to the device how many there are.
    """
    x_ND = features_BMD.flatten(0, 1)
    x_ND = x_ND.to(torch.promote_types(x_ND.dtype, torch.float32))
    unit_ND = x_ND / (x_ND.square().sum(1, keepdim=True) + 1e-8).sqrt()
    cosine_NN = unit_ND @ unit_ND.T
    labels_N = labels_B.repeat_interleave(features_BMD.shape[1])
    distance_NN = (labels_N[:, None] - labels_N).abs()
    negative_NN, itself_NN = distance_NN > 0, torch.eye(len(labels_N), dtype=torch.bool, device=labels_N.device)
    positive_NN = (distance_NN == 0) & ~itself_NN
    # What is no negative lies below every cosine.
    near_NN = torch.where(negative_NN, margin * distance_NN.nan_to_num() + cosine_NN, -2.0)
    near_NN, _ = near_NN.sort(1)
    count_NN = len(labels_N) - torch.searchsorted(near_NN.detach(), cosine_NN.detach(), right=True)
    from_top_NN = F.pad(near_NN.flip(1).cumsum(1), (1, 0))
    sums_NN = from_top_NN.gather(1, count_NN) - count_NN * cosine_NN  # too near for each positive, and by how much
    combinations_N = positive_NN.sum(1) * negative_NN.sum(1)
    means_N = (sums_NN * positive_NN).sum(1) / combinations_N.clamp(min=1)
    return means_N.sum() / (combinations_N > 0).sum().clamp(min=1)
