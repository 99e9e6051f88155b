"""The table of one model on one data set. In: checkpoints and variants on disk. Out: scores and every prediction.

`test` is read here and nowhere else. The protocol is `validation`: each seed's checkpoint is the one with the best
validation loss.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from lacuna import checkpoints
from lacuna.batches import InputSpec
from lacuna.evaluation import Run, linear_baseline, mean_embeddings, over_rates, predict_variants, summary
from lacuna.experiments import Corpus, read_corpus
from lacuna.params import Params
from lacuna.samples import TOKEN_COLUMNS
from lacuna.store import FeatureFile, replacing
from lacuna.training import choose_device
from lacuna.types import SPLITS, MalformedInput
from lacuna.untagged import answer
from lacuna.variants import Variants


def judge(params: Params, processed: Path, model: str) -> dict[str, object]:
    """Write `scores/<model>.json`, `.npz` and `.unlabelled.csv` under `processed`; return the first one's content."""
    dataset = processed.name
    train, evaluate = params.train.of_model(model, dataset), params.evaluate.of(dataset)
    corpus = read_corpus(processed, train, params.prepare.of(dataset).label_range)
    labels = np.array([s.clip.label for s in corpus.splits["test"]])
    if not np.isfinite(labels).any():
        raise MalformedInput(f"{dataset}: expected labelled clips in the split test, got none")
    runs: list[Run] = []
    arrays: dict[str, np.ndarray] = {"ids": np.array([s.clip.id for s in corpus.splits["test"]]), "labels": labels}
    for pattern in evaluate.patterns:
        variants = Variants(processed / "variants" / f"{pattern}.h5")
        for seed in params.seeds:
            for run, outputs in _runs(corpus, processed / "models" / model / str(seed), variants, labels, train.device):
                runs.append(run)
                key = f"{pattern}/{run.level}/{run.mask_seed}/{seed}"
                arrays |= {f"{key}/{n}": outputs[n] for n in ("prediction", "uncertainty") if n in outputs}
    scores = _table(params, processed, model, corpus, runs)
    scores["intervals"] = _intervals(corpus, arrays, runs, labels, evaluate.bootstrap)
    folders = [processed / "models" / model / str(seed) for seed in params.seeds]
    answer(corpus, folders, processed / "scores" / f"{model}.unlabelled.csv", train.device)
    _write(processed / "scores", model, scores, arrays)
    return scores


def _runs(
    corpus: Corpus, folder: Path, variants: Variants, labels: np.ndarray, device: str
) -> Iterator[tuple[Run, dict[str, np.ndarray]]]:
    """The scores and outputs of one checkpoint at every level and mask seed."""
    network, card = checkpoints.load(folder)
    checkpoints.check_features(card, corpus.origins)
    spec = InputSpec(**card.spec)
    for level, mask_seed, outputs in predict_variants(
        network, corpus.splits["test"], spec, variants, choose_device(device)
    ):
        scores = corpus.judged.scores(outputs["prediction"], labels)
        yield Run(variants.pattern, level, mask_seed, card.seed, scores), outputs


def _table(params: Params, processed: Path, model: str, corpus: Corpus, runs: list[Run]) -> dict[str, object]:
    patterns = summary(runs)
    train, export = params.train.of_model(model, processed.name), params.export.of(processed.name)
    words = _embeddings(processed, [*train.features, *export.features])
    return {
        "dataset": processed.name,
        "model": model,
        "protocol": params.evaluate.protocol,
        "task": corpus.judged.task,
        "scale": corpus.judged.scale,
        "clips": {split: len(members) for split, members in corpus.splits.items() if split in SPLITS},
        "seeds": {"train": params.seeds, "mask": sorted({r.mask_seed for r in runs})},
        "baselines": baselines(corpus, words),
        "patterns": patterns,
        "over_rates": {name: over_rates(levels) for name, levels in patterns.items()},
        "runs": [asdict(run) for run in runs],
    }


def baselines(corpus: Corpus, words: FeatureFile | None) -> dict[str, dict[str, object]]:
    """Scores on the complete test split of saying always the same, and of ridge on the mean embedding of the words."""
    labels = {split: np.array([s.clip.label for s in corpus.splits[split]]) for split in ("train", "test")}
    result = {"majority": corpus.judged.majority(labels["train"], labels["test"])}
    if words is None:
        return result
    rows = {split: mean_embeddings([words[s.clip.id] for s in corpus.splits[split]]) for split in labels}
    told = linear_baseline(rows["train"], labels["train"], rows["test"], corpus.judged)
    return result | {"text_linear": corpus.judged.scores(told, labels["test"])}


def _embeddings(processed: Path, names: list[str]) -> FeatureFile | None:
    """The first of these features that are embeddings of text with a frame in them."""
    for name in names:
        path = processed / "features" / f"{name}.h5"
        if path.is_file():
            file = FeatureFile(path)
            if file.origin.modality == "text" and file.origin.columns != TOKEN_COLUMNS and file.lengths().any():
                return file
            file.close()
    return None


def _intervals(
    corpus: Corpus, arrays: dict[str, np.ndarray], runs: list[Run], labels: np.ndarray, draws: int
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """{pattern: {level: {metric: [low, high]}}}: bootstrap over test clips, its bounds averaged over the runs."""
    bounds: dict[str, dict[str, dict[str, list[tuple[float, float]]]]] = {}
    for run in runs if draws else ():
        told = arrays[f"{run.pattern}/{run.level}/{run.mask_seed}/{run.train_seed}/prediction"]
        place = bounds.setdefault(run.pattern, {}).setdefault(str(run.level), {})
        for name, bound in corpus.judged.intervals(told, labels, draws).items():
            if bound:
                place.setdefault(name, []).append(bound)
    return {
        pattern: {level: {n: np.mean(b, 0).tolist() for n, b in names.items()} for level, names in levels.items()}
        for pattern, levels in bounds.items()
    }


def _write(folder: Path, model: str, scores: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    with replacing(folder / f"{model}.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    with replacing(folder / f"{model}.json") as temporary:
        temporary.write_text(json.dumps(scores, indent=1), encoding="utf-8")
