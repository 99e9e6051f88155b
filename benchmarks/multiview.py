"""RCML and RCML-MISA on multi-view data, normal and conflictive, over seeds. Out: a table, and paired tests.

    python benchmarks/multiview.py [--datasets PIE HandWritten] [--protocols published mended] [--seeds 0 1 2]

Data: the folder LACUNA_DATA (default ../shared/data), `multiview/*.mat`. As in the authors' program 80 % of the rows
are trained on and the last epoch is judged on the others. `published` scales views to [0, 1] on all rows and copies
conflicting views from class templates; `mended` scales on train and draws conflicting views from test rows of another
class (see lacuna.patterns._conflict). Results are kept as JSON lines in --out: a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from lacuna.data.batches import Batch, InputSpec, Padded
from lacuna.datasets import multiview
from lacuna.evaluate import metrics
from lacuna.models import rcml, rcml_misa
from lacuna.patterns import _conflict
from lacuna.train.trainer import Settings

FILES = {"PIE": "PIE_face_10.mat", "HandWritten": "handwritten.mat"}
RERUN = {"PIE": "92.57 ± 1.63 / 80.44 ± 3.07", "HandWritten": "97.30 ± 0.69 / 92.62 ± 0.65"}
PUBLISHED = {"PIE": "94.71 / 84.00", "HandWritten": "99.40 / 94.40"}
MODELS = {"rcml": rcml, "rcml_misa": rcml_misa}
TESTS = ("normal", "conflict")


@dataclass(frozen=True)
class Run:
    """One training: which data, under which protocol, by which model, with which seed."""

    dataset: str
    protocol: str
    model: str
    seed: int


@dataclass(frozen=True)
class Data:
    """V views (N, D_v) in [0, 1], the same with conflictive test rows, classes (N,), and the rows of both splits."""

    views: list[np.ndarray]
    spoilt: list[np.ndarray]
    classes: np.ndarray
    train: np.ndarray
    test: np.ndarray


def read(folder: Path, run: Run) -> Data:
    """The data of a run; the split and what is spoilt depend on the seed and the protocol alone."""
    views, classes = multiview.read_file(folder / FILES[run.dataset])
    order = np.random.default_rng(run.seed).permutation(len(classes))
    train, test = np.split(order, [int(0.8 * len(order))])
    fitted = order if run.protocol == "published" else train
    scaled = [_scaled(view, fitted) for view in views]
    settings = _conflict.Settings(protocol=run.protocol)
    plan = _conflict.plan(classes, test, len(views), settings, run.seed)
    return Data(scaled, _conflict.apply(scaled, plan, settings.sigma, run.seed), classes, train, test)


def _scaled(view: np.ndarray, rows: np.ndarray) -> np.ndarray:
    low, spread = view[rows].min(0), np.ptp(view[rows], axis=0)
    return ((view - low) / np.where(spread > 0, spread, 1)).astype(np.float32)


def batch_of(views: list[np.ndarray], classes: np.ndarray, rows: np.ndarray) -> Batch:
    """Rows as a batch of V modalities of one frame each."""
    ones = torch.ones(len(rows), 1, dtype=torch.bool)
    modalities = {
        name: Padded(torch.from_numpy(view[rows])[:, None], ones.float(), ones, torch.ones(len(rows)).long())
        for name, view in zip(_names(views), views)
    }
    return Batch(tuple(map(str, rows)), modalities, {"M": torch.from_numpy(classes[rows]).float()})


def _names(views: list[np.ndarray]) -> list[str]:
    return [f"view{v}" for v in range(len(views))]


def fit(module: ModuleType, data: Data, run: Run) -> torch.nn.Module:
    """Train for the model's epochs and leave the last, as the authors' program does."""
    settings = Settings(**module.TRAINING)
    # The authors' fusion (in sequence) belongs to their protocol; the prototype of RCML-MISA does not (see errata).
    published = run.protocol == "published" and module is rcml
    widths = {name: view.shape[1] for name, view in zip(_names(data.views), data.views)}
    spec = InputSpec(widths, dict.fromkeys(widths, 1), classes=int(data.classes.max()) + 1)
    torch.manual_seed(run.seed)
    model = module.Model(module.PUBLISHED if published else module.Settings(), spec)
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * math.ceil(len(data.train) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_factor, settings, steps))
    generator = np.random.default_rng([run.seed, 1])
    model.train()
    for epoch in range(1, settings.epochs + 1):
        order = generator.permutation(data.train)
        for start in range(0, len(order), settings.batch_size):
            batch = batch_of(data.views, data.classes, order[start : start + settings.batch_size])
            optimizer.zero_grad()
            model.loss(batch, batch, epoch)["loss"].backward()
            if settings.clip_norm:
                torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
            schedule.step()
    return model.eval()


def _factor(settings: Settings, steps: int, step: int) -> float:
    """The rate's factor at a step, as lacuna.train.trainer has it."""
    warm = max(1, round(steps * settings.warmup))
    if settings.schedule == "constant":
        return 1.0
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@torch.no_grad()
def judge(model: torch.nn.Module, data: Data) -> dict[str, object]:
    """Accuracy in % and which test rows were right, on both test sets; mean uncertainty and AUROC of error by it."""
    scores: dict[str, object] = {}
    for name, views in zip(TESTS, (data.views, data.spoilt)):
        told = model(batch_of(views, data.classes, data.test))
        right = (told["prediction"].argmax(1).numpy() == data.classes[data.test]).tolist()
        quality = metrics.uncertainty_quality(told["uncertainty"].numpy(), ~np.array(right))
        scores[name] = {
            "accuracy": 100 * float(np.mean(right)),
            "right": right,
            "uncertainty": float(told["uncertainty"].mean()),
            "conflict": float(told["conflict"].mean()),
            "auroc": quality["auroc"],
        }
    return scores


def table(results: dict[Run, dict]) -> str:
    """Mean ± std over seeds, and RCML-MISA against RCML: paired bootstrap over seeds, McNemar over all test rows."""
    rows = [
        "dataset      protocol   model      seeds  normal          conflict        AUROC of error (normal, conflict)"
    ]
    groups = sorted({replace(run, seed=0) for run in results}, key=lambda run: tuple(asdict(run).values()))
    for group in groups:
        runs = [scores for run, scores in results.items() if replace(run, seed=0) == group]
        cells = [_spread([scores[test]["accuracy"] for scores in runs]) for test in TESTS]
        auroc = ", ".join(_spread([s[t]["auroc"] for s in runs], 3) for t in TESTS)
        rows.append(
            f"{group.dataset:12} {group.protocol:10} {group.model:10} {len(runs):5}  {'  '.join(cells)}  {auroc}"
        )
    rows += [f"{name}: authors' program rerun {RERUN[name]}; published {PUBLISHED[name]}" for name in FILES]
    for group in groups:
        if group.model == "rcml_misa":
            rows += _against(results, group)
    return "\n".join(rows)


def _spread(values: list[float | None], digits: int = 2) -> str:
    mean, std = metrics.mean_std(values)
    return "-" if mean is None else f"{mean:.{digits}f} ± {std or 0:.{digits}f}"


def _against(results: dict[Run, dict], group: Run) -> list[str]:
    runs = {run: scores for run, scores in results.items() if replace(run, seed=0) == group}
    pairs = [(scores, results.get(replace(run, model="rcml"))) for run, scores in runs.items()]
    pairs = [(ours, other) for ours, other in pairs if other is not None]
    lines = []
    for test in TESTS if pairs else ():
        gap = metrics.paired_bootstrap(*np.array([[s[test]["accuracy"] for s in pair] for pair in pairs]).T)
        right = [np.concatenate([pair[i][test]["right"] for pair in pairs]) for i in range(2)]
        mcnemar = metrics.mcnemar(*right)
        lines.append(
            f"{group.dataset} {group.protocol} {test}: rcml_misa - rcml = {gap['difference']:+.2f} "
            f"[{gap['low']:+.2f}, {gap['high']:+.2f}] over {len(pairs)} seeds (paired bootstrap p = {gap['p']:.3f}); "
            f"McNemar {mcnemar['only_ours']} against {mcnemar['only_others']}, p = {mcnemar['p']:.3f}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=list(FILES), choices=FILES)
    parser.add_argument("--protocols", nargs="+", default=["published", "mended"], choices=["published", "mended"])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--out", type=Path, default=Path(".cache/benchmarks/multiview.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)  # batches are small: more threads only wait for each other
    folder = Path(os.environ.get("LACUNA_DATA", Path(__file__).resolve().parents[1] / "../shared/data")) / "multiview"
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    results = {Run(**record["run"]): record["scores"] for record in map(json.loads, lines)}
    wanted = [
        Run(dataset, protocol, model, seed)
        for dataset in options.datasets
        for protocol in options.protocols
        for model in options.models
        for seed in options.seeds
    ]
    for run in wanted:
        if run not in results:
            start, data = time.perf_counter(), read(folder, run)
            results[run] = judge(fit(MODELS[run.model], data, run), data)
            with options.out.open("a") as file:
                file.write(json.dumps({"run": asdict(run), "scores": results[run]}) + "\n")
            accuracies = " / ".join(f"{results[run][test]['accuracy']:.2f}" for test in TESTS)
            print(f"{run}: {accuracies} in {time.perf_counter() - start:.0f} s", flush=True)
    print(table({run: results[run] for run in wanted}))


if __name__ == "__main__":
    main()
