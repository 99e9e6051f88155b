"""RCML-MISA: views are split into private and shared subspaces, each of which gives evidence; opinions are averaged.

In: any modalities, one vector each (sequences are averaged over their frames). Out: expected class probabilities,
uncertainty, conflict, and the evidence, private and shared vector of each view. V views, B samples, D width of a
vector, K classes; opinions are V private ones and a shared one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows, own_rows
from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts import evidence as ev
from lacuna.models.parts import subspaces as sub
from lacuna.models.parts.text import Finetune, Source, text_encoder_of
from lacuna.types import MalformedInput, require_words

Projection = Literal["linear", "relu_norm"]
Activation = Literal["none", "sigmoid"]
Private = Literal["own", "fused"]
Shared = Literal["one", "each"]
Fused = Literal["average", "prototype"]


@dataclass(frozen=True)
class Settings:
    """The subspaces, the collectors and the loss weights; why they differ from the prototype is in docs/errata.md."""

    size: int = 128  # D
    projection: Projection = "linear"  # of a view to D; relu_norm: the prototype's linear, ReLU, layer norm
    activation: Activation = "none"  # of the encoders; sigmoid: the prototype's, which squashes what evidence reads
    heads: int = 2
    feed: int = 128  # width within the fusion's feed-forward; the prototype has torch's 2048
    fusion_dropout: float = 0.1
    batch_norm: bool = False  # of evidence before softplus, as the prototype has it
    private: Private = (
        "own"  # a private opinion reads its view's own vector, layer-normed; fused: what fusion made of it
    )
    shared: Shared = "one"  # one collector for all shared vectors, or one for each
    fused: Fused = "average"  # of all opinions; prototype: see `_prototype`
    unseen: ev.Unseen = "vacuous"  # a lost view gives no evidence; `read`: its zeros are read
    form: ev.Form = "digamma"  # of the evidential loss
    annealing: int = 50  # epochs until the KL term has its full weight
    sim_weight: float = 0.1
    diff_weight: float = 0.1
    recon_weight: float = 0.1
    conflict: float = 1.0  # γ
    unimodal_labels: bool = False  # private opinions learn their own labels (T, A, V) where the data has them
    encoder: Source = "embedded"  # of token ids: see layers.TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on

    def __post_init__(self) -> None:
        require_words(self)
        if self.size % self.heads:
            raise MalformedInput(f"rcml_misa.size: expected a multiple of heads = {self.heads}, got {self.size}")


PUBLISHED = Settings(
    finetune=True,
    projection="relu_norm",
    activation="sigmoid",
    feed=2048,
    batch_norm=True,
    private="fused",
    fused="prototype",
    unseen="read",
    sim_weight=0.8,
    diff_weight=0.3,
    recon_weight=0.8,
)
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 2e-3,
    "weight_decay": 1e-5,
    "batch_size": 200,
    "epochs": 100,
    # At a constant rate a spike of the KL term's gradient can end all evidence for good, batch norm or not.
    "schedule": "warmup_cosine",
    "clip_norm": 1.0,
    "pattern": "mixed",
}


class EvidenceNorm(nn.BatchNorm1d):
    """Batch norm that also takes a training batch of one sample, which has no spread: by the running statistics."""

    def forward(self, x_BK: Tensor) -> Tensor:
        x_BK = all_rows(x_BK)
        if self.training and len(x_BK) < 2:
            normed_BK = F.batch_norm(x_BK, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        else:
            normed_BK = super().forward(x_BK)
        return own_rows(normed_BK)


class Subspaces(sub.Subspaces):
    """MISA's subspaces, whose encoders may leave out the sigmoid."""

    def __init__(self, names: list[str], size: int, activation: Activation) -> None:
        super().__init__(names, size)
        self.squash = torch.sigmoid if activation == "sigmoid" else nn.Identity()

    def forward(self, whole_MBD: Tensor) -> sub.Split:
        """Split the projected vectors, stacked in the order of the names."""
        private_MBD = torch.stack([self.squash(encode(x)) for encode, x in zip(self.private.values(), whole_MBD)])
        shared_MBD = self.squash(self.shared(whole_MBD))
        both_MBD = private_MBD + shared_MBD
        rebuilt_MBD = torch.stack([decode(x_BD) for decode, x_BD in zip(self.decoder.values(), both_MBD)])
        return sub.Split(whole_MBD, private_MBD, shared_MBD, rebuilt_MBD)


@dataclass(frozen=True)
class Read:
    """What a batch gives: its split vectors, the fusion's attention (B, 2V, 2V), and evidence (opinions, B, K)."""

    split: sub.Split
    attention_BVV: Tensor
    evidence_OBK: Tensor


class Model(nn.Module):
    """RCML-MISA over the modalities that `spec.widths` names."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        classes, size = ev.require_classes(spec, "rcml_misa"), settings.size
        self.names = sorted(spec.widths)  # so that a model read back has its views in the same order
        self.text_encoder, widths = text_encoder_of(spec, settings)
        self.settings = settings
        project = sub.Projection if settings.projection == "relu_norm" else nn.Linear
        self.project = nn.ModuleDict({n: project(widths[n], size) for n in self.names})
        self.subspaces = Subspaces(self.names, size, settings.activation)
        self.fusion = sub.VectorFusion(size, settings.heads, settings.feed, settings.fusion_dropout)
        # A view that contradicts the others reaches their private opinions only through fusion.
        own = settings.private == "own"
        self.norms = nn.ModuleDict({n: nn.LayerNorm(size) if own else nn.Identity() for n in self.names})
        self.collectors = nn.ModuleDict({n: self._collector(size, classes) for n in self.names})
        widths_shared = [len(self.names) * size] if settings.shared == "one" else [size] * len(self.names)
        self.shared_collectors = nn.ModuleList(self._collector(width, classes) for width in widths_shared)

    def _collector(self, width: int, classes: int) -> nn.Sequential:
        # Batch norm keeps evidence from vanishing but not from growing sure: e > 0 for every class, and accuracy falls.
        norm = EvidenceNorm(classes) if self.settings.batch_norm else nn.Identity()
        return nn.Sequential(nn.Linear(width, classes), norm, nn.Softplus())

    def read(self, batch: Batch) -> Read:
        """Evidence of the private vector of each view, then of the shared vectors."""
        vectors, seen_VB = ev.view_vectors(batch, self.names, self.text_encoder)
        split = self.subspaces(torch.stack([project(x) for project, x in zip(self.project.values(), vectors)]))
        parts_PBD = torch.cat([split.private_MBD, split.shared_MBD])
        if self.settings.unseen == "vacuous":
            parts_PBD = parts_PBD * seen_VB.repeat(2, 1)[..., None]
        fused_BPD, attention_BVV = self.fusion(parts_PBD.transpose(0, 1))
        private_VBD, shared_VBD = fused_BPD.transpose(0, 1).chunk(2)
        if self.settings.private == "own":
            private_VBD = split.private_MBD
        private = [self.collectors[n](self.norms[n](x_BD)) for n, x_BD in zip(self.names, private_VBD)]
        if self.settings.shared == "one":
            shared, shared_seen = [self.shared_collectors[0](torch.cat(list(shared_VBD), -1))], seen_VB.any(0)[None]
        else:
            shared = [collect(x_BD) for collect, x_BD in zip(self.shared_collectors, shared_VBD)]
            shared_seen = seen_VB
        evidence_OBK = torch.stack([*private, *shared]).float()
        seen_OB = torch.cat([seen_VB, shared_seen])
        return Read(split, attention_BVV, ev.without_unseen(evidence_OBK, seen_OB, self.settings.unseen))

    def opinions(self, read: Read) -> Tensor:
        """Evidence of all opinions, and last of the fused one, (O + 1, B, K)."""
        evidence_OBK = read.evidence_OBK
        if self.settings.fused == "prototype":
            return _prototype(evidence_OBK, len(self.names))
        return torch.cat([evidence_OBK, ev.fuse(evidence_OBK)[None]])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`prediction` (B, K), `uncertainty`, `conflict` (B,), `attention`, and per view evidence and both vectors."""
        read = self.read(batch)
        fused_BK = self.opinions(read)[-1]
        told = {
            "prediction": ev.expected(fused_BK),
            "uncertainty": ev.uncertainty(fused_BK),
            "conflict": ev.conflict(read.evidence_OBK),
            "attention": read.attention_BVV,
            "evidence_shared": ev.fuse(read.evidence_OBK[len(self.names) :]),
        }
        for v, name in enumerate(self.names):
            told[f"evidence_{name}"] = read.evidence_OBK[v]
            told[f"private_{name}"] = read.split.private_MBD[v]
            told[f"shared_{name}"] = read.split.shared_MBD[v]
        return told

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Mean evidential loss of all opinions + γ · conflict + weighted CMD, difference and reconstruction.

        In evaluation mode the total is the cross-entropy of the fused opinion's expected probabilities alone.
        """
        settings, read = self.settings, self.read(batch)
        opinions, split = all_rows(self.opinions(read), 1), read.split.whole_batch()
        targets_VB = all_rows(ev.targets(batch, self.names, settings.unimodal_labels), 1)
        whole_OB = targets_VB[-1:].expand(len(opinions) - len(self.names), -1)
        # Out of training the KL term has its full weight, so that epochs can be compared.
        kl_weight = ev.annealing(epoch, settings.annealing) if self.training else 1.0
        terms = {
            "evidential": ev.edl_loss(
                opinions, torch.cat([targets_VB[:-1], whole_OB]), settings.form, kl_weight
            ).mean(),
            "conflict": ev.conflict(opinions[:-1]).mean(),
            "sim": sub.central_moment_discrepancy(split.shared_MBD),
            "diff": sub.difference(split.private_MBD, split.shared_MBD),
            "recon": sub.reconstruction(split),
            "task": ev.task_loss(opinions[-1], targets_VB[-1]),
        }
        total = terms["evidential"] + settings.conflict * terms["conflict"] + settings.sim_weight * terms["sim"]
        total = total + settings.diff_weight * terms["diff"] + settings.recon_weight * terms["recon"]
        return {"loss": total if self.training else terms["task"], **terms}


def _prototype(evidence_OBK: Tensor, views: int) -> Tensor:
    """The prototype's opinions: its running sum overwrote the first view's evidence, which the loss then read, and the
    fused evidence took the private average twice and the shared opinion never."""
    total_BK = evidence_OBK[:views].sum(0)
    return torch.cat([total_BK[None], evidence_OBK[1:], 2 * total_BK[None] / views])
