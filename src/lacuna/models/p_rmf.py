"""P-RMF: proxy-driven robust multimodal fusion (Zhu et al., ACL 2025). In: a Batch. Out: predictions and losses.

UNVERIFIED: the authors' program could not be had; this follows third parties' copies of it (docs/models.md). Each
modality's tokens become Gaussians; their means, weighted by how narrow they are, are a proxy, which asks all modalities
in turn. B samples, T frames, K learnt tokens, D model width, M modalities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts import task
from lacuna.models.parts.lnln_blocks import Embedding, Transformer
from lacuna.models.parts.reading import Padding, read
from lacuna.models.parts.terms import added
from lacuna.models.parts.text import Finetune, Source, reverse_gradient, text_encoder_of
from lacuna.types import MalformedInput, require_words

Reversal = Literal["none", "proxy"]
Layers = Literal["own", "shared"]
Target = Literal["fixed", "learnt"]
RANKS = ("text", "vision", "audio")  # of the pairs whose Gaussians are drawn together, the later to the earlier


@dataclass(frozen=True)
class Settings:
    """The architecture and the weights of the losses; the defaults are the copied one, mended."""

    encoder: Source = "embedded"  # of token ids: see TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on
    width: int = 128  # D
    tokens: int = 8  # K, what is kept of each modality
    heads: int = 8
    hidden: int = 128  # width inside the feed-forward layers
    depth: int = 2  # of the transformer that embeds each modality
    gaussian_depth: int = 2  # of those that make Gaussians of tokens, and tokens of draws
    reconstructor_depth: int = 2
    fusion_depth: int = 4  # times that the proxy asks
    dropout: float = 0.5  # in the fusion and in the head
    reconstruction_weight: float = 0.1
    gaussian_weight: float = 0.5
    reversal: Reversal = (
        "none"  # proxy (copied): the gradient of all that reads the proxy is turned round, the task's too
    )
    layers: Layers = "own"  # of the fusion; shared (copied): one layer, passed `fusion_depth` times
    target: Target = "fixed"  # the complete tokens; learnt (copied): they may be made easy to rebuild
    padding: Padding = "masked"  # or read as if it were frames, up to spec.lengths (copied)

    def __post_init__(self) -> None:
        require_words(self)
        for name in ("tokens", "heads", "fusion_depth"):
            if getattr(self, name) < 1:
                raise MalformedInput(f"p_rmf.{name}: expected at least 1, got {getattr(self, name)}")


PUBLISHED = Settings(
    finetune=True, encoder="bert-base-uncased", reversal="proxy", layers="shared", target="learnt", padding="read"
)
TRAINING = {
    "optimizer": "adamw",
    "learning_rate": 5e-5,  # MOSEI 1e-4, SIMS 1e-5
    "weight_decay": 5e-5,
    "batch_size": 16,  # MOSEI 32
    "epochs": 100,
    "schedule": "warmup_cosine",
    "warmup": 0.1,
    "pattern": "mixed",
}


@dataclass(frozen=True)
class Gaussian:
    """Means and log variances (B, K, D)."""

    mean_BKD: Tensor
    log_variance_BKD: Tensor

    def drawn(self) -> Tensor:
        """A draw of it, through which gradients flow."""
        return self.mean_BKD + torch.randn_like(self.mean_BKD) * (0.5 * self.log_variance_BKD).exp()

    def divergence(self, other: Gaussian) -> Tensor:
        """Kullback-Leibler from `other`, the mean over tokens and columns (B,)."""
        gap_BKD = self.log_variance_BKD - other.log_variance_BKD
        apart_BKD = (self.mean_BKD - other.mean_BKD).square() * (-other.log_variance_BKD).exp()
        return 0.5 * (gap_BKD.exp() + apart_BKD - 1 - gap_BKD).flatten(1).mean(1)


class Variational(nn.Module):
    """Tokens → a Gaussian; a draw of it → tokens."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        s = settings
        block = (s.width, s.heads, s.hidden)
        self.tokens = s.tokens
        self.enter, self.leave = nn.Linear(s.width, s.width), nn.Linear(s.width, s.width)
        self.encoder, self.decoder = (Transformer(s.tokens, 0, *block, s.gaussian_depth) for _ in range(2))
        self.mean, self.log_variance, self.out = (nn.Linear(s.width, s.width) for _ in range(3))

    def forward(self, h_BKD: Tensor) -> Gaussian:
        state_BKD = self.encoder(F.relu(self.enter(h_BKD)), self.tokens)
        return Gaussian(self.mean(state_BKD).float(), self.log_variance(state_BKD).float())

    def decode(self, z_BKD: Tensor) -> Tensor:
        return self.out(self.decoder(F.relu(self.leave(z_BKD)), self.tokens))


class Asking(nn.Module):
    """What a proxy reads of one modality, with a single head: W_o softmax(q kᵀ / √D) v behind a norm of each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_proxy, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, proxy_BKD: Tensor, h_BKD: Tensor) -> Tensor:
        h_BKD = self.norm(h_BKD)
        q_BKD = self.to_q(self.norm_proxy(proxy_BKD))
        return self.to_out(F.scaled_dot_product_attention(q_BKD, self.to_k(h_BKD), self.to_v(h_BKD)))


class Injection(nn.Module):
    """R = P + Σ_m ω_m · asked of m, then R + dropout(W norm(R))."""

    def __init__(self, modalities: list[str], width: int, dropout: float) -> None:
        super().__init__()
        self.asking = nn.ModuleDict({m: Asking(width) for m in modalities})
        self.norm, self.linear, self.dropout = nn.LayerNorm(width), nn.Linear(width, width), nn.Dropout(dropout)

    def forward(self, proxy_BKD: Tensor, features: dict[str, Tensor], weights: dict[str, Tensor]) -> Tensor:
        r_BKD = proxy_BKD + added(weights[m] * ask(proxy_BKD, features[m]) for m, ask in self.asking.items())
        return r_BKD + self.dropout(self.linear(self.norm(r_BKD)))


class Model(nn.Module):
    """P-RMF over the modalities that `spec.widths` names."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        s = settings
        self.text_encoder, widths = text_encoder_of(spec, settings)
        self.modalities = sorted(task.ordered(spec), key=lambda m: RANKS.index(m) if m in RANKS else len(RANKS))
        block = (s.width, s.heads, s.hidden)
        self.embeddings = nn.ModuleDict(
            {m: Embedding(widths[m], spec.lengths[m], s.tokens, block, s.depth) for m in self.modalities}
        )
        self.variational: Any = nn.ModuleDict({m: Variational(s) for m in self.modalities})
        self.reconstructors = nn.ModuleDict(
            {m: Transformer(s.tokens, 0, *block, s.reconstructor_depth) for m in self.modalities}
        )
        count = 1 if s.layers == "shared" else s.fusion_depth
        self.layers = nn.ModuleList(Injection(self.modalities, s.width, s.dropout) for _ in range(count))
        self.head = nn.Sequential(
            nn.Linear(s.width, s.width), nn.ReLU(), nn.Dropout(s.dropout), nn.Linear(s.width, spec.classes or 1)
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction, and `weight_<modality>` (B,), its mean share in the proxy."""
        features = self.embed(batch)
        output_BC, weights = self._fuse(features, self.gaussians(features))
        shares = {f"weight_{m}": weight_BKD.flatten(1).mean(1) for m, weight_BKD in weights.items()}
        return {"prediction": task.prediction(output_BC, self.spec.classes)} | shares

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Task + .1 · reconstruction + .5 · the Gaussians' terms; in evaluation mode the task's alone."""
        s, features = self.settings, self.embed(batch)
        gaussians = self.gaussians(features)
        output_BC, _ = self._fuse(features, gaussians)
        told = task.task_loss(output_BC, batch.labels["M"], self.spec.classes, "mse")
        if not self.training:
            return {"loss": told, "task": told}
        with torch.set_grad_enabled(s.target == "learnt"):
            targets = self.embed(complete)
        terms = {
            "task": told,
            "reconstruction": self.reconstruction(features, targets),
            "gaussians": self.gaussian_terms(gaussians, targets),
        }
        total = told + s.reconstruction_weight * terms["reconstruction"] + s.gaussian_weight * terms["gaussians"]
        return {"loss": total, **terms}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """H¹ of each modality (B, K, D)."""
        return {m: self._embed(m, batch) for m in self.modalities}

    def gaussians(self, features: dict[str, Tensor]) -> dict[str, Gaussian]:
        """What each modality's tokens are taken for."""
        return {m: self.variational[m](h_BKD) for m, h_BKD in features.items()}

    def reconstruction(self, features: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
        """Mean squared error of the complete H¹ rebuilt from the incomplete one."""
        rebuilt = {m: self.reconstructors[m](h_BKD, self.settings.tokens) for m, h_BKD in features.items()}
        return all_rows(torch.stack([_error(rebuilt[m], targets[m]) for m in features]), 1).mean()

    def gaussian_terms(self, gaussians: dict[str, Gaussian], targets: dict[str, Tensor]) -> Tensor:
        """Of each modality the error of the complete H¹ made from a draw, and the divergence from N(0, 1); of each pair
        the later's divergence from the earlier; all divided by M."""
        names = list(gaussians)
        terms = []
        for place, m in enumerate(names):
            own = gaussians[m]
            normal = Gaussian(torch.zeros_like(own.mean_BKD), torch.zeros_like(own.mean_BKD))
            terms += [_error(self.variational[m].decode(own.drawn()), targets[m]), own.divergence(normal)]
            terms += [own.divergence(gaussians[earlier]) for earlier in names[:place]]
        return all_rows(torch.stack(terms), 1).mean(1).sum() / len(names)

    def _fuse(self, features: dict[str, Tensor], gaussians: dict[str, Gaussian]) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs (B, 1 or classes), and each modality's weights ω (B, K, D)."""
        # exp(1/σ) / Σ exp(1/σ) overflows below σ = .0113; a softmax has the same value and none.
        narrow_MBKD = torch.stack([(-0.5 * g.log_variance_BKD).exp() for g in gaussians.values()])
        weight_MBKD = narrow_MBKD.softmax(0)
        proxy_BKD = (weight_MBKD * torch.stack([g.mean_BKD for g in gaussians.values()])).sum(0)
        weights = dict(zip(gaussians, weight_MBKD.unbind()))
        if self.settings.reversal == "proxy":
            proxy_BKD = reverse_gradient(proxy_BKD)
        for k in range(self.settings.fusion_depth):
            proxy_BKD = self.layers[k % len(self.layers)](proxy_BKD, features, weights)
        return self.head(proxy_BKD.mean(1)), weights

    def _embed(self, modality: str, batch: Batch) -> Tensor:
        padding = self.settings.padding
        frames = read(batch, modality, self.text_encoder, self.spec, padding)
        return self.embeddings[modality](frames.values_BTD, None if padding == "read" else frames.real_BT)


def _error(told_BKD: Tensor, wanted_BKD: Tensor) -> Tensor:
    """Each sample's mean squared error (B,)."""
    return (told_BKD.float() - wanted_BKD.float()).square().flatten(1).mean(1)
