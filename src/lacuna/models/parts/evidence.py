"""Evidential learning over views. In: evidence of V views for B samples and K classes. Out: opinions and losses.

Evidence e >= 0 gives a Dirichlet of concentration α = e + 1, strength S = Σα, belief e / S and uncertainty K / S
(Sensoy et al., 2018); views are fused and held against each other as in RCML (Xu et al., AAAI 2024). Shared by `rcml`
and `rcml_misa`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.data.batches import Batch, InputSpec, Padded
from lacuna.models.parts.text import TextEncoder
from lacuna.types import MalformedInput

Form = Literal["digamma", "log", "mse"]
Fusion = Literal["mean", "sequential"]
Unseen = Literal["vacuous", "read"]
UNIMODAL = {"text": "T", "audio": "A", "vision": "V"}  # whose label is whose


def view_vectors(batch: Batch, names: Sequence[str], text_encoder: TextEncoder | None) -> tuple[list[Tensor], Tensor]:
    """One vector (B, D_v) per view, the mean over its frames, in the order of `names`; which were seen, (V, B) bool.

    Lost frames do not count, unless all are lost: then the vector is zero and the view unseen. Text given as token ids
    comes with its encoder, and its lost words do count: the encoder tells their context.
    """
    vectors, seen = [], []
    for name in names:
        padded = batch[name]
        if name == "text" and text_encoder is not None and text_encoder.reads_tokens:
            counted_BT, seen_B = padded.real, _words(padded).any(1)
            values_BTD = text_encoder(padded)
        else:
            counted_BT = padded.seen & padded.real
            values_BTD, seen_B = padded.values, counted_BT.any(1)
        weights_BT1 = counted_BT[..., None].to(values_BTD.dtype)
        vectors.append((values_BTD * weights_BT1).sum(1) / weights_BT1.sum(1).clamp(min=1))
        seen.append(seen_B)
    return vectors, torch.stack(seen)


def _words(text: Padded) -> Tensor:
    """(B, T) bool: the words that were not lost; [CLS] and [SEP], which never are, left out."""
    place_T = torch.arange(text.seen.shape[1], device=text.seen.device)
    return text.seen & (place_T > 0) & (place_T < text.lengths[:, None] - 1)


def require_classes(spec: InputSpec, model: str) -> int:
    """The number of classes; evidence is counted for classes, there is none for a score."""
    if spec.classes < 2:
        raise MalformedInput(f"{model}: expected a task with at least 2 classes, got {spec.classes} (0 is a score)")
    return spec.classes


def collector(widths: Sequence[int], classes: int, dropout: float) -> nn.Sequential:
    """A view's evidence: linear layers over `widths` (the first is the input's), then softplus."""
    layers: list[nn.Module] = []
    for width, hidden in pairwise(widths):
        layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes), nn.Softplus())


def without_unseen(evidence_VBK: Tensor, seen_VB: Tensor, unseen: Unseen) -> Tensor:
    """`vacuous`: a view that was not seen gives no evidence at all (uncertainty 1); `read`: its zeros are read."""
    return evidence_VBK * seen_VB[..., None] if unseen == "vacuous" else evidence_VBK


def fuse(evidence_VBK: Tensor, fusion: Fusion = "mean") -> Tensor:
    """The evidence of all views, (B, K). `mean`: average belief fusion (RCML eq. 8), whatever the order of the views.

    `sequential`: the published code's pairwise averages, where the last of V views weighs 1/2 and the first 1/2^(V-1).
    """
    if fusion == "mean":
        return evidence_VBK.mean(0)
    fused_BK = evidence_VBK[0]
    for evidence_BK in evidence_VBK[1:]:
        fused_BK = (evidence_BK + fused_BK) / 2
    return fused_BK


def expected(evidence: Tensor) -> Tensor:
    """Expected class probabilities α / S, over the last axis."""
    alpha = evidence + 1
    return alpha / alpha.sum(-1, keepdim=True)


def uncertainty(evidence: Tensor) -> Tensor:
    """K / S over the last axis: 1 without any evidence, towards 0 with much."""
    return evidence.shape[-1] / (evidence + 1).sum(-1)


def conflict(evidence_VBK: Tensor) -> Tensor:
    """Degree of conflict (B,): over all ordered pairs Σ|p_i - p_j|/2 · (1-u_i)(1-u_j), / (V-1) (RCML eq. 4-6)."""
    views = len(evidence_VBK)
    p_VBK, certain_VB = expected(evidence_VBK), 1 - uncertainty(evidence_VBK)
    distance_VVB = (p_VBK[:, None] - p_VBK[None]).abs().sum(-1) / 2
    return (distance_VVB * certain_VB[:, None] * certain_VB[None]).sum((0, 1)) / max(1, views - 1)


def kl_to_uniform(alpha: Tensor) -> Tensor:
    """KL(Dir(α) ‖ Dir(1)) over the last axis."""
    strength, classes = alpha.sum(-1), torch.tensor(float(alpha.shape[-1]), device=alpha.device)
    normaliser = torch.lgamma(strength) - torch.lgamma(alpha).sum(-1) - torch.lgamma(classes)
    return normaliser + ((alpha - 1) * (torch.digamma(alpha) - torch.digamma(strength)[..., None])).sum(-1)


def annealing(epoch: int, steps: int) -> float:
    """The weight of the KL term in an epoch, counted from 1: min(1, epoch / steps)."""
    return min(1.0, epoch / steps)


def edl_loss(evidence: Tensor, target: Tensor, form: Form, kl_weight: float) -> Tensor:
    """Evidential loss of (..., K) evidence for (...) target classes, one value per sample (RCML eq. 9-12).

    The expected cross-entropy (`digamma`), the type II likelihood (`log`) or the expected squared error (`mse`) under
    the Dirichlet, and the KL term that draws the evidence of wrong classes, α̃ = y + (1-y)·α, to none.
    """
    y, alpha = F.one_hot(target, evidence.shape[-1]).to(evidence.dtype), evidence + 1
    strength = alpha.sum(-1, keepdim=True)
    if form == "mse":
        variance = alpha * (strength - alpha) / (strength.square() * (strength + 1))
        loss = ((y - alpha / strength).square() + variance).sum(-1)
    else:
        log = {"digamma": torch.digamma, "log": torch.log}[form]
        # Only the right class's term is not zero: digamma is dear, and K times dearer over all classes.
        loss = (log(strength) - log(alpha.gather(-1, target[..., None])))[..., 0]
    return loss + kl_weight * kl_to_uniform(y + (1 - y) * alpha)


def task_loss(evidence_BK: Tensor, target_B: Tensor) -> Tensor:
    """Mean cross-entropy of the expected probabilities α / S: what an epoch is chosen by."""
    return edl_loss(evidence_BK, target_B, "log", 0.0).mean()


def targets(batch: Batch, names: Sequence[str], unimodal: bool) -> Tensor:
    """Class indices (V + 1, B): each view's, then the fused one's. `unimodal`: a view's own label where it has one."""
    whole_B = batch.labels["M"]
    if not batch.labelled.all():
        raise MalformedInput(f"clips {', '.join(batch.ids)}: expected a class for each, got some without")
    rows = [batch.labels.get(UNIMODAL.get(name, ""), whole_B) if unimodal else whole_B for name in names]
    return torch.stack([*(torch.where(row_B.isnan(), whole_B, row_B) for row_B in rows), whole_B]).long()
