"""MISA: modality-invariant and -specific representations (ACM MM 2020). In: a Batch. Out: predictions and losses.

Each modality becomes one vector, is split into a private and a shared part, and the parts are fused by a transformer.
B samples, T frames, W feature width, M modalities, D size of a vector, V vectors to fuse (2 M; M in smaller variants).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec, Padded
from lacuna.models.parts.recurrent import both_ways
from lacuna.models.parts.subspaces import (
    Projection,
    Split,
    Subspaces,
    VectorFusion,
    central_moment_discrepancy,
    difference,
    reconstruction,
)
from lacuna.models.parts.terms import cross_entropy, mean_of_known, squared_error
from lacuna.models.parts.text import Finetune, Source, pad_to, reverse_gradient, text_encoder_of
from lacuna.types import MalformedInput, require_words

ORDER = ("text", "vision", "audio", "image")  # the order of the vectors that are fused, as published
Variant = Literal["full", "base", "inv", "sfusion", "ifusion"]
Cell = Literal["lstm", "gru"]
Similarity = Literal["cmd", "adversarial"]
Lengths = Literal["own", "text"]
TextMean = Literal["real", "padded"]


@dataclass(frozen=True)
class Settings:
    """MISA's architecture and loss weights; the defaults are the published ones of MOSI, with the errata mended."""

    encoder: Source = "embedded"  # of token ids: see layers.TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on
    size: int = 128  # D
    heads: int = 2
    dropout: float = 0.2  # of the head and the discriminator
    fusion_dropout: float = 0.1  # of the transformer, torch's default in the published code
    cell: Cell = "lstm"  # or gru
    recurrent: tuple[str, ...] = ("audio", "vision")  # summarised by recurrence, others by mean; GloVe: with "text"
    orthogonal: bool = True  # recurrent weights start orthogonal
    lengths: Lengths = "own"  # each sequence is read to its end, or as far as the text is long (published)
    text_mean: TextMean = "real"  # or over padding too, as the authors' code has it (not MMSA's)
    variant: Variant = "full"  # base: no subspaces; inv: none private; sfusion, ifusion: only private, shared are fused
    similarity: Similarity = "cmd"  # or a discriminator behind reversed gradients
    reverse_weight: float = 0.8  # of the gradient that the adversary sends back
    sim_weight: float = 0.3
    diff_weight: float = 0.1
    recon_weight: float = 1.0

    def __post_init__(self) -> None:
        require_words(self)
        if self.size % self.heads:
            raise MalformedInput(f"misa.size: expected a multiple of heads = {self.heads}, got {self.size}")


PUBLISHED = Settings(finetune=True, encoder="bert-base-uncased", lengths="text")
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "batch_size": 16,
    "accumulate": 2,
    "schedule": "constant",
    "epochs": 100,
    "early_stop": 8,
    "clip_value": 0.8,
    "pattern": "mixed",
}


class Recurrence(nn.Module):
    """Two bidirectional LSTMs or GRUs of the input's width with a layer norm between → (B, 4 W), their final states."""

    def __init__(self, width: int, cell: str, orthogonal: bool) -> None:
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.first = kind(width, width, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(2 * width)
        self.second = kind(2 * width, width, bidirectional=True, batch_first=True)
        if orthogonal:
            for name, parameter in self.named_parameters():
                if "weight_hh" in name:
                    nn.init.orthogonal_(parameter)

    def forward(self, x_BTW: Tensor, lengths_B: Tensor) -> Tensor:
        """Only the first `lengths_B` frames of each sequence are read."""
        states_BTH, first_BH = both_ways(self.first, x_BTW, lengths_B)
        _, second_BH = both_ways(self.second, self.norm(states_BTH), lengths_B)
        # First and second layer forward, then both backward, as published.
        return torch.stack([first_BH, second_BH], 1).unflatten(-1, (2, -1)).transpose(1, 2).flatten(1)


class Model(nn.Module):
    """MISA over the modalities that `spec.widths` names."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.modalities = [m for m in ORDER if m in spec.widths]
        self.spec, size = spec, settings.size
        self.text_encoder, widths = text_encoder_of(spec, settings)
        self.settings = settings
        self.recurrence = nn.ModuleDict(
            {m: Recurrence(widths[m], settings.cell, settings.orthogonal) for m in self._recurrent()}
        )
        self.project = nn.ModuleDict(
            {m: Projection(widths[m] * (4 if m in self.recurrence else 1), size) for m in self.modalities}
        )
        if settings.variant != "base":
            self.subspaces = Subspaces(self.modalities, size, private=settings.variant != "inv")
        if settings.similarity == "adversarial" and settings.variant != "base":
            self.discriminator = nn.Sequential(
                nn.Linear(size, size), nn.ReLU(), nn.Dropout(settings.dropout), nn.Linear(size, len(self.modalities))
            )
        self.fusion = VectorFusion(size, settings.heads, dropout=settings.fusion_dropout)
        vectors = len(self.modalities) * (2 if settings.variant == "full" else 1)
        self.head = nn.Sequential(
            nn.Linear(vectors * size, vectors * size // 2),
            nn.Dropout(settings.dropout),
            nn.ReLU(),
            nn.Linear(vectors * size // 2, spec.classes or 1),
        )

    def _recurrent(self) -> list[str]:
        return [m for m in self.modalities if m in self.settings.recurrent]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction, attention (B, V, V), and the vectors `private_<modality>`, `shared_<modality>` (B, D)."""
        output_BK, split, attention_BVV = self._outputs(batch)
        outputs = {"prediction": output_BK.softmax(-1) if self.spec.classes else output_BK[:, 0]}
        if self.settings.variant not in ("base", "inv"):
            outputs |= {f"private_{m}": x_BD for m, x_BD in zip(self.modalities, split.private_MBD)}
        if self.settings.variant != "base":
            outputs |= {f"shared_{m}": x_BD for m, x_BD in zip(self.modalities, split.shared_MBD)}
        return outputs | {"attention": attention_BVV}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Task + sim + diff + recon, each weighted (MISA eq. 12); samples without a label have no task term.

        In evaluation mode the total is the task's alone: it is what the published programs choose an epoch by, and the
        other terms keep falling long after the task is learnt by heart.
        """
        settings = self.settings
        output_BK, split, _ = self._outputs(batch)
        terms = {"task": self._task(all_rows(output_BK), all_rows(batch.labels["M"]))}
        total = terms["task"]
        if settings.variant != "base":
            split = split.whole_batch()
            terms |= {"sim": self._similarity(split), "recon": reconstruction(split)}
            total = total + settings.sim_weight * terms["sim"] + settings.recon_weight * terms["recon"]
        if settings.variant not in ("base", "inv"):
            terms["diff"] = difference(split.private_MBD, split.shared_MBD)
            total = total + settings.diff_weight * terms["diff"]
        return {"loss": total if self.training else terms["task"], **terms}

    def _task(self, output_BK: Tensor, labels_B: Tensor) -> Tensor:
        if self.spec.classes:
            return mean_of_known(cross_entropy(output_BK, labels_B), labels_B)
        return mean_of_known(squared_error(output_BK[:, 0], labels_B), labels_B)

    def _similarity(self, split: Split) -> Tensor:
        """CMD of the shared vectors, or how well a discriminator tells their modalities, its gradient reversed."""
        if self.settings.similarity == "cmd":
            return central_moment_discrepancy(split.shared_MBD)
        logits_MBM = self.discriminator(reverse_gradient(split.shared_MBD, self.settings.reverse_weight))
        count, batch = logits_MBM.shape[:2]
        domains = torch.arange(count, device=logits_MBM.device).repeat_interleave(batch)
        return F.cross_entropy(logits_MBM.flatten(0, 1), domains)

    def _outputs(self, batch: Batch) -> tuple[Tensor, Split, Tensor]:
        """Logits or score (B, K), the split vectors (in variant base: as projected) and the fusion's attention."""
        whole_MBD = torch.stack([self.project[m](self._summary(m, batch)) for m in self.modalities])
        variant = self.settings.variant
        if variant == "base":
            split, vectors_VBD = Split(whole_MBD, whole_MBD, whole_MBD, whole_MBD), whole_MBD
        else:
            split = self.subspaces(whole_MBD)
            vectors_VBD = {
                "full": torch.cat([split.private_MBD, split.shared_MBD]),
                "inv": split.shared_MBD,
                "sfusion": split.private_MBD,
                "ifusion": split.shared_MBD,
            }[variant]
        fused_BVD, attention_BVV = self.fusion(vectors_VBD.transpose(0, 1))
        return self.head(fused_BVD.flatten(1)), split, attention_BVV

    def _summary(self, modality: str, batch: Batch) -> Tensor:
        """One vector per sample: final states of the recurrence (B, 4 W), or the mean over frames (B, W)."""
        padded = batch[modality]
        encoder = self.text_encoder if modality == "text" else None
        x_BTW = padded.values if encoder is None else encoder(padded)
        if modality == "text" and self.settings.text_mean == "padded":
            return x_BTW.mean(1)
        x_BTW = torch.where(padded.real[..., None], x_BTW, 0)  # padding may hold anything, NaN included
        if modality in self.recurrence:
            return self._recur(modality, x_BTW, padded, batch)
        return x_BTW.sum(1) / padded.lengths[:, None]

    def _recur(self, modality: str, x_BTW: Tensor, padded: Padded, batch: Batch) -> Tensor:
        # Published: every sequence is read as far as the text is long, and no further.
        like_text = self.settings.lengths == "text" and "text" in batch.modalities
        read = batch["text"] if like_text else padded
        x_BTW = pad_to(replace(padded, values=x_BTW), int(read.counts.max())).values
        return self.recurrence[modality](x_BTW, read.lengths)
