"""LNLN, the language-dominated noise-resistant network (NeurIPS 2024). In: a Batch. Out: predictions and losses.

The dominant modality (text, where there is one) is corrected by a proxy made of the others, as much as it is
incomplete, then leads the fusion. Symbols are the paper's; where its code differs, a setting chooses (docs/errata.md).
B samples, T frames, K learnt tokens, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute import linear
from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec, Padded
from lacuna.models.parts.lnln_blocks import CrossTransformer, Embedding, HyperLayer, Transformer
from lacuna.models.parts.text import Finetune, Source, fit_to, pad_to, reverse_gradient, text_encoder_of
from lacuna.types import MODALITIES, MalformedInput, require_words

Completeness = Literal["predicted", "counted"]
Judged = Literal["corrected", "proxy"]
Reversal = Literal["discriminator", "proxy"]
Padding = Literal["masked", "read"]
HyperStart = Literal["random", "ones"]


@dataclass(frozen=True)
class Settings:
    """The architecture and the weights of the losses; the defaults are the mended form."""

    encoder: Source = "embedded"  # of token ids: see layers.TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on
    dominant: str = "text"  # where the data lacks it, the first that it has of text, audio, vision, image
    width: int = 128  # D
    tokens: int = 8  # K, what is kept of each modality
    heads: int = 8
    hidden: int = 128  # width inside the feed-forward layers
    depth: int = 2  # of the transformer that embeds each modality
    proxy_depth: int = 2
    completeness_depth: int = 2
    reconstructor_depth: int = 2
    dominant_depth: int = 2
    hyper_depth: int = 3  # layer i reads state i of the dominant encoder: at most dominant_depth + 1
    cross_depth: int = 2  # 4 for SIMS
    discriminator_hidden: int = 64
    alpha: float = 0.9  # completeness
    beta: float = 0.8  # adversarial; .6 for SIMS
    gamma: float = 0.1  # reconstruction
    delta: float = 1.0  # sentiment
    completeness: Completeness = "predicted"  # or the fraction of the dominant modality that was seen
    judged: Judged = "corrected"  # the discriminator sees H¹_d (the code), or "proxy": H¹_p (the paper's equation)
    reversal: Reversal = "discriminator"  # whose gradient is reversed; "proxy" (published): all that reaches H¹_p
    padding: Padding = "masked"  # or read as if it were frames, up to spec.lengths (published)
    hyper_start: HyperStart = "random"  # ones (published) have no variance: the first norm makes 0 of them

    def __post_init__(self) -> None:
        require_words(self)
        if self.dominant not in MODALITIES:
            raise MalformedInput(f"lnln.dominant: expected one of {MODALITIES}, got {self.dominant!r}")
        if not 1 <= self.hyper_depth <= self.dominant_depth + 1:
            most = self.dominant_depth + 1
            raise MalformedInput(f"lnln.hyper_depth: expected 1 to dominant_depth + 1 = {most}, got {self.hyper_depth}")
        if self.width % self.heads:
            raise MalformedInput(f"lnln.width: expected a multiple of {self.heads} heads, got {self.width}")


PUBLISHED = Settings(finetune=True, encoder="bert-base-uncased", reversal="proxy", padding="read", hyper_start="ones")
TRAINING = {
    "optimizer": "adamw",
    "learning_rate": 1e-4,
    "weight_decay": 1e-4,
    "batch_size": 64,
    "epochs": 200,
    "schedule": "warmup_cosine",
    "warmup": 0.1,
    "pattern": "mixed",
}


class CompletenessCheck(nn.Module):
    """H¹ of the dominant modality -> w (B, 1), how complete it is (DMC)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        s = settings
        self.transformer = Transformer(s.tokens, 1, s.width, s.heads, s.hidden, s.completeness_depth)
        self.head = nn.Sequential(
            nn.Linear(s.width, s.width // 2), nn.LeakyReLU(0.1), nn.Linear(s.width // 2, 1), nn.Sigmoid()
        )

    def forward(self, h_BKD: Tensor) -> Tensor:
        return self.head(self.transformer(h_BKD, keep=1).squeeze(1))


class Model(nn.Module):
    """LNLN for whatever modalities `spec` names; with one alone, that one also stands for the others."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec = spec
        self.text_encoder, widths = text_encoder_of(spec, settings)
        self.settings = s = settings
        self.modalities = sorted(spec.widths, key=MODALITIES.index)
        self.dominant = s.dominant if s.dominant in spec.widths else self.modalities[0]
        self.others = [m for m in self.modalities if m != self.dominant] or [self.dominant]

        block = (s.width, s.heads, s.hidden)
        self.embeddings = nn.ModuleDict(
            {m: Embedding(widths[m], spec.lengths[m], s.tokens, block, s.depth) for m in self.modalities}
        )
        start = torch.ones if s.hyper_start == "ones" else torch.randn
        self.hyper = nn.Parameter(start(1, s.tokens, s.width))
        self.proxy_start = nn.Parameter(torch.ones(1, s.tokens, s.width))
        self.proxy = Transformer((1 + len(self.others)) * s.tokens, s.tokens, *block, s.proxy_depth)
        self.completeness = CompletenessCheck(s) if s.completeness == "predicted" else None
        self.discriminator = nn.Sequential(
            nn.Linear(s.width, s.discriminator_hidden), nn.LeakyReLU(0.1), nn.Linear(s.discriminator_hidden, 2)
        )
        self.reconstructors = nn.ModuleDict(
            {m: Transformer(s.tokens, 0, *block, s.reconstructor_depth) for m in self.modalities}
        )
        self.dominant_encoder = Transformer(s.tokens, 0, *block, s.dominant_depth)
        self.hyper_layers = nn.ModuleList(HyperLayer(self.others, s.width, s.heads) for _ in range(s.hyper_depth))
        self.cross = CrossTransformer(s.tokens, *block, s.cross_depth)
        self.head = nn.Linear(s.width, spec.classes or 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """{"prediction": (B,) score or (B, classes) probabilities, "completeness": (B,) of the dominant modality}."""
        features = {m: self._embed(m, self._framed(m, batch[m])) for m in self.modalities}
        w_B1, proxy_BKD = self._weigh(features, batch)
        output_BC = self._fuse(features, w_B1, proxy_BKD)
        prediction = output_BC.softmax(-1) if self.spec.classes else output_BC.squeeze(-1)
        return {"prediction": prediction, "completeness": w_B1.squeeze(-1)}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """α·cc + β·adv + γ·rec + δ·sp and its terms.

        In evaluation mode the total is `sp` alone: adversarial terms do not tell which epoch predicts best.
        """
        s = self.settings
        features, targets = self.embed_both(batch, complete)
        w_B1, proxy_BKD = self._weigh(features, batch)
        output_BC = self._fuse(features, w_B1, proxy_BKD)
        terms = {
            "sp": self._sentiment_loss(all_rows(output_BC), all_rows(batch.labels["M"])),
            "adv": self._adversarial_loss(features, targets, w_B1, proxy_BKD),
            "rec": self._reconstruction_loss(features, targets),
        }
        total = s.delta * terms["sp"] + s.beta * terms["adv"] + s.gamma * terms["rec"]
        if self.completeness is not None:
            terms["cc"] = F.mse_loss(all_rows(w_B1), all_rows(self.true_completeness(batch)))
            total = total + s.alpha * terms["cc"]
        return {"loss": total if self.training else terms["sp"], **terms}

    def true_completeness(self, batch: Batch) -> Tensor:
        """(B, 1): the label "completeness" (1 - the drawn rate) where given, else the seen part of what can be lost."""
        padded = batch[self.dominant]
        losable_BT = padded.real
        if self.spec.tokens and self.dominant == "text":  # [CLS] and [SEP] are never lost
            places = torch.arange(losable_BT.shape[1], device=losable_BT.device)
            losable_BT = losable_BT & (places > 0) & (places < padded.lengths[:, None] - 1)
        count_B = losable_BT.sum(1)
        fraction_B = (padded.seen & losable_BT).sum(1) / count_B.clamp(min=1)
        fraction_B = torch.where(count_B > 0, fraction_B, padded.seen[:, 0].to(fraction_B.dtype))
        given_B = batch.labels.get("completeness")
        if given_B is not None:
            fraction_B = torch.where(given_B.isnan(), fraction_B, given_B)
        return fraction_B[:, None]

    def _framed(self, modality: str, padded: Padded) -> Padded:
        """At most spec.lengths frames; exactly as many where padding is read."""
        fit = pad_to if self.settings.padding == "read" else fit_to
        return fit(padded, self.spec.lengths[modality])

    def _embed(self, modality: str, padded: Padded) -> Tensor:
        """H¹ of one modality (B, K, D)."""
        encoder = self.text_encoder if modality == "text" else None
        x_BTD = padded.values if encoder is None else encoder(padded)
        real_BT: Tensor | None = padded.real
        if self.settings.padding == "read" or padded.full:  # attention without a mask is faster
            real_BT = None
        with linear.fast(x_BTD.device):
            return self.embeddings[modality](x_BTD, real_BT)

    def embed_both(self, batch: Batch, complete: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """H¹ of the batch and of the complete batch; a sequence that lost nothing is encoded once for both."""
        features, targets = {}, {}
        # The longest first: its gradients come last, when what the others kept for theirs is gone.
        for m in sorted(self.modalities, key=lambda m: -self.spec.lengths[m]):
            lossy, whole = self._framed(m, batch[m]), self._framed(m, complete[m])
            changed = torch.arange(0) if batch is complete else _changed(lossy, whole)
            h_BKD = self._embed(m, lossy.followed_by(whole.rows(changed)))
            row_B = torch.arange(len(batch))
            row_B[changed] = len(batch) + torch.arange(len(changed))
            features[m] = h_BKD[: len(batch)]
            targets[m] = h_BKD[row_B.to(h_BKD.device, non_blocking=True)]
        return {m: features[m] for m in self.modalities}, {m: targets[m] for m in self.modalities}

    def _weigh(self, features: dict[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """w (B, 1), the completeness of the dominant modality, and its proxy H¹_p (B, K, D) (DMC)."""
        dominant_BKD = features[self.dominant]
        w_B1 = self.true_completeness(batch) if self.completeness is None else self.completeness(dominant_BKD)
        start_BKD = self.proxy_start.expand(len(dominant_BKD), -1, -1)
        sources = torch.cat([start_BKD, *(features[m] for m in self.others)], dim=1)
        proxy_BKD = self.proxy(sources, self.settings.tokens)
        return w_B1, reverse_gradient(proxy_BKD) if self.settings.reversal == "proxy" else proxy_BKD

    def _fuse(self, features: dict[str, Tensor], w_B1: Tensor, proxy_BKD: Tensor) -> Tensor:
        """The head's output (B, 1 or classes) from the corrected dominant feature (DMML)."""
        states = self.dominant_encoder.states(_corrected(features[self.dominant], w_B1, proxy_BKD))
        hyper_BKD = self.hyper.expand(len(w_B1), -1, -1)
        for layer, state in zip(self.hyper_layers, states, strict=False):
            hyper_BKD = layer(hyper_BKD, state, features)
        return self.head(self.cross(hyper_BKD, states[-1]).mean(1))

    def _adversarial_loss(
        self, features: dict[str, Tensor], targets: dict[str, Tensor], w_B1: Tensor, proxy_BKD: Tensor
    ) -> Tensor:
        """Cross-entropy of telling the made dominant feature (1) from the complete one (0), token by token."""
        s = self.settings
        if s.reversal == "discriminator":
            proxy_BKD = reverse_gradient(proxy_BKD)
        made = _corrected(features[self.dominant], w_B1, proxy_BKD) if s.judged == "corrected" else proxy_BKD
        # Made and complete are the first axis.
        logits = all_rows(self.discriminator(torch.stack((made, targets[self.dominant]))), 1).flatten(0, 2)
        truth = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        truth[: len(logits) // 2] = 1
        return F.cross_entropy(logits, truth)

    def _reconstruction_loss(self, features: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
        """Mean squared error of the complete H¹ rebuilt from the incomplete one."""
        rebuilt = {m: self.reconstructors[m](h_BKD, self.settings.tokens) for m, h_BKD in features.items()}
        errors_MB = torch.stack([(rebuilt[m] - targets[m]).square().mean((1, 2)) for m in features])
        return all_rows(errors_MB, 1).mean()

    def _sentiment_loss(self, output_BC: Tensor, label_B: Tensor) -> Tensor:
        """Squared error, or cross-entropy, over the samples that have a label."""
        known_B = ~label_B.isnan()
        label_B = label_B.nan_to_num()
        if self.spec.classes:
            error_B = F.cross_entropy(output_BC, label_B.long(), reduction="none")
        else:
            error_B = (output_BC.squeeze(-1) - label_B).square()
        return (error_B * known_B).sum() / known_B.sum().clamp(min=1)


def _corrected(dominant_BKD: Tensor, w_B1: Tensor, proxy_BKD: Tensor) -> Tensor:
    """H¹_d = (1 - w)·H¹_p + w·H¹ of the dominant modality."""
    w_B11 = w_B1[..., None]
    return proxy_BKD * (1 - w_B11) + dominant_BKD * w_B11


def _changed(lossy: Padded, whole: Padded) -> Tensor:
    """(K,) the sequences that differ from the complete ones, on the CPU: as noted, or found by looking at all."""
    if lossy.changed is not None:
        return lossy.changed
    same_B = (lossy.values == whole.values).flatten(1).all(1) & (lossy.seen == whole.seen).all(1)
    return (~same_B).nonzero()[:, 0].cpu()
