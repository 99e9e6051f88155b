"""DMD: decoupled multimodal distilling (Li et al., CVPR 2023). In: a Batch. Out: predictions and losses.

Each modality is split into a private and a shared sequence; graph distillation units let modalities teach each other
in both spaces. B samples, T frames, D width, M modalities, P = M (M - 1) ordered pairs of them, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts.attention import dropout
from lacuna.models.parts.crossmodal import (
    CrossmodalTransformer,
    Frames,
    ResidualHead,
    Shape,
    convolved,
    require_streams,
)
from lacuna.models.parts.distillation import DistillationUnit, cosine, imitation, margin_loss
from lacuna.models.parts.reading import Padding, read
from lacuna.models.parts.terms import absolute_error, added, cross_entropy, mean_of_known
from lacuna.models.parts.text import Finetune, Source, text_encoder_of
from lacuna.types import MODALITIES, require_words

ORDER = ("text", "vision", "audio", "image")  # of everything that is concatenated or stacked, as published
HeteroTerm = Literal["pull", "push"]
Orthogonality = Literal["features", "batch"]
Representation = Literal["linear", "rectified"]


@dataclass(frozen=True)
class Settings:
    """The architecture and the weights of the losses: MOSI's published ones, with the errata mended."""

    encoder: Source = "embedded"  # of token ids: see layers.TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on
    width: int = 50  # D; 30 for MOSEI
    heads: int = 10  # 6 for MOSEI
    depth: int = 4
    kernels: dict[str, int] = field(default_factory=lambda: {"text": 5, "audio": 5, "vision": 5, "image": 1})
    causal: bool = True  # a frame attends to none that is later
    text_dropout: float = 0.5
    attention_dropout: dict[str, float] = field(default_factory=lambda: {"text": 0.3, "audio": 0.2})  # by source
    memory_dropout: float = 0.3
    relu_dropout: float = 0.0
    residual_dropout: float = 0.0
    embed_dropout: float = 0.2
    output_dropout: float = 0.5
    homo_size: int = 64  # of the graph distillation units
    hetero_size: int = 32
    homo_weight: float = 0.05
    hetero_weight: float = 0.05
    homo_repr_weight: float = 0.0  # 10 in the published code, which never adds this term
    hetero_repr_weight: float = 10.0
    edge_weight: float = 10.0  # of the distance between mean edges and prior
    decoupling_weight: float = 0.1  # of cycle + reconstruction + margin_weight · (margin + orthogonality)
    margin_weight: float = 0.1
    margin: float = 0.15  # per unit of difference in label
    padding: Padding = "masked"  # or read as if it were frames, up to spec.lengths (published)
    hetero_term: HeteroTerm = "pull"  # representations together, by edge; push (published) does the reverse, unweighted
    orthogonality: Orthogonality = "features"  # private ⊥ shared in each frame; batch: across the batch (published)
    representation: Representation = "linear"  # of the homogeneous unit; rectified by an in-place ReLU (published)
    equal_widths: bool = True  # project features that are already D wide (published: not)

    def __post_init__(self) -> None:
        require_words(self)
        require_streams("dmd", self)


PUBLISHED = Settings(
    finetune=True,
    encoder="bert-base-uncased",
    padding="read",
    hetero_term="push",
    orthogonality="batch",
    representation="rectified",
    equal_widths=False,
)
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "batch_size": 16,
    "accumulate": 10,
    "schedule": "plateau",
    "patience": 5,
    "epochs": 100,
    "early_stop": 10,
    "clip_value": 0.6,
    "pattern": "mixed",
}


@dataclass(frozen=True)
class Decoupled:
    """One modality's sequences, zero where padded: as convolved, private, shared, and rebuilt from both."""

    origin: Frames
    private_BTD: Tensor
    shared_BTD: Tensor
    rebuilt_BTD: Tensor
    again_BTD: Tensor  # the private part of the rebuilt sequence

    def error(self, x_BTD: Tensor, y_BTD: Tensor) -> Tensor:
        """Mean squared difference over real frames (on padding both are zero)."""
        return self.mean((x_BTD - y_BTD).square().sum(-1)) / x_BTD.shape[-1]

    def mean(self, x_BT: Tensor) -> Tensor:
        """Mean over the real frames of the whole batch."""
        return all_rows(x_BT.sum(1)).sum() / all_rows(self.origin.lengths_B).sum()


@dataclass(frozen=True)
class Heads:
    """Outputs (M, B, K) and representations (M, B, D) of both spaces, of all shared parts, and of everything."""

    homo_logits: Tensor
    homo_reprs: Tensor
    hetero_logits: Tensor
    hetero_reprs: Tensor
    common: Tensor  # (B, K), of the shared parts together
    final: Tensor  # (B, K), the prediction

    def whole_batch(self) -> Heads:
        """With the samples of all processes."""
        return Heads(
            homo_logits=all_rows(self.homo_logits, 1),
            homo_reprs=all_rows(self.homo_reprs, 1),
            hetero_logits=all_rows(self.hetero_logits, 1),
            hetero_reprs=all_rows(self.hetero_reprs, 1),
            common=all_rows(self.common),
            final=all_rows(self.final),
        )


class Model(nn.Module):
    """DMD over the modalities that `spec.widths` names."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        self.modalities = [m for m in ORDER if m in spec.widths]
        self.text_encoder, widths = text_encoder_of(spec, settings)
        # One modality alone asks itself.
        self.partners = {m: [p for p in MODALITIES if p in widths and p != m] or [m] for m in self.modalities}
        self._build_sequences(widths)
        self._build_heads(spec.classes or 1)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(student, teacher) of each column of `edges_homo` and `edges_hetero`."""
        return list(permutations(self.modalities, 2))

    def _build_sequences(self, widths: dict[str, int]) -> None:
        s, names = self.settings, self.modalities
        kept = [m for m in names if widths[m] == s.width and not s.equal_widths]
        self.kernels = {m: 1 if m in kept else s.kernels.get(m, 1) for m in names}
        self.project = nn.ModuleDict(
            {m: nn.Conv1d(widths[m], s.width, self.kernels[m], bias=False) for m in names if m not in kept}
        )
        self.private = nn.ModuleDict({m: nn.Linear(s.width, s.width, bias=False) for m in names})
        self.shared = nn.Linear(s.width, s.width, bias=False)
        self.decoder = nn.ModuleDict({m: nn.Linear(2 * s.width, s.width, bias=False) for m in names})
        self.self_attention: Any = nn.ModuleDict({m: self._transformer(s.width, m) for m in names})
        self.crossmodal = nn.ModuleDict(
            {f"{m}_with_{p}": self._transformer(s.width, p) for m in names for p in self.partners[m]}
        )
        self.memory: Any = nn.ModuleDict({m: self._transformer(s.width * len(self.partners[m])) for m in names})

    def _transformer(self, width: int, source: str | None = None) -> CrossmodalTransformer:
        s = self.settings
        attention = s.memory_dropout if source is None else s.attention_dropout.get(source, 0.0)
        dropouts = (attention, s.relu_dropout, s.residual_dropout, s.embed_dropout)
        return CrossmodalTransformer(width, Shape(s.heads, s.depth, *dropouts, skip_zeros=s.padding == "read"))

    def _build_heads(self, outputs: int) -> None:
        s, names = self.settings, self.modalities
        high, common = s.width * len(self.partners[names[0]]), s.width * len(names)
        self.frames = {m: max(1, self.spec.lengths[m] - self.kernels[m] + 1) for m in names}
        flat = {m: s.width * self.frames[m] for m in names}
        self.align = nn.ModuleDict({m: nn.Linear(flat[m], s.width) for m in names})
        self.homo_head = nn.ModuleDict({m: ResidualHead(flat[m], s.width, outputs, s.output_dropout) for m in names})
        self.hetero_head = nn.ModuleDict({m: ResidualHead(high, high, outputs, s.output_dropout) for m in names})
        self.common_head = ResidualHead(common, common, outputs, s.output_dropout)
        self.private_gate = nn.ModuleDict({m: nn.Linear(high, high) for m in names})
        self.common_gate = nn.Linear(common, common)
        total = high * len(names) + common
        self.final_head = ResidualHead(total, total, outputs, s.output_dropout)
        if self.pairs:
            homo = [teacher == "text" for _, teacher in self.pairs]
            hetero = [t == "text" or (s == "audio" and t in ("vision", "image")) for s, t in self.pairs]
            self.homo = DistillationUnit(outputs, s.width, s.homo_size, homo)
            self.hetero = DistillationUnit(outputs, high, s.hetero_size, hetero)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction, and the edges (B, P) of both units, in the order of `pairs`."""
        heads = self.heads(self.decouple(batch))
        told = {"prediction": heads.final.softmax(-1) if self.spec.classes else heads.final[:, 0]}
        if self.pairs:
            told["edges_homo"] = self.homo(heads.homo_logits, heads.homo_reprs).T
            told["edges_hetero"] = self.hetero(heads.hetero_logits, heads.hetero_reprs).T
        return told

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Task + distillation + .1 · (cycle + reconstruction + .1 · (margin + orthogonality)); section 3.3.

        `task` is the sum over all heads, `final` that of the prediction, which in evaluation mode is the total: it is
        what the published program chooses an epoch by.
        """
        s, labels_B = self.settings, all_rows(batch.labels["M"])
        parts = self.decouple(batch)
        heads = self.heads(parts).whole_batch()
        outputs = [heads.final, heads.common, *heads.homo_logits, *heads.hetero_logits]
        tasks = [self._task(output_BK, labels_B) for output_BK in outputs]
        terms = {"task": added(tasks), "final": tasks[0]}
        terms["recon"] = added(p.error(p.rebuilt_BTD, p.origin.values_BTD) for p in parts.values())
        terms["cycle"] = added(p.error(p.again_BTD, p.private_BTD) for p in parts.values())
        terms["orthogonality"] = added(self._overlap(p) for p in parts.values())
        terms["margin"] = margin_loss(all_rows(self.aligned(parts)), labels_B, s.margin)
        decoupling = terms["cycle"] + terms["recon"] + s.margin_weight * (terms["margin"] + terms["orthogonality"])
        total = terms["task"] + s.decoupling_weight * decoupling
        if self.pairs:
            homo, hetero = self._distil(heads)
            total = total + s.homo_weight * added(homo.values()) + s.hetero_weight * added(hetero.values())
            terms |= {f"homo_{k}": v for k, v in homo.items()} | {f"hetero_{k}": v for k, v in hetero.items()}
        return {"loss": total if self.training else terms["final"], **terms}

    def decouple(self, batch: Batch) -> dict[str, Decoupled]:
        """Convolved features, split into private and shared sequences, and rebuilt from both; section 3.1."""
        parts = {}
        for m in self.modalities:
            origin = self._convolved(m, batch)
            private, shared = self.private[m](origin.values_BTD), self.shared(origin.values_BTD)
            rebuilt = self.decoder[m](torch.cat([private, shared], -1))
            parts[m] = Decoupled(origin, private, shared, rebuilt, self.private[m](rebuilt))
        return parts

    def _convolved(self, m: str, batch: Batch) -> Frames:
        """(B, T - kernel + 1, D) frames; a sequence shorter than the kernel gives one."""
        frames = read(batch, m, self.text_encoder, self.spec, self.settings.padding)
        if m == "text":
            frames = replace(frames, values_BTD=dropout(frames.values_BTD, self.settings.text_dropout, self.training))
        return convolved(frames, dict(self.project.items()).get(m), self.settings.padding == "masked")

    def aligned(self, parts: dict[str, Decoupled]) -> Tensor:
        """(B, M, D): the shared sequences as one vector each, for the margin loss."""
        return torch.stack([self.align[m](self._flat(m, parts[m])) for m in self.modalities], 1)

    def _flat(self, m: str, part: Decoupled) -> Tensor:
        """The shared sequence laid end to end, zeros up to the most frames it may have: (B, frames · D)."""
        return F.pad(part.shared_BTD, (0, 0, 0, self.frames[m] - part.shared_BTD.shape[1])).flatten(1)

    def heads(self, parts: dict[str, Decoupled]) -> Heads:
        """Every output the loss judges: M of the homogeneous space, M of the heterogeneous one, common, final."""
        s, names = self.settings, self.modalities
        private = {m: Frames(parts[m].private_BTD, parts[m].origin.lengths_B) for m in names}
        shared = {m: Frames(parts[m].shared_BTD, parts[m].origin.lengths_B) for m in names}
        homo = [self.homo_head[m](self._flat(m, parts[m])) for m in names]
        common_BD = torch.cat([self.self_attention[m].readout(shared[m], s.causal) for m in names], 1)
        memories = [self._remember(m, private) for m in names]
        hetero = [self.hetero_head[m](x_BD) for m, x_BD in zip(names, memories)]
        gated = [self.private_gate[m](x_BD).sigmoid() for m, x_BD in zip(names, memories)]
        final_BD = torch.cat([*gated, self.common_gate(common_BD).sigmoid()], 1)
        hidden = torch.stack([hidden for _, hidden, _ in homo])
        return Heads(
            homo_logits=torch.stack([logits for logits, _, _ in homo]),
            homo_reprs=hidden if s.representation == "linear" else F.relu(hidden),
            hetero_logits=torch.stack([logits for logits, _, _ in hetero]),
            hetero_reprs=torch.stack([read for _, _, read in hetero]),
            common=self.common_head(common_BD)[0],
            final=self.final_head(final_BD)[0],
        )

    def _remember(self, m: str, private: dict[str, Frames]) -> Tensor:
        """(B, (M - 1) D): what the private parts of the others tell this one, read at its last frame."""
        causal = self.settings.causal
        asked = [self.crossmodal[f"{m}_with_{p}"](private[m], private[p], causal) for p in self.partners[m]]
        return self.memory[m].readout(Frames(torch.cat(asked, -1), private[m].lengths_B), causal)

    def _task(self, output_BK: Tensor, labels_B: Tensor) -> Tensor:
        """Mean absolute error, or cross-entropy; samples without a label count for nothing."""
        if self.spec.classes:
            return mean_of_known(cross_entropy(output_BK, labels_B), labels_B)
        return mean_of_known(absolute_error(output_BK[:, 0], labels_B), labels_B)

    def _overlap(self, part: Decoupled) -> Tensor:
        """Mean positive cosine of private and shared: of each frame's features, or (published) across the batch."""
        private_BTD, shared_BTD = part.private_BTD, part.shared_BTD
        if self.settings.orthogonality == "batch":
            return F.relu(cosine(all_rows(private_BTD), all_rows(shared_BTD), 0)).mean()
        return part.mean(F.relu(cosine(private_BTD, shared_BTD, -1)))

    def _distil(self, heads: Heads) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weighted terms of the homogeneous and the heterogeneous unit; teachers are not taught; section 3.2."""
        s, homo, hetero = self.settings, self.homo, self.hetero
        edges_PB = homo(heads.homo_logits, heads.homo_reprs)
        near = {
            "reg": s.edge_weight * homo.regularizer(edges_PB),
            "logit": homo.weighted(imitation(heads.homo_logits, "l1"), edges_PB),
            "repr": s.homo_repr_weight * homo.weighted(imitation(heads.homo_reprs, "l1"), edges_PB),
        }
        edges_PB = hetero(heads.hetero_logits, heads.hetero_reprs)
        far = {
            "reg": s.edge_weight * hetero.regularizer(edges_PB),
            "logit": hetero.weighted(imitation(heads.hetero_logits, "l1"), edges_PB),
            "repr": s.hetero_repr_weight * hetero.weighted(imitation(heads.hetero_reprs, s.hetero_term), edges_PB),
        }
        return near, far
