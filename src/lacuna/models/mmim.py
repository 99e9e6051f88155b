"""MMIM: multimodal InfoMax (EMNLP 2021). In: a Batch. Out: predictions and losses.

One vector a modality. Training keeps the mutual information between text and the others high, by a bound that learns
how likely the others' vectors are, and that between each vector and the fusion of all, by contrast within a batch.
B samples, W width of a modality's vector, D width of the fusion, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts import task
from lacuna.models.parts.pooling import TextPool, text_vector
from lacuna.models.parts.reading import read
from lacuna.models.parts.recurrent import Recurrence
from lacuna.models.parts.text import Finetune, Source, text_encoder_of
from lacuna.types import MalformedInput, require_words

Stages = Literal["joint", "alternating"]
Likelihood = Literal["complete", "published"]
Entropy = Literal["guarded", "untrained", "published"]
FEWEST = 5  # samples of a sign, for covariances of 4 numbers that are not singular
RIDGE = 1e-4  # on their diagonals


@dataclass(frozen=True)
class Settings:
    """The architecture and the weights of the losses: the published ones, mended."""

    encoder: Source = "embedded"  # of token ids: see TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on
    text_pool: TextPool = "mean"  # the text's vector: the mean, or [CLS] (published)
    recurrent: int = 16  # units of each LSTM, in each direction
    sizes: dict[str, int] = field(default_factory=lambda: {"audio": 16, "vision": 16})  # W; 16 for others
    fused: int = 128  # D
    state_dropout: float = 0.0  # of the LSTMs' states; .1 is configured and, with one layer, not applied
    dropout: float = 0.1  # before the fusion
    contrast_weight: float = 0.1  # α
    likelihood_weight: float = 0.1  # β, of the bound's likelihood
    entropy_weight: float = 0.1  # β, of the bound's entropy
    stages: Stages = "joint"  # bounds learn with the rest, or (published) in epochs of their own: odd ones, doubled
    likelihood: Likelihood = "complete"  # with -½ log σ², or (published) without, where σ² may grow for ever
    # Left out where a sign has too few samples, and its projection learns; untrained (published): it does not;
    # published: nor is anything left out, so that such a batch makes the loss NaN and ends the run.
    entropy: Entropy = "guarded"

    def __post_init__(self) -> None:
        require_words(self)
        if small := [size for size in self.sizes.values() if size < 4]:
            raise MalformedInput(f"mmim.sizes: expected at least 4, got {small[0]}")


# Where the published loss is NaN there is nothing to compare with: `entropy: published` has that by name.
PUBLISHED = Settings(
    finetune=True,
    encoder="bert-base-uncased",
    text_pool="cls",
    stages="alternating",
    likelihood="published",
    entropy="untrained",
)
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "encoder_learning_rate": 5e-5,
    "weight_decay": 1e-4,
    "batch_size": 32,
    "schedule": "plateau",
    "patience": 20,
    "epochs": 100,
    "early_stop": 8,
    "clip_norm": 1.0,
    "pattern": "mixed",
}


class Recurrent(nn.Module):
    """A bidirectional LSTM; both last states, dropout, a linear."""

    def __init__(self, width: int, hidden: int, size: int, rate: float) -> None:
        super().__init__()
        self.recurrence = Recurrence("lstm", width, hidden, both=True)
        self.dropout, self.out = nn.Dropout(rate), nn.Linear(2 * hidden, size)

    def forward(self, x_BTW: Tensor, lengths_B: Tensor) -> Tensor:
        final_BH = self.recurrence.final(self.recurrence(x_BTW, lengths_B), lengths_B)
        return self.out(self.dropout(final_BH))


class Bound(nn.Module):
    """log q(y | x), a normal distribution whose mean and log variance are read off x."""

    def __init__(self, width: int, size: int, likelihood: Likelihood) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.mean, self.log_variance = (
            nn.Sequential(nn.Linear(width, size), nn.ReLU(), nn.Linear(size, size)) for _ in range(2)
        )

    def forward(self, x_BX: Tensor, y_BW: Tensor) -> Tensor:
        """Mean over samples, without the constant."""
        log_variance_BW = self.log_variance(x_BX).float()
        told_BW = -(self.mean(x_BX) - y_BW).float().square() / (2 * log_variance_BW.exp())
        if self.likelihood == "complete":
            told_BW = told_BW - log_variance_BW / 2
        return told_BW.sum(-1).mean()


class Model(nn.Module):
    """MMIM over the modalities that `spec.widths` names; the text, or else the first of them, tells of the others."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.settings, s = spec, settings, settings
        self.text_encoder, widths = text_encoder_of(spec, settings)
        self.modalities = task.ordered(spec)
        self.lead, *self.others = self.modalities
        sizes = {m: widths[m] if m == "text" else s.sizes.get(m, 16) for m in self.modalities}
        self.recurrent = nn.ModuleDict(
            {m: Recurrent(widths[m], s.recurrent, sizes[m], s.state_dropout) for m in self.modalities if m != "text"}
        )
        self.bounds = nn.ModuleDict({m: Bound(sizes[self.lead], sizes[m], s.likelihood) for m in self.others})
        self.entropies = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(sizes[m], sizes[m] // 4), nn.Tanh()) for m in self.others}
        )
        self.contrasts = nn.ModuleDict({m: nn.Linear(s.fused, sizes[m]) for m in self.modalities})
        self.dropout = nn.Dropout(s.dropout)
        self.first, self.second = nn.Linear(sum(sizes.values()), s.fused), nn.Linear(s.fused, s.fused)
        self.out = nn.Linear(s.fused, spec.classes or 1)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1 and not name.startswith("text_encoder."):
                nn.init.xavier_normal_(parameter)
        self.memory = Memory()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """{"prediction": (B,) score or (B, classes) probabilities}."""
        output_BK, _ = self.fuse(self.vectors(batch))
        return {"prediction": task.prediction(output_BK, self.spec.classes)}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Task + α · contrast - β · (likelihood + entropy). In evaluation the task's alone.

        The bounds' own weights learn the likelihood alone, and nothing else learns from what they are taught: in the
        same step, or (`alternating`) in odd epochs, which only they see. Equal gradients, taken at other times.
        """
        s = self.settings
        vectors = self.vectors(batch)
        output_BK, fused_BD = self.fuse(vectors)
        terms = {"task": task.task_loss(output_BK, batch.labels["M"], self.spec.classes, "l1")}
        if not self.training:
            return {"loss": terms["task"], **terms}
        vectors, fused_BD = {m: all_rows(x_BW) for m, x_BW in vectors.items()}, all_rows(fused_BD)
        taught = self.likelihood({m: x_BW.detach() for m, x_BW in vectors.items()})
        if s.stages == "alternating" and epoch % 2 and self.bounds:
            return {"loss": -taught, **terms, "likelihood": taught}
        terms["contrast"] = self.contrast(vectors, fused_BD)
        terms["likelihood"] = self.likelihood(vectors, frozen=True)
        terms["entropy"] = self.entropy(vectors, self._signs(batch), epoch)
        total = terms["task"] + s.contrast_weight * terms["contrast"] - s.likelihood_weight * terms["likelihood"]
        total = total - s.entropy_weight * terms["entropy"]
        return {"loss": total - taught if s.stages == "joint" else total, **terms}

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """One vector (B, W) a modality."""
        told = {}
        for m in self.modalities:
            frames = read(batch, m, self.text_encoder, self.spec, "masked")
            if m == "text":
                told[m] = text_vector(frames.values_BTD, batch[m], self.spec, self.settings.text_pool)
            else:
                told[m] = self.recurrent[m](frames.values_BTD, frames.lengths_B)
        return told

    def fuse(self, vectors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Outputs (B, K) and the fusion Z (B, D) that they are read from."""
        joined_BW = self.dropout(torch.cat([vectors[m] for m in self.modalities], 1))
        fused_BD = self.second(self.first(joined_BW).tanh()).tanh()
        return self.out(fused_BD), fused_BD

    def likelihood(self, vectors: dict[str, Tensor], frozen: bool = False) -> Tensor:
        """Σ over the others of log q(other | lead); `frozen` bounds are not taught by it."""
        told = vectors[self.lead].new_zeros((), dtype=torch.float32)
        for m, bound in self.bounds.items():
            weights = {name: p.detach() if frozen else p for name, p in bound.named_parameters()}
            told = told + functional_call(bound, weights, (vectors[self.lead], vectors[m]))
        return told

    def contrast(self, vectors: dict[str, Tensor], fused_BD: Tensor) -> Tensor:
        """Σ over modalities: how hard a vector is told from the batch's others by what Z makes of it (CPC)."""
        told = []
        for m, contrast in self.contrasts.items():
            x_BW, guess_BW = (F.normalize(x.float(), dim=1) for x in (vectors[m], contrast(fused_BD)))
            own_B = (x_BW * guess_BW).sum(-1)
            told.append(((x_BW @ guess_BW.T).float().logsumexp(-1) - own_B).mean())
        return torch.stack(told).sum()

    def entropy(self, vectors: dict[str, Tensor], signs_B: Tensor, epoch: int) -> Tensor:
        """Σ over the others of ¼ (log det Σ⁺ + log det Σ⁻), of this batch and the one before."""
        learns = self.settings.entropy == "guarded"
        fewest, ridge = 0 if self.settings.entropy == "published" else FEWEST, RIDGE if learns else 0.0
        projected = {}
        for m, projection in self.entropies.items():
            weights = {name: p if learns else p.detach() for name, p in projection.named_parameters()}
            projected[m] = functional_call(projection, weights, (vectors[m],)).float()
        before, batches = self.memory.turn(projected, signs_B, epoch)
        total = signs_B.new_zeros(())
        if not learns and batches < 2:  # published: the second batch's is computed and not added
            return total
        for m, x_BP in projected.items():
            points = [(x_BP, signs_B), *((old[m], signs) for old, signs in before)]
            x_NP, signs_N = (torch.cat(parts) for parts in zip(*points))
            total = total + _entropy(x_NP, signs_N, ridge, fewest)
        return total

    def _signs(self, batch: Batch) -> Tensor:
        """(B,): above 0, below, or neither, as the label is; classes are counted from their middle."""
        labels_B = all_rows(batch.labels["M"])
        return labels_B - (self.spec.classes - 1) / 2 if self.spec.classes else labels_B


class Memory:
    """The batch before, within an epoch: an epoch begins without, so that a resumed run has the same."""

    def __init__(self) -> None:
        self._epoch, self._batches = 0, 0
        self._before: list[tuple[dict[str, Tensor], Tensor]] = []

    def turn(
        self, projected: dict[str, Tensor], signs_B: Tensor, epoch: int
    ) -> tuple[list[tuple[dict[str, Tensor], Tensor]], int]:
        """What was kept, at most one batch, and how many there were before this one, which is kept now."""
        if epoch != self._epoch:
            self._epoch, self._batches, self._before = epoch, 0, []
        told = self._before, self._batches
        self._before = [({m: x_BP.detach() for m, x_BP in projected.items()}, signs_B)]
        self._batches += 1
        return told


def _entropy(x_NP: Tensor, signs_N: Tensor, ridge: float, fewest: int) -> Tensor:
    """¼ (log det Σ⁺ + log det Σ⁻), 0 where a sign has fewer than `fewest` samples."""
    chosen = (signs_N > 0, signs_N < 0)
    enough = (chosen[0].sum() >= fewest) & (chosen[1].sum() >= fewest)
    total = x_NP.new_zeros(())
    for chosen_N in chosen:
        count = chosen_N.sum()
        mean_P = (x_NP * chosen_N[:, None]).sum(0) / count.clamp(min=1)
        centred_NP = (x_NP - mean_P) * chosen_N[:, None]
        # A product of matrices would be rounded to bf16 under autocast.
        covariance_PP = (centred_NP[:, :, None] * centred_NP[:, None]).sum(0) / count.clamp(min=1)
        unit_PP = torch.eye(x_NP.shape[1], device=x_NP.device)
        # Chosen before the logarithm: behind it, the gradient of what is not taken would still be NaN.
        total = total + 0.25 * torch.logdet(torch.where(enough, covariance_PP + ridge * unit_PP, unit_PP))
    return total
