"""What was tried for Quorum, on pooled vectors with a frozen encoder. Out: a row a trial, validation and test MAE.

    python benchmarks/quorum.py processed/demo processed/mosi_utterance [--seeds 3] [--only TEXT] [--clips 300]

Every text is encoded once for each loss that is drawn, and kept in .cache/benchmarks/quorum, so a trial takes seconds.
Epochs and changes are chosen by the MAE of validation, a mean over the rates 0, 30, 60 and 90 %; test is printed beside
it and chooses nothing. Below stands what the variances of the first trial cover, and what moving its answers by the
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
import torch
from results import LENGTHS, corpus
from torch import Tensor
from torch.nn import functional as F

from lacuna.data.batches import InputSpec, collate
from lacuna.data.samples import Sample
from lacuna.evaluate.calibrate import Answers, coverage, fit, quantiles
from lacuna.evaluate.metrics import mean_std
from lacuna.mask.mask import mask
from lacuna.models import quorum
from lacuna.models.parts.pooled import Pooled, pooled
from lacuna.models.parts.text import TextEncoder
from lacuna.patterns import frames, mixed
from lacuna.types import SPLITS

RATES = (0.0, 0.3, 0.6, 0.9)
DRAWS = 3  # losses of each training clip, taken in turn by the epochs
BINS = torch.linspace(-3, 3, 13)  # of ordinal heads
HELD = " | ".join(f"{p} {kind}" for p in ("50 %:", "90 %:") for kind in ("as stated", "scaled", "width"))
TRAINING = {"epochs": 60, "learning_rate": 5e-3, "batch_size": 32, "weight_decay": 1e-2}
OTHERWISE = {"mosi_utterance": {"epochs": 16, "learning_rate": 2e-3}}
OUT = Path(".cache/benchmarks/quorum")
Told = dict[str, Pooled]


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


TRIALS = (
    Trial("as it is", {}),
    Trial("the complete view learnt too, weight .5", {}, complete=0.5),
    Trial("both views consistent, weight .5", {}, consistency=0.5),
    Trial("EMA teacher on the complete view, weight .5", {}, teacher=0.5),
    Trial("EMA teacher on the complete view, weight 2", {}, teacher=2.0),
    Trial("ordinal heads (13 bins)", {}, ordinal=True),
)


@dataclass(frozen=True)
class Split:
    """Pooled vectors of every clip, by what was lost, and labels (N,)."""

    told: list[Told]
    labels: Tensor


class Vectors:
    """A dataset's pooled vectors: of train complete and DRAWS times lossy, of valid and test at the RATES."""

    def __init__(self, folder: Path, clips: int) -> None:
        """`clips`: at most so many of each split, spread evenly over it."""
        read, self.clips = corpus(folder), clips
        self.spec = InputSpec.of(read.splits["train"], LENGTHS)
        self.encoder = TextEncoder(self.spec, finetune=False).eval()
        self.train, self.valid, self.test = (self._split(folder, name, read.splits[name]) for name in SPLITS)

    def _split(self, folder: Path, name: str, samples: Sequence[Sample]) -> Split:
        samples = samples[:: max(1, len(samples) // self.clips)]
        path = OUT / f"{folder.name}.{name}.{len(samples)}.pt"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save([[vars(p) for p in told.values()] for told in self._views(name, samples)], path)
        views = [dict(zip(self.spec.widths, (Pooled(**p) for p in told))) for told in torch.load(path)]
        return Split(views, torch.tensor([s.clip.label for s in samples]).float())

    def _views(self, name: str, samples: Sequence[Sample]) -> Iterator[Told]:
        """Complete and DRAWS times lossy; or at the RATES."""
        if name == "train":
            yield self._pooled(samples)
            yield from (self._pooled([mask(s, mixed, 0.5, 1, draw) for s in samples]) for draw in range(1, DRAWS + 1))
        else:
            yield from (self._pooled([mask(s, frames, rate, 1) for s in samples]) for rate in RATES)

    @torch.no_grad()
    def _pooled(self, samples: Sequence[Sample]) -> Told:
        order = np.argsort([len(s.features["text"]) for s in samples], kind="stable")
        parts: dict[str, list[Pooled]] = {}
        for start in range(0, len(order), 64):
            batch = collate([samples[i] for i in order[start : start + 64]], LENGTHS)
            for m in batch.modalities:
                parts.setdefault(m, []).append(pooled(batch, m, self.encoder))
        back = torch.from_numpy(np.argsort(order))
        return {m: rows(_joined(parts[m]), back) for m in self.spec.widths}


def _joined(parts: Sequence[Pooled]) -> Pooled:
    return Pooled(*(torch.cat([getattr(p, name) for p in parts]) for name in Pooled.__dataclass_fields__))


def rows(told: Pooled, chosen: Tensor) -> Pooled:
    return Pooled(*(getattr(told, name)[chosen] for name in Pooled.__dataclass_fields__))


def answer(model: quorum.Model, told: Told) -> tuple[Tensor, Tensor]:
    """Outputs (N, K) and variances (N,)."""
    opinions = [expert(told[m]) for m, expert in model.experts.items()]
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
        told = [scores(answer(model, view)[0], ordinal) for view in split.told]
    return [float((t - split.labels).abs().mean()) for t in told]


def fitted(data: Vectors, trial: Trial, how: dict, seed: int) -> tuple[quorum.Model, float]:
    """The weights that are best on validation, and their MAE there."""
    torch.manual_seed(seed)
    spec = replace(data.spec, widths=data.spec.widths | {"text": data.encoder.width}, tokens=False)
    spec = replace(spec, classes=len(BINS) if trial.ordinal else 0)
    model = quorum.Model(quorum.Settings(finetune=False, **trial.settings), spec)
    optimizer = torch.optim.AdamW(
        model.parameters(), how["learning_rate"], weight_decay=how["weight_decay"], fused=True
    )
    steps = how["epochs"] * -(-len(data.train.labels) // how["batch_size"])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_cosine(steps))
    kept, best, state = copy.deepcopy(model), np.inf, {}
    for epoch in range(how["epochs"]):
        for chosen in torch.randperm(len(data.train.labels)).split(how["batch_size"]):
            loss = _loss(model.train(), kept, data.train, 1 + epoch % DRAWS, chosen, trial)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                for own, mean in zip(model.parameters(), kept.parameters()):
                    mean.lerp_(own, 1 - min(trial.average, schedule.last_epoch / (schedule.last_epoch + 10)))
        told = float(np.mean(mae(kept, data.valid, trial.ordinal)))
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
        for view in split.told:
            output_NK, variance_N = answer(model.eval(), view)
            kept_N = torch.stack([p.evidence_BE[:, 0] for p in view.values()]).mean(0)
            arrays = (output_NK[:, 0], kept_N, split.labels, variance_N)
            told.append(Answers(*(x.double().numpy() for x in arrays)))
    return told


def calibrated(models: Sequence[quorum.Model], data: Vectors) -> Iterator[list[str]]:
    """A row a rate: MAE as answered, shifted, shifted and shrunk; what intervals hold, and their width."""
    rows_RC: list[list[list[float]]] = [[] for _ in RATES]
    for model in models:
        valid = Answers.joined(answers(model, data.valid))
        moves, scaled = [fit(how, valid) for how in ("none", "shift", "both")], quantiles(valid)
        for row, told in zip(rows_RC, answers(model, data.test)):
            row.append([float(np.abs(m(told.prediction, told.kept) - told.labels).mean()) for m in moves])
            held = coverage(told, scaled)
            row[-1] += [held[level][kind] for level in ("0.5", "0.9") for kind in ("stated", "calibrated", "width")]
    for rate, found in zip(RATES, rows_RC):
        yield [f"{rate:.0%}", *(f"{x:.3f}" for x in np.mean(found, 0))]


def trials(data: Vectors, how: dict, seeds: int, only: str) -> Iterator[tuple[Trial, list[str], list[quorum.Model]]]:
    """A row a trial, and the models."""
    for trial in (t for t in TRIALS if only in t.name):
        start = time.process_time()
        found = [fitted(data, trial, how, seed) for seed in range(1111, 1111 + seeds)]
        asked = np.array([mae(model, data.test, trial.ordinal) for model, _ in found])
        told = [mean_std([best for _, best in found]), mean_std(asked.mean(1).tolist())]
        row = [trial.name, *(f"{mean:.3f}" + (f" ± {std:.3f}" if std is not None else "") for mean, std in told)]
        row += [" / ".join(f"{x:.3f}" for x in asked.mean(0)), f"{time.process_time() - start:.0f}"]
        yield trial, row, [model for model, _ in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--clips", type=int, default=10**6, help="at most so many of each split")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for folder in options.folders:
        data, how = Vectors(folder, options.clips), TRAINING | OTHERWISE.get(folder.name, {})
        print(f"\n### {folder.name}\n\n| change | validation | test | 0 / 30 / 60 / 90 % | s |\n|---|---|---|---|---|")
        first: list[quorum.Model] = []
        for trial, row, models in trials(data, how, options.seeds, options.only):
            print("| " + " | ".join(row) + " |", flush=True)
            first = first or ([] if trial.ordinal else models)
        print("\n| lost | as answered | shifted | shifted and shrunk | " + HELD + " |\n" + "|---" * 10 + "|")
        for row in calibrated(first, data):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
