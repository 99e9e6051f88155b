"""What was tried for Quorum, on pooled vectors with a frozen encoder. Out: a row a trial, validation and test MAE.

    python benchmarks/quorum.py processed/demo processed/mosi_utterance [--seeds 3] [--only TEXT] [--clips 300]
    python benchmarks/quorum.py processed/demo --folds 6 [--whole-face]

Every text is encoded once for each loss that is drawn, and kept in .cache/benchmarks/quorum, so a trial takes seconds.
Epochs and changes are chosen by the MAE of validation, a mean over the rates 0, 30, 60 and 90 %; test is printed beside
it and chooses nothing. Where few clips validate, `--folds` tells more: clips of train and valid are chosen on by turns,
and test is not read. Below stands what the variances of the first trial cover, and what moving its answers by the
share that was lost is worth; both are fitted on validation.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import results
import torch
from results import LENGTHS, corpus
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.data.batches import Batch, InputSpec, collate
from lacuna.data.samples import Sample
from lacuna.evaluate.calibrate import Answers, coverage, fit, quantiles
from lacuna.evaluate.metrics import mean_std
from lacuna.mask.mask import mask
from lacuna.models import quorum
from lacuna.models.parts.pooled import Pooled, pooled, windows
from lacuna.models.parts.text import TextEncoder
from lacuna.patterns import frames, mixed

RATES = (0.0, 0.3, 0.6, 0.9)
DRAWS = 3  # losses of each training clip, taken in turn by the epochs
BINS = torch.linspace(-3, 3, 13)  # of ordinal heads
HELD = [f"{p} {kind}" for p in ("50 %:", "90 %:") for kind in ("as stated", "scaled", "width")]
TRAINING = {"epochs": 60, "learning_rate": 5e-3, "batch_size": 32, "weight_decay": 1e-2}
OTHERWISE = {"mosi_utterance": {"epochs": 16, "learning_rate": 2e-3}}
OUT = Path(".cache/benchmarks/quorum")


@dataclass(frozen=True)
class Timed(Pooled):
    """With the means of the clip's windows (B, W, D), and whether anything of each was seen (B, W)."""

    window_BWD: Tensor
    seen_BW: Tensor


Told = dict[str, Timed]


@dataclass(frozen=True)
class Trial:
    """A change: of the model's settings, of training, and of the loss (weights of what is added to it)."""

    name: str
    settings: dict[str, object]
    complete: float = 0.0  # the task's loss of the complete view
    consistency: float = 0.0  # squared distance of the lossy view's answer to the complete view's
    teacher: float = 0.0  # the same to the complete view's answer under the running mean of the weights
    ordinal: bool = False  # a distribution over bins instead of a score with its variance
    average: float = 0.98
    weighed: bool = False  # windows of audio and vision are weighed by what is in them, not read by a recurrence


TRIALS = (
    Trial("as it is", {}),
    Trial("means alone, no recurrence", {"recurrent": ()}),
    Trial("a recurrence over audio alone", {"recurrent": ("audio",)}),
    Trial("a recurrence over vision alone", {"recurrent": ("vision",)}),
    Trial("a recurrence of 8 units", {"units": 8}),
    Trial("windows with learnt weights, no recurrence", {"recurrent": ()}, weighed=True),
    Trial("the complete view learnt too, weight .5", {}, complete=0.5),
    Trial("both views consistent, weight .5", {}, consistency=0.5),
    Trial("EMA teacher on the complete view, weight .5", {}, teacher=0.5),
    Trial("EMA teacher on the complete view, weight 2", {}, teacher=2.0),
    Trial("ordinal heads (13 bins)", {}, ordinal=True),
)


@dataclass(frozen=True)
class Split:
    """Pooled vectors of every clip, complete, DRAWS times lossy as in training, and at the RATES; and labels (N,)."""

    told: list[Told]
    labels: Tensor

    @property
    def at_rates(self) -> list[Told]:
        return self.told[-len(RATES) :]

    def part(self, chosen: np.ndarray) -> Split:
        kept = torch.from_numpy(chosen)
        return Split([{m: rows(p, kept) for m, p in view.items()} for view in self.told], self.labels[kept])

    def parted(self, chosen: np.ndarray) -> tuple[Split, Split]:
        """All but these clips, and these."""
        return self.part(np.setdiff1d(np.arange(len(self.labels)), chosen)), self.part(chosen)


class Vectors:
    """A dataset's pooled vectors, made from texts that are encoded once."""

    def __init__(self, folder: Path, clips: int) -> None:
        """`clips`: at most so many of each split, spread evenly over it."""
        self.read, self.folder, self.clips = corpus(folder), folder, clips
        self.spec = InputSpec.of(self.read.splits["train"], LENGTHS)
        self.encoder = TextEncoder(self.spec, finetune=False).eval()

    def split(self, *names: str) -> Split:
        """The clips of these splits, in this order."""
        found = [self._split(name, self.read.splits[name]) for name in names]
        views = zip(*(split.told for split in found))
        told = [{m: _joined([part[m] for part in view]) for m in self.spec.widths} for view in views]
        return Split(told, torch.cat([split.labels for split in found]))

    def _split(self, name: str, samples: Sequence[Sample]) -> Split:
        samples = samples[:: max(1, len(samples) // self.clips)]
        kind = f"{results.WHOLE_FACE}." if results.WHOLE_FACE in results.OUT.parts else ""
        path = OUT / f"{self.folder.name}.{kind}{name}.{len(samples)}.windows.pt"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save([[vars(p) for p in told.values()] for told in self._views(samples)], path)
        views = [dict(zip(self.spec.widths, (Timed(**p) for p in told))) for told in torch.load(path)]
        return Split(views, torch.tensor([s.clip.label for s in samples]).float())

    def _views(self, samples: Sequence[Sample]) -> Iterator[Told]:
        yield self._pooled(samples)
        yield from (self._pooled([mask(s, mixed, 0.5, 1, draw) for s in samples]) for draw in range(1, DRAWS + 1))
        yield from (self._pooled([mask(s, frames, rate, 1) for s in samples]) for rate in RATES)

    @torch.no_grad()
    def _pooled(self, samples: Sequence[Sample]) -> Told:
        order = np.argsort([len(s.features["text"]) for s in samples], kind="stable")
        parts: dict[str, list[Timed]] = {}
        for start in range(0, len(order), 64):
            batch = collate([samples[i] for i in order[start : start + 64]], LENGTHS)
            for m in batch.modalities:
                parts.setdefault(m, []).append(self._timed(batch, m))
        back = torch.from_numpy(np.argsort(order))
        return {m: rows(_joined(parts[m]), back) for m in self.spec.widths}

    def _timed(self, batch: Batch, modality: str) -> Timed:
        window_BWD, seen_BW = windows(batch[modality])
        return Timed(**vars(pooled(batch, modality, self.encoder)), window_BWD=window_BWD, seen_BW=seen_BW)


def _joined(parts: Sequence[Timed]) -> Timed:
    return Timed(*(torch.cat([getattr(p, name) for p in parts]) for name in Timed.__dataclass_fields__))


def rows(told: Timed, chosen: Tensor) -> Timed:
    return Timed(*(getattr(told, name)[chosen] for name in Timed.__dataclass_fields__))


class Weighed(nn.Module):
    """A modality's windows (B, W, D) → their mean (B, D) with weights that are learnt from what is in them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))
        nn.init.zeros_(self.weight[1].weight)  # begins as a plain mean over windows

    def forward(self, x_BWD: Tensor, seen_BW: Tensor) -> Tensor:
        weight_BW = self.weight(x_BWD)[..., 0].masked_fill(~seen_BW, -1e4).softmax(1) * seen_BW
        return (x_BWD * weight_BW[..., None]).sum(1)


def answer(model: quorum.Model, told: Told) -> tuple[Tensor, Tensor]:
    """Outputs (N, K) and variances (N,)."""
    said = {m: [course(told[m].window_BWD, told[m].seen_BW)] for m, course in model.courses.items()}
    opinions = [expert(told[m], *said.get(m, [])) for m, expert in model.experts.items()]
    prior = model.prior_mean_K.expand_as(opinions[0][0])
    precision_MN = torch.stack([*(p for _, p in opinions), F.softplus(model.prior_precision).expand(len(prior)) + 1e-3])
    total_N = precision_MN.sum(0)
    mean_MNK = torch.stack([*(m for m, _ in opinions), prior])
    return (mean_MNK * precision_MN[..., None]).sum(0) / total_N[:, None], 1 / total_N


def scores(output_NK: Tensor, ordinal: bool) -> Tensor:
    return output_NK.softmax(-1) @ BINS if ordinal else output_NK[:, 0]


def task(output_NK: Tensor, variance_N: Tensor, label_N: Tensor, ordinal: bool) -> Tensor:
    """½ e² weighed against ¼ (e² / v + log v); of ordinal heads ½ e² and the entropy against bins of width ½."""
    error_N = (scores(output_NK, ordinal) - label_N).square()
    if ordinal:
        wanted_NK = (-0.5 * ((BINS - label_N[:, None]) / 0.5).square()).softmax(-1)
        return (0.5 * error_N - 0.5 * (wanted_NK * output_NK.log_softmax(-1)).sum(1)).mean()
    return (0.5 * error_N + 0.25 * (error_N / variance_N + variance_N.log())).mean()


def mae(model: quorum.Model, split: Split, ordinal: bool) -> list[float]:
    model.eval()
    with torch.no_grad():
        told = [scores(answer(model, view)[0], ordinal) for view in split.at_rates]
    return [float((t - split.labels).abs().mean()) for t in told]


def built(data: Vectors, trial: Trial) -> quorum.Model:
    spec = replace(data.spec, widths=data.spec.widths | {"text": data.encoder.width}, tokens=False)
    spec = replace(spec, classes=len(BINS) if trial.ordinal else 0)
    model = quorum.Model(quorum.Settings(finetune=False, **trial.settings), spec)
    for m in (m for m in ("audio", "vision") if trial.weighed and m in spec.widths):
        model.courses[m] = Weighed(spec.widths[m])
        model.experts[m] = quorum.Expert(2 * spec.widths[m], 0, model.settings, spec.classes or 1)
    return model


def fitted(data: Vectors, train: Split, valid: Split, trial: Trial, how: dict, seed: int) -> tuple[quorum.Model, float]:
    """The weights that are best on validation, and their MAE there."""
    torch.manual_seed(seed)
    model = built(data, trial)
    optimizer = torch.optim.AdamW(
        model.parameters(), how["learning_rate"], weight_decay=how["weight_decay"], fused=True
    )
    steps = how["epochs"] * -(-len(train.labels) // how["batch_size"])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_cosine(steps))
    kept, best, state = copy.deepcopy(model), np.inf, {}
    for epoch in range(how["epochs"]):
        for chosen in torch.randperm(len(train.labels)).split(how["batch_size"]):
            loss = _loss(model.train(), kept, train, 1 + epoch % DRAWS, chosen, trial)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                for own, mean in zip(model.parameters(), kept.parameters()):
                    mean.lerp_(own, 1 - min(trial.average, schedule.last_epoch / (schedule.last_epoch + 10)))
        told = float(np.mean(mae(kept, valid, trial.ordinal)))
        if told < best:
            best, state = told, copy.deepcopy(kept.state_dict())
    kept.load_state_dict(state)
    return kept, best


def _loss(model: quorum.Model, kept: quorum.Model, train: Split, draw: int, chosen: Tensor, trial: Trial) -> Tensor:
    lossy, whole = ({m: rows(p, chosen) for m, p in train.told[i].items()} for i in (draw, 0))
    label_N = train.labels[chosen]
    output_NK, variance_N = answer(model, lossy)
    loss, told_N = task(output_NK, variance_N, label_N, trial.ordinal), scores(output_NK, trial.ordinal)
    if trial.complete:
        loss = loss + trial.complete * task(*answer(model, whole), label_N, trial.ordinal)
    if trial.consistency:
        loss = loss + trial.consistency * (told_N - answer(model, whole)[0][:, 0].detach()).square().mean()
    if trial.teacher:
        with torch.no_grad():
            wanted_N = answer(kept.eval(), whole)[0][:, 0]
        loss = loss + trial.teacher * (told_N - wanted_N).square().mean()
    return loss


def _warmup_cosine(steps: int) -> Callable[[int], float]:
    warm = max(1, steps // 10)
    return lambda i: (i + 1) / warm if i < warm else 0.5 * (1 + np.cos(np.pi * (i - warm) / max(1, steps - warm)))


def answers(model: quorum.Model, split: Split) -> list[Answers]:
    """At each rate, with the share kept (a mean over modalities) and the stated variances."""
    told = []
    with torch.no_grad():
        for view in split.at_rates:
            output_NK, variance_N = answer(model.eval(), view)
            kept_N = torch.stack([p.evidence_BE[:, 0] for p in view.values()]).mean(0)
            arrays = (output_NK[:, 0], kept_N, split.labels, variance_N)
            told.append(Answers(*(x.double().numpy() for x in arrays)))
    return told


def calibrated(models: Sequence[quorum.Model], valid: Split, test: Split) -> Iterator[list[str]]:
    """A row a rate: MAE as answered, shifted, shifted and shrunk; what intervals hold, and their width."""
    rows_RC: list[list[list[float]]] = [[] for _ in RATES]
    for model in models:
        known = Answers.joined(answers(model, valid))
        moves, scaled = [fit(how, known) for how in ("none", "shift", "both")], quantiles(known)
        for row, told in zip(rows_RC, answers(model, test)):
            row.append([float(np.abs(m(told.prediction, told.kept) - told.labels).mean()) for m in moves])
            held = coverage(told, scaled)
            row[-1] += [held[level][kind] for level in ("0.5", "0.9") for kind in ("stated", "calibrated", "width")]
    for rate, found in zip(RATES, rows_RC):
        yield [f"{rate:.0%}", *(f"{x:.3f}" for x in np.mean(found, 0))]


def _told(values: Sequence[float]) -> str:
    mean, std = mean_std(list(values))
    return f"{mean:.3f}" + (f" ± {std:.3f}" if std is not None else "")


def trials(data: Vectors, how: dict, seeds: int, only: str) -> Iterator[list[str]]:
    """A row a trial; then, of the first, a row a rate of what its variances hold."""
    train, valid, test = map(data.split, ("train", "valid", "test"))
    first: list[quorum.Model] = []
    yield ["change", "validation", "test", "0 / 30 / 60 / 90 %", "s"]
    for trial in (t for t in TRIALS if only in t.name):
        start = time.process_time()
        found = [fitted(data, train, valid, trial, how, seed) for seed in range(1111, 1111 + seeds)]
        asked = np.array([mae(model, test, trial.ordinal) for model, _ in found])
        row = [trial.name, _told([best for _, best in found]), _told(asked.mean(1))]
        yield [*row, " / ".join(f"{x:.3f}" for x in asked.mean(0)), f"{time.process_time() - start:.0f}"]
        first = first or ([] if trial.ordinal else [model for model, _ in found])
    yield []
    yield ["lost", "as answered", "shifted", "shifted and shrunk", *HELD]
    yield from calibrated(first, valid, test)


def in_folds(data: Vectors, how: dict, seeds: int, only: str, folds: int) -> Iterator[list[str]]:
    """A row a trial: the MAE of clips of train and valid that were chosen on by turns, learnt from the others."""
    known = data.split("train", "valid")
    parts = np.array_split(np.random.RandomState(0).permutation(len(known.labels)), folds)
    yield ["change", "MAE, seeds", *(f"fold {i + 1}" for i in range(folds))]
    for trial in (t for t in TRIALS if only in t.name):
        found = np.array([
            [fitted(data, *known.parted(part), trial, how, seed)[1] for part in parts]
            for seed in range(1111, 1111 + seeds)
        ])  # fmt: skip
        yield [trial.name, _told(found.mean(1)), *(f"{x:.3f}" for x in found.mean(0))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--clips", type=int, default=10**6, help="at most so many of each split")
    parser.add_argument("--folds", type=int, help="choose on clips of train and valid by turns; test is not read")
    parser.add_argument("--whole-face", action="store_true", help="all 709 columns")
    options = parser.parse_args()
    if options.whole_face:
        results.OUT = results.OUT / results.WHOLE_FACE
    torch.set_num_threads(1)
    for folder in options.folders:
        data, how = Vectors(folder, options.clips), TRAINING | OTHERWISE.get(folder.name, {})
        asked = (data, how, options.seeds, options.only)
        print(f"\n### {folder.name}\n")
        head = True
        for row in in_folds(*asked, options.folds) if options.folds else trials(*asked):
            print("| " + " | ".join(row) + " |" if row else "", flush=True)
            if row and head:
                print("|---" * len(row) + "|")
            head = not row


if __name__ == "__main__":
    main()
