"""Fit a model and let it predict. In: samples, a model, settings. Out: the weights best on validation, a history.

Selection sees `valid` alone. Everything random (order, masks, dropout) is a function of (seed, epoch), so a run that is
killed and resumed gives the numbers of one that was not.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lacuna.compute import distributed, linear
from lacuna.compute.device import autocast, dtype_of, keep_memory
from lacuna.data.batches import Batch, InputSpec
from lacuna.data.samples import Sample, Samples
from lacuna.mask.together import TOGETHER
from lacuna.models.parts.remembered import Remembered, remembering
from lacuna.train.average import Average, learnt
from lacuna.train.feed import NONE, Feed, Loss
from lacuna.train.states import states_of
from lacuna.types import MalformedInput, require_words

BUCKET = 16  # batches whose samples are sorted by length together


@dataclass(frozen=True)
class Settings:
    """How a model is trained; each model's `TRAINING` changes what its paper did otherwise."""

    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = 1e-4
    encoder_learning_rate: float | None = 6e-5  # of the text encoder, where it learns; None: the same
    rates: dict[str, float] = field(default_factory=dict)  # of parts, by how the names of their parameters start
    weight_decay: float = 0.0
    batch_size: int = 16
    accumulate: int = 1  # batches whose gradients are added up before a step
    epochs: int = 50
    schedule: Literal["constant", "warmup_cosine", "plateau"] = "constant"  # by step; plateau: by epoch, on validation
    warmup: float = 0.1  # share of the steps
    patience: int = 5  # plateau: epochs without a better validation loss before the rate is lowered
    factor: float = 0.5  # plateau: what is left of the rate
    early_stop: int = 0  # epochs without a better validation loss before training ends; 0: never
    clip_norm: float = 0.0  # 0: off
    clip_value: float = 0.0
    average: float = 0.0  # decay of a running mean of the weights, which is then what is validated and kept; 0: off
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 on a GPU that has it
    pattern: str = "none"  # the simulated loss of training clips, drawn anew each epoch: a name in patterns, or none
    level: float = 0.5  # its rate, where the pattern reads one
    draw: Literal[1, 2] = (
        TOGETHER  # version of the masks' random numbers: 1 clip by clip; 2 batch by batch, much faster
    )
    masks: Literal["fresh", "fixed"] = "fresh"  # drawn anew each epoch, or once for all epochs
    bucket: bool = True  # batch clips of similar length together
    select: str = "loss"  # what chooses the epoch: the validation loss, main (mae or accuracy) or another metric of it,
    select_pattern: str = "frames"  # as a mean over the rates of a pattern
    select_rates: tuple[float, ...] = (0.0, 0.3, 0.6, 0.9)

    def __post_init__(self) -> None:
        require_words(self)
        for name in ("batch_size", "accumulate", "epochs"):
            if getattr(self, name) < 1:
                raise MalformedInput(f"training.{name}: expected at least 1, got {getattr(self, name)}")
        if not 0 <= self.average < 1:
            raise MalformedInput(f"training.average: expected 0 (off) to less than 1, got {self.average}")


@dataclass
class History:
    """Rows {"epoch", "learning_rate", "train_<term>", "valid_<term>"}, and the best epoch: by validation loss, or by
    the column "criterion" (lower is better) where a metric chooses."""

    rows: list[dict[str, float]] = field(default_factory=list)
    best: int = 0

    @property
    def best_loss(self) -> float:
        return min((row.get("criterion", row["valid_loss"]) for row in self.rows), default=math.inf)


@dataclass
class Progress:
    """All that a resumed run needs: epochs done, learnt weights and their running mean (empty: none is kept), the best,
    and the optimiser's and schedule's state."""

    epoch: int
    history: History
    model: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict
    schedule: dict
    average: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """What `fit` learns from and chooses on; `pattern` is the module behind Settings.pattern, or None; `criterion`, if
    any, is asked about the model after each epoch in place of the validation loss (lower is better)."""

    train: Sequence[Sample]
    valid: Sequence[Sample]
    spec: InputSpec
    pattern: ModuleType | None = None
    criterion: Callable[[nn.Module], float] | None = None

    def loss(self, settings: Settings, seed: int) -> Loss:
        """What training clips lose."""
        return Loss(self.pattern, settings.level, seed, settings.draw)

    def __post_init__(self) -> None:
        for name in ("train", "valid"):
            if not len(getattr(self, name)):
                raise MalformedInput(f"split {name}: expected at least one clip to train with, got none")


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is a device, else the CPU."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def fit(
    model: nn.Module,
    data: Data,
    settings: Settings,
    seed: int,
    device: torch.device | str = "cpu",
    resume: Progress | None = None,
    on_epoch: Callable[[Progress], object] | None = None,
) -> History:
    """Train `model` in place and leave it with the weights of its best validation epoch.

    `on_epoch` is given all that `resume` takes back. Epochs are counted from 1. A model that has `solve(train, valid)`
    is fitted by it in one epoch, from batches in which each clip is masked anew `settings.epochs` times.
    """
    keep_memory()
    meet = getattr(model, "meet", None)
    if meet is not None:  # it keeps something of each training clip
        meet(data.train)
    trainer = _Trainer(model.to(device), data, settings, seed, torch.device(device))
    progress = trainer.start(resume)
    if hasattr(model, "solve"):
        settings = replace(settings, epochs=1)
    for epoch in range(progress.epoch + 1, settings.epochs + 1):
        trainer.run(epoch, progress)
        if on_epoch:
            on_epoch(progress)
        if settings.early_stop and epoch - progress.history.best >= settings.early_stop:
            break
    model.load_state_dict(progress.best, strict=False)
    return progress.history


class _Trainer:
    model: Any  # torch's types take what a model adds to nn.Module for tensors

    def __init__(self, model: nn.Module, data: Data, settings: Settings, seed: int, device: torch.device) -> None:
        self.model, self.data, self.settings, self.seed, self.device = model, data, settings, seed, device
        self.dtype = dtype_of(settings.precision, device)
        self.optimizer = _optimizer(model, settings)
        steps = math.ceil(math.ceil(len(data.train) / settings.batch_size) / settings.accumulate)
        self.schedule = _schedule(self.optimizer, settings, steps)
        self.average = Average(model, settings.average, steps) if settings.average else None
        self.train, self.valid = self._feed(data.train), self._feed(data.valid)
        encoder = getattr(model, "text_encoder", None)
        keeps = encoder is not None and encoder.frozen and device.type == "cpu"
        self.remembered = Remembered() if keeps else None  # what validation's texts, always the same, are encoded to

    def _feed(self, split: Sequence[Sample]) -> Feed:
        samples = Samples.of(split)
        loss = self.data.loss(self.settings, self.seed)
        encoder, states = getattr(self.model, "text_encoder", None), None
        if encoder is not None and encoder.frozen:
            states = states_of(encoder, samples, self.device, self.dtype)
        return Feed(samples, self.data.spec.lengths, loss, self.device, states)

    def start(self, resume: Progress | None) -> Progress:
        if resume is None:
            state = copy.deepcopy(learnt(self.model))
            return Progress(0, History(), state, state, {}, {})
        self.model.load_state_dict(resume.model, strict=False)
        self.optimizer.load_state_dict(resume.optimizer)
        if self.schedule:
            self.schedule.load_state_dict(resume.schedule)
        if self.average:
            self.average.resume(resume.average, resume.epoch)
        return resume

    def run(self, epoch: int, progress: Progress) -> None:
        """One epoch and its validation, noted in `progress`."""
        rate = self.optimizer.param_groups[0]["lr"]
        train = self._solve(epoch) if hasattr(self.model, "solve") else self._train(epoch)
        if self.average:
            # The mean stays in the model until the next epoch: observers see what is validated.
            progress.average = self.average.lend(self.model)
        valid = self._validate(epoch, self.valid)
        history = progress.history
        if not math.isfinite(valid["loss"]):
            raise MalformedInput(f"epoch {epoch}: expected a finite validation loss, got {valid['loss']}")
        row = {"epoch": epoch, "learning_rate": rate}
        row |= {f"train_{k}": v for k, v in train.items()} | {f"valid_{k}": v for k, v in valid.items()}
        if self.data.criterion:
            row["criterion"] = self.data.criterion(self.model)
        value = row.get("criterion", row["valid_loss"])
        better = value < history.best_loss
        history.rows.append(row)
        if isinstance(self.schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.schedule.step(value)
        progress.epoch, progress.model = epoch, self.average.own if self.average else learnt(self.model)
        if better:
            history.best, progress.best = epoch, copy.deepcopy(learnt(self.model))
        progress.optimizer = self.optimizer.state_dict()
        progress.schedule = self.schedule.state_dict() if self.schedule else {}

    def _train(self, epoch: int) -> dict[str, float]:
        self.model.train()
        if self.average:
            self.average.take_back(self.model)
        # Processes drop out other things, or the rows of one would lose what those of another do.
        torch.manual_seed(_number(self.seed, epoch, distributed.rank()))
        terms = _Means(self.device)
        order = list(_order(self.train.samples.frames, self.settings, self.seed, epoch))
        draw = epoch if self.settings.masks == "fresh" else 1
        for i, (lossy, whole) in enumerate(self.train(order, draw)):
            losses = self._loss(lossy, whole, len(order[i]), epoch)
            # The last group of an epoch may be short: it is averaged over what it has, and always applied.
            group = min(self.settings.accumulate, len(order) - i // self.settings.accumulate * self.settings.accumulate)
            (losses["loss"] / (group * distributed.world())).backward()
            terms.add(losses, len(order[i]))
            if (i + 1) % self.settings.accumulate == 0 or i + 1 == len(order):
                self._step()
        return terms.means()

    def _step(self) -> None:
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        distributed.sum_gradients(parameters)
        if self.settings.clip_norm:
            nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        if self.settings.clip_value:
            nn.utils.clip_grad_value_(parameters, self.settings.clip_value)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.add(self.model)
        if isinstance(self.schedule, torch.optim.lr_scheduler.LambdaLR):
            self.schedule.step()

    @torch.no_grad()
    def _validate(self, epoch: int, feed: Feed) -> dict[str, float]:
        """Loss terms under the same kind of loss as in training, with masks that stay the same over epochs."""
        self.model.eval()
        terms, order = _Means(self.device), self._in_order(feed)
        with nullcontext() if self.remembered is None else remembering(self.model, self.remembered):
            for places, (lossy, whole) in zip(order, feed(order)):
                terms.add(self._loss(lossy, whole, len(places), epoch), len(places))
        return terms.means()

    def _in_order(self, feed: Feed) -> list[range]:
        count, size = len(feed.samples), self.settings.batch_size
        return [range(i, min(i + size, count)) for i in range(0, count, size)]

    def _solve(self, epoch: int) -> dict[str, float]:
        self.model.solve(self._draws(self.train), self._draws(self.valid))
        return self._validate(epoch, self.train)

    def _draws(self, feed: Feed) -> Iterator[Batch]:
        """Batches of all samples, as many times over as there are epochs, each time with other losses."""
        for draw in range(1, self.settings.epochs + 1):
            yield from (lossy for lossy, _ in feed(self._in_order(feed), draw))

    def _loss(self, lossy: Batch, whole: Batch, rows: int, epoch: int) -> dict[str, Tensor]:
        with distributed.sharing(rows), autocast(self.dtype, self.device), linear.fast(self.device):
            return self.model.loss(lossy, whole, epoch)


class _Means:
    """Means of loss terms over clips, summed where they were computed: reading one would wait for the device."""

    def __init__(self, device: torch.device) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count, self._device = 0, device

    def add(self, terms: Mapping[str, Tensor], count: int) -> None:
        self._count += count
        for name, value in terms.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros((), dtype=torch.float64, device=self._device)
            self._sums[name] += value.detach().double() * count

    def means(self) -> dict[str, float]:
        return {name: float(total) / self._count for name, total in self._sums.items()}


def _optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW or Adam; the text encoder, where it learns, and parts of the model may have their own rates."""
    encoder = {"text_encoder.": settings.encoder_learning_rate or settings.learning_rate}
    rates = {"": settings.learning_rate} | encoder | settings.rates
    groups: dict[str, list[nn.Parameter]] = {part: [] for part in rates}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[max((part for part in rates if name.startswith(part)), key=len)].append(parameter)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[settings.optimizer]
    tuned = [{"params": parameters, "lr": rates[part]} for part, parameters in groups.items() if parameters]
    return kind(tuned, weight_decay=settings.weight_decay, fused=True)


def _schedule(
    optimizer: torch.optim.Optimizer, settings: Settings, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler | None:
    if settings.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=settings.factor, patience=settings.patience)
    if settings.schedule == "constant":
        return None
    total = steps_per_epoch * settings.epochs
    warm = max(1, round(total * settings.warmup))

    def factor(step: int) -> float:
        # Per step, and never 0: the published per-epoch form spends its first epoch at rate 0.
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _order(frames: np.ndarray, settings: Settings, seed: int, epoch: int) -> Iterator[list[int]]:
    """Batches of places, shuffled anew each epoch; similar lengths (N,) together where `bucket` is set."""
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(frames))
    if settings.bucket:
        span = settings.batch_size * BUCKET
        order = np.concatenate(
            [part[np.argsort(frames[part], kind="stable")] for part in np.split(order, range(span, len(order), span))]
        )
    batches = [order[i : i + settings.batch_size].tolist() for i in range(0, len(order), settings.batch_size)]
    yield from (batches[i] for i in generator.permutation(len(batches)))


def _number(*parts: int) -> int:
    """One seed of many numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


@torch.no_grad()
def predict(
    model: nn.Module,
    samples: Sequence[Sample],
    spec: InputSpec,
    device: torch.device | str = "cpu",
    batch_size: int = 64,
    loss: Loss = NONE,
) -> dict[str, np.ndarray]:
    """`forward`'s outputs for each sample, under `loss`, in order: "prediction" (N,) or (N, K), and others.

    Similar lengths are batched together, which changes nothing but the time: no prediction depends on its batch.
    """
    model.to(device).eval()
    feed = Feed(samples, spec.lengths, loss, device)
    order = np.argsort(feed.samples.frames, kind="stable")
    parts: dict[str, list[np.ndarray]] = {}
    groups = np.split(order, range(batch_size, len(order), batch_size))
    for batch, _ in feed(places.tolist() for places in groups):
        with linear.fast(torch.device(device)):
            outputs = model(batch)
        for name, value in outputs.items():
            if value.ndim and len(value) == len(batch):
                parts.setdefault(name, []).append(value.float().cpu().numpy())
    back = np.argsort(order)
    return {name: _stack(pieces)[back] for name, pieces in parts.items()}


def _stack(pieces: list[np.ndarray]) -> np.ndarray:
    """Concatenate batches, padding the ones whose frames were fewer (attention maps) with zeros."""
    shape = [max(p.shape[k] for p in pieces) for k in range(1, pieces[0].ndim)]
    return np.concatenate(
        [np.pad(p, [(0, 0), *((0, most - size) for most, size in zip(shape, p.shape[1:]))]) for p in pieces]
    )
