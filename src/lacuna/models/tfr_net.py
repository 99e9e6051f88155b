"""TFR-Net: the transformer-based feature reconstruction network (ACM MM 2021), as MMSA has it. In: a Batch. Out:
predictions and losses.

Each modality's frames ask themselves and every other modality's; the result is read by gated recurrences for the
prediction, and, in training, rebuilds the frames that the loss took. B samples, T frames, M modalities, D width of a
stream, J = M·D width of the joined streams, K outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows, own_rows, world
from lacuna.data.batches import Batch, InputSpec
from lacuna.models.parts import task
from lacuna.models.parts.attention import dropout
from lacuna.models.parts.crossmodal import CrossmodalTransformer, Frames, Shape
from lacuna.models.parts.norms import BatchNorm
from lacuna.models.parts.reading import Padding, read
from lacuna.models.parts.recurrent import Recurrence
from lacuna.models.parts.text import Finetune, Source, fit_to, pad_to, text_encoder_of
from lacuna.types import MalformedInput, require_words

Final = Literal["time", "batch"]
Target = Literal["fixed", "learnt"]
Discrepancy = Literal["plain", "divided"]
MOMENTS = 3


@dataclass(frozen=True)
class Settings:
    """The architecture and the weights of the losses: MMSA's for MOSI, with the errata mended."""

    encoder: Source = "embedded"  # of token ids: see TextEncoder
    finetune: Finetune = "auto"  # the text encoder too; auto: from 300 clips on
    width: int = 30  # D
    heads: int = 6
    depth: int = 3  # of the crossmodal encoders; SIMS 2
    memory_depth: int = 3  # of the encoders within a modality, in MMSA depth or 3, whichever is more
    kernels: dict[str, int] = field(default_factory=lambda: {"text": 1, "audio": 5, "vision": 3})  # odd; 1 for others
    causal: bool = True  # a frame attends to none that is later
    text_dropout: float = 0.2
    attention_dropout: dict[str, float] = field(default_factory=lambda: {"text": 0.2, "audio": 0.1})  # by source
    memory_dropout: float = 0.2  # the text's, for every encoder before the rebuilt frames
    relu_dropout: float = 0.2  # SIMS 0
    residual_dropout: float = 0.2
    embed_dropout: float = 0.2  # SIMS .1
    hidden: dict[str, int] = field(default_factory=lambda: {"text": 36, "audio": 20, "vision": 48})  # 20 for others
    recurrent_layers: int = 3
    fusion_dropout: float = 0.2
    head_hidden: int = 128
    head_dropout: float = 0.0  # SIMS .1
    # MOSEI 5e-6, 2e-6, 2e-5; SIMS 1, .01, 1e-4; 1 for others
    weights: dict[str, float] = field(default_factory=lambda: {"text": 5.0, "audio": 2.0, "vision": 20.0})
    discrepancy_weight: float = 0.05  # of the moments, within the reconstruction; 5 (published), where they are divided
    first_epoch: int = 1  # with reconstruction; 2 (published)
    final: Final = "time"  # what attends before frames are rebuilt: frames, or (published) the clips of a batch
    final_heads: int = 25  # of attention across the batch; as many of them as divide the frames
    target: Target = "fixed"  # the complete text behind its encoder; learnt (published): it is made easy to rebuild
    discrepancy: Discrepancy = "plain"  # of moments over lost frames; divided (published) by their count once more
    padding: Padding = "masked"  # or read as if it were frames, up to spec.lengths (published)
    equal_widths: bool = True  # convolve features that are already D wide (published: not)

    def __post_init__(self) -> None:
        require_words(self)
        if even := [k for k in self.kernels.values() if k < 1 or k % 2 == 0]:
            raise MalformedInput(f"tfr_net.kernels: expected odd numbers, got {even[0]}")
        if self.width % self.heads:
            raise MalformedInput(f"tfr_net.width: expected a multiple of heads = {self.heads}, got {self.width}")


PUBLISHED = Settings(
    finetune=True,
    encoder="bert-base-uncased",
    first_epoch=2,
    final="batch",
    target="learnt",
    discrepancy="divided",
    discrepancy_weight=5.0,
    padding="read",
    equal_widths=False,
)
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 1e-3,  # MOSEI and SIMS 2e-3
    "encoder_learning_rate": 2e-6,  # MOSEI and SIMS 1e-5
    "weight_decay": 1e-3,
    "batch_size": 24,  # SIMS 16
    "accumulate": 4,
    "schedule": "plateau",
    "patience": 5,  # SIMS 10
    "factor": 0.1,
    "epochs": 100,
    "early_stop": 6,
    "clip_value": 0.8,
    "pattern": "mixed",
}


class GatedReader(nn.Module):
    """A bidirectional GRU, gated by a convolution over its states, joined with what it read; its maximum over time."""

    def __init__(self, width: int, hidden: int, layers: int, rate: float) -> None:
        super().__init__()
        self.recurrence = Recurrence("gru", width, hidden, layers, both=True)
        self.gate = nn.Conv1d(2 * hidden, 1, 3, padding=1)
        self.out = nn.Linear(2 * hidden + width, hidden)
        self.dropout = nn.Dropout(rate)

    def forward(self, frames: Frames, everywhere: bool) -> Tensor:
        """(B, hidden); `everywhere` the maximum is over padding too."""
        states_BTH = self.recurrence(frames.values_BTD, frames.lengths_B)
        gate_BT1 = self.gate(states_BTH.transpose(1, 2)).transpose(1, 2).sigmoid()
        told_BTH = self.out(torch.cat([frames.values_BTD, states_BTH.tanh() * gate_BT1], -1)).tanh()
        if not everywhere:
            told_BTH = told_BTH.masked_fill(~frames.real_BT[..., None], -torch.inf)
        return self.dropout(told_BTH.max(1).values)


class Model(nn.Module):
    """TFR-Net over the modalities that `spec.widths` names."""

    def __init__(self, settings: Settings, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.settings, s = spec, settings, settings
        self.text_encoder, widths = text_encoder_of(spec, settings)
        self.modalities = names = task.ordered(spec)
        self.partners = {m: [p for p in names if p != m] for m in names}
        self.project = nn.ModuleDict(
            {m: self._convolution(m, widths[m]) for m in names if widths[m] != s.width or s.equal_widths}
        )
        self.memory = nn.ModuleDict({m: self._transformer(s.memory_depth) for m in names})
        self.crossmodal = nn.ModuleDict(
            {f"{m}_with_{p}": self._transformer(s.depth, p) for m in names for p in self.partners[m]}
        )
        joined = len(names) * s.width
        self.final = nn.ModuleDict({m: self._final(m, joined) for m in names})
        self.reconstruct = nn.ModuleDict({m: nn.Linear(joined, widths[m]) for m in names})
        hidden = {m: s.hidden.get(m, 20) for m in names}
        self.readers = nn.ModuleDict(
            {m: GatedReader(joined, hidden[m], s.recurrent_layers, s.fusion_dropout) for m in names}
        )
        self.head = nn.Sequential(
            BatchNorm(sum(hidden.values())),
            nn.Linear(sum(hidden.values()), s.head_hidden),
            nn.LeakyReLU(0.01),
            nn.Dropout(s.head_dropout),
            nn.Linear(s.head_hidden, spec.classes or 1),
        )

    def _convolution(self, m: str, width: int) -> nn.Conv1d:
        kernel = self.settings.kernels.get(m, 1)
        return nn.Conv1d(width, self.settings.width, kernel, padding=kernel // 2, bias=False)

    def _transformer(self, depth: int, source: str | None = None) -> CrossmodalTransformer:
        s = self.settings
        attention = s.memory_dropout if source is None else s.attention_dropout.get(source, 0.0)
        dropouts = (attention, s.relu_dropout, s.residual_dropout, s.embed_dropout)
        return CrossmodalTransformer(s.width, Shape(s.heads, depth, *dropouts, skip_zeros=s.padding == "read"))

    def _final(self, m: str, joined: int) -> CrossmodalTransformer:
        """What stands before rebuilt frames: attention over frames J wide, or over clips that are T wide."""
        s = self.settings
        dropouts = (s.memory_dropout, s.relu_dropout, s.residual_dropout, s.embed_dropout)
        across = s.final == "batch"
        width = self.spec.lengths[m] if across else joined
        heads = math.gcd(s.final_heads, width) if across else s.heads
        return CrossmodalTransformer(width, Shape(heads, s.memory_depth, *dropouts, positions=False))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """{"prediction": (B,) score or (B, classes) probabilities}."""
        output_BK = self.outputs(self.streams(batch), batch)
        return {"prediction": task.prediction(output_BK, self.spec.classes)}

    def loss(self, batch: Batch, complete: Batch, epoch: int) -> dict[str, Tensor]:
        """Task + Σ w_m · reconstruction of m; in evaluation the task's alone, as published."""
        s = self.settings
        streams = self.streams(batch)
        terms = {"task": task.task_loss(self.outputs(streams, batch), batch.labels["M"], self.spec.classes, "l1")}
        if not self.training or epoch < s.first_epoch:
            return {"loss": terms["task"], **terms}
        rebuilt = {m: self.reconstruction(m, streams[m], batch, complete) for m in self.modalities}
        total = terms["task"] + sum(s.weights.get(m, 1.0) * value for m, value in rebuilt.items())
        return {"loss": total, **terms, **{f"reconstruction_{m}": value for m, value in rebuilt.items()}}

    def streams(self, batch: Batch) -> dict[str, Frames]:
        """(B, T, J) frames of each modality: what it tells itself, then what each other tells it."""
        causal = self.settings.causal
        frames = {m: self._embedded(m, batch) for m in self.modalities}
        told = {}
        for m, own in frames.items():
            asked = [self.crossmodal[f"{m}_with_{p}"](own, frames[p], causal) for p in self.partners[m]]
            told[m] = Frames(torch.cat([self.memory[m](own, None, causal), *asked], -1), own.lengths_B)
        return told

    def outputs(self, streams: dict[str, Frames], batch: Batch) -> Tensor:
        """Logits (B, classes), or scores (B, 1)."""
        everywhere = self.settings.padding == "read"
        told = []
        for m, frames in streams.items():
            lengths_B = batch[m].lengths.clamp(max=self.spec.lengths[m])  # padding is never read here
            told.append(self.readers[m](Frames(frames.values_BTD, lengths_B), everywhere))
        return self.head(torch.cat(told, 1))

    def reconstruction(self, m: str, stream: Frames, batch: Batch, complete: Batch) -> Tensor:
        """Smooth L1 of the lost frames, and the distance of their moments (CMD)."""
        fit = pad_to if self.settings.padding == "read" else fit_to
        lossy, intact = (fit(each[m], self.spec.lengths[m]) for each in (batch, complete))
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.settings.target == "learnt"):
            target_BTW = read(complete, m, self.text_encoder, self.spec, self.settings.padding).values_BTD
        rebuilt_BTW = self.reconstruct[m](self._attended(m, stream)).float()
        lost_BT1 = task.dropped(lossy, intact)[..., None]
        rebuilt_BTW, target_BTW = (torch.where(lost_BT1, x_BTW, 0) for x_BTW in (rebuilt_BTW, target_BTW.float()))
        values = all_rows(lost_BT1.sum((1, 2))).sum() * target_BTW.shape[-1] + 1e-4
        error_B = F.smooth_l1_loss(rebuilt_BTW, target_BTW, reduction="none").sum((1, 2))
        # Published: moments count zeros wherever nothing was lost, padding included, and are divided once more.
        divided = self.settings.discrepancy == "divided"
        counted_BT1 = torch.ones_like(lost_BT1) if divided else lost_BT1
        distance = discrepancy(rebuilt_BTW, target_BTW, counted_BT1) / (values if divided else 1)
        return all_rows(error_B).sum() / values + self.settings.discrepancy_weight * distance

    def _attended(self, m: str, stream: Frames) -> Tensor:
        """(B, T, J): what frames are rebuilt from."""
        causal, final = self.settings.causal, self.final[m]
        if self.settings.final == "time":
            return final(stream, None, causal)
        every_BTD = all_rows(stream.values_BTD)
        # Process r of n holds clips r, r + n, …: back into the batch's order, to which `causal` refers.
        order_B = torch.cat([torch.arange(r, len(every_BTD), world()) for r in range(world())]).to(every_BTD.device)
        clips_JBT = every_BTD[order_B.argsort()].permute(2, 0, 1)  # clips are the sequence, time is the width
        clips = Frames(clips_JBT, torch.full_like(clips_JBT[:, 0, 0], clips_JBT.shape[1], dtype=torch.int64))
        return own_rows(final(clips, None, causal).permute(1, 2, 0)[order_B])

    def _embedded(self, m: str, batch: Batch) -> Frames:
        """(B, T, D): convolved frames, as many as there were."""
        s = self.settings
        frames = read(batch, m, self.text_encoder, self.spec, s.padding)
        x_BTW = frames.values_BTD
        if m == "text":
            x_BTW = dropout(x_BTW, s.text_dropout, self.training)
        x_BTD = self.project[m](x_BTW.transpose(1, 2)).transpose(1, 2) if m in self.project else x_BTW
        return Frames(x_BTD, frames.lengths_B)


def discrepancy(x_BTW: Tensor, y_BTW: Tensor, counted_BT1: Tensor) -> Tensor:
    """Σ over the first moments of the distance between those of x and y, over the frames that count (CMD)."""
    count = all_rows(counted_BT1.sum((1, 2))).sum().clamp(min=1)

    def mean(x_BTW: Tensor) -> Tensor:
        return all_rows((x_BTW * counted_BT1).sum(1)).sum(0) / count

    mean_x, mean_y = mean(x_BTW), mean(y_BTW)
    distances = [_distance(mean_x, mean_y)]
    for k in range(2, MOMENTS + 1):
        distances.append(_distance(mean((x_BTW - mean_x) ** k), mean((y_BTW - mean_y) ** k)))
    return torch.stack(distances).sum()


def _distance(x_W: Tensor, y_W: Tensor) -> Tensor:
    """Euclidean, with a finite gradient at zero."""
    return ((x_W - y_W).square().sum() + 1e-12).sqrt()
