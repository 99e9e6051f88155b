"""The table of one model on one data set. In: checkpoints and variants on disk. Out: scores and every prediction.

Under the protocol `validation` each seed's checkpoint is the one with the best validation loss, and `test` is read here
and nowhere else; under `paper` each metric has its own checkpoint, the one that was best on `test` (see `protocol`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lacuna.data.batches import InputSpec
from lacuna.evaluate.calibrate import Answers, How, coverage, fit, quantiles
from lacuna.evaluate.indices import indices
from lacuna.evaluate.judged import Bounds, Judged
from lacuna.evaluate.names import NO_RATE
from lacuna.evaluate.protocol import Choice, choices
from lacuna.evaluate.scores import Corrected, Scores
from lacuna.evaluate.under_loss import Run, linear_baseline, mean_embeddings, over_rates, predict_variants, summary
from lacuna.evaluate.untagged import answer
from lacuna.mask.after_loss import leaks
from lacuna.mask.variants import Variants
from lacuna.storage.features import FeatureFile
from lacuna.storage.files import replacing
from lacuna.train import checkpoint
from lacuna.train.plan import Plan
from lacuna.train.run import Corpus, read_corpus
from lacuna.train.trainer import Settings as Training
from lacuna.train.trainer import choose_device
from lacuna.types import SPLITS, TOKEN_COLUMNS, MalformedInput

KEPT = ("prediction", "uncertainty", "variance")  # what of a model's outputs is held, and written


@dataclass(frozen=True)
class Settings:
    """Which checkpoints are judged (one a seed) under which patterns, how answers are corrected, the resamples behind
    each interval, features among which the words of the linear baseline are looked for, and a device."""

    seeds: Sequence[int]
    patterns: Sequence[str]
    calibrate: How = "both"
    bootstrap: int = 1000
    words: Sequence[str] = ()
    device: str = "auto"


@dataclass(frozen=True)
class Asked:
    """One run with what it was counted from: the outputs that are kept of it, the interval of each score, the scores of
    its corrected answers, and how often its stated variance covers the truth."""

    run: Run
    outputs: dict[str, np.ndarray]
    bounds: Bounds
    corrected: dict[str, Any]
    coverage: dict[str, dict[str, float]]


def judge(made: Plan, processed: Path, settings: Settings) -> Scores:
    """Write `scores/<model>.json`, `.npz` and `.unlabelled.csv` under `processed`; return the first one's content."""
    folders = [processed / "models" / made.name / str(seed) for seed in settings.seeds]
    scaler = checkpoint.scaler_of(checkpoint.read_card(choices(folders[0], made.protocol)[0].folder))
    corpus = read_corpus(processed, made.inputs, scaler)
    labels = corpus.splits["test"].labels
    if not np.isfinite(labels).any():
        raise MalformedInput(f"{processed.name}: expected labelled clips in the split test, got none")
    asked: list[Asked] = []
    for pattern in settings.patterns:
        ids = [clip.id for split in ("valid", "test") for clip in corpus.splits[split].clips]
        variants = Variants(processed / "variants" / f"{pattern}.h5", ids)
        for folder in folders:
            parts = [list(_runs(corpus, choice, variants, settings)) for choice in choices(folder, made.protocol)]
            asked += [_joined(same) for same in zip(*parts)]
    scores = _table(made, processed, settings, corpus, asked)
    answer(corpus, folders, processed / "scores" / f"{made.name}.unlabelled.csv", settings.device)
    arrays = {"ids": np.array([clip.id for clip in corpus.splits["test"].clips]), "labels": labels}
    for one in asked:
        key = f"{one.run.pattern}/{one.run.level}/{one.run.mask_seed}/{one.run.train_seed}"
        arrays |= {f"{key}/{name}": values for name, values in one.outputs.items()}
    _write(processed / "scores", scores, arrays)
    return scores


def _runs(corpus: Corpus, choice: Choice, variants: Variants, settings: Settings) -> Iterator[Asked]:
    """One checkpoint at every level and mask seed: the scores that it was chosen for."""
    network, card = checkpoint.load(choice.folder)
    checkpoint.check_features(card, corpus.origins)
    judged, spec, place = Judged.by(corpus.task), card.spec, choose_device(settings.device)
    network = network.to(place)
    test, mended = corpus.splits["test"], _mended(corpus, network, spec, variants, settings.calibrate)
    labels = test.labels
    for level, mask_seed, outputs in predict_variants(network, test, spec, variants, place, KEPT):
        told = Answers(outputs["prediction"], outputs["kept"], labels, outputs.get("variance"))
        scores = judged.scores(told.prediction, labels)
        bounds = judged.intervals(told.prediction, labels, settings.bootstrap) if settings.bootstrap else {}
        run = Run(variants.pattern, level, mask_seed, card.seed, choice.part(scores))
        kept = {n: outputs[n] for n in KEPT if n in outputs and choice.leads}
        yield Asked(run, kept, choice.part(bounds), *mended(judged, told))


def _mended(
    corpus: Corpus, network: nn.Module, spec: InputSpec, variants: Variants, how: How
) -> Callable[[Judged, Answers], tuple[dict[str, object], dict[str, dict[str, float]]]]:
    """What validation, under the same variants, makes of answers: corrected scores, and the coverage of intervals."""
    valid = corpus.splits["valid"]
    labels = valid.labels
    if how == "none" or not np.isfinite(labels).any():
        return lambda judged, told: ({}, {})
    asked = predict_variants(network, valid, spec, variants, next(network.parameters()).device, KEPT)
    known = Answers.joined([Answers(o["prediction"], o["kept"], labels, o.get("variance")) for _, _, o in asked])
    correction, scaled = fit(how, known), None if known.variance is None else quantiles(known)

    def mend(judged: Judged, told: Answers) -> tuple[dict[str, object], dict[str, dict[str, float]]]:
        scores = judged.scores(correction(told.prediction, told.kept), told.labels)
        return scores, coverage(told, scaled) if scaled else {}

    return mend


def _corrected(asked: Sequence[Asked], how: str) -> Corrected:
    """The table of corrected answers, beside that of the answers as they are; empty where none were corrected."""
    runs = [replace(one.run, scores=one.corrected) for one in asked if one.corrected]
    patterns = summary(runs) if runs else {}
    return Corrected(how, patterns, {name: over_rates(levels) for name, levels in patterns.items()})


def _coverage(asked: Sequence[Asked]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """{pattern: {level: {nominal: {"stated", "calibrated", "width"}}}}, means over runs; empty without variances."""
    result: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for (pattern, level), same in _levels([one for one in asked if one.coverage]).items():
        result.setdefault(pattern, {})[level] = {
            nominal: {name: float(np.mean([one.coverage[nominal][name] for one in same])) for name in told}
            for nominal, told in same[0].coverage.items()
        }
    return result


def _joined(same: Sequence[Asked]) -> Asked:
    """One run of what several checkpoints say under the same loss, each for its own metrics."""
    first = same[0].run
    scores = {name: value for one in same for name, value in one.run.scores.items()}
    run = Run(first.pattern, first.level, first.mask_seed, first.train_seed, scores)
    outputs = {name: values for one in same for name, values in one.outputs.items()}
    bounds = {name: bound for one in same for name, bound in one.bounds.items()}
    return replace(same[0], run=run, outputs=outputs, bounds=bounds)


def _table(made: Plan, processed: Path, settings: Settings, corpus: Corpus, asked: Sequence[Asked]) -> Scores:
    runs = [one.run for one in asked]
    patterns = summary(runs)
    words = _embeddings(processed, [*made.inputs.features, *settings.words])
    return Scores(
        dataset=processed.name,
        model=made.name,
        protocol=made.protocol,
        task=corpus.task.task,
        scale=corpus.task.scale,
        notes=leaks(corpus.origins),
        clips={split: len(members) for split, members in corpus.splits.items() if split in SPLITS},
        seeds={"train": settings.seeds, "mask": sorted({r.mask_seed for r in runs})},
        baselines=baselines(corpus, words),
        patterns=patterns,
        over_rates={name: over_rates(levels) for name, levels in patterns.items()},
        indices={name: indices(levels) for name, levels in patterns.items()},
        learnt_under=_learnt_under(made.training),
        runs=[asdict(run) for run in runs],
        intervals=_intervals(asked),
        calibration=_calibration(corpus, asked),
        calibrated=_corrected(asked, settings.calibrate),
        coverage=_coverage(asked),
    )


def _learnt_under(training: Training) -> dict[str, object]:
    """The loss of training clips; its rate is None where there is none or the pattern draws its own."""
    return {"pattern": training.pattern, "level": None if training.pattern in NO_RATE else training.level}


def baselines(corpus: Corpus, words: FeatureFile | None) -> dict[str, dict[str, object]]:
    """Scores on the complete test split of saying always the same, and of ridge on the mean embedding of the words."""
    labels = {split: corpus.splits[split].labels for split in ("train", "test")}
    result = {"majority": Judged.by(corpus.task).majority(labels["train"], labels["test"])}
    if words is None:
        return result
    rows = {split: mean_embeddings(words.each([c.id for c in corpus.splits[split].clips])) for split in labels}
    told = linear_baseline(rows["train"], labels["train"], rows["test"], Judged.by(corpus.task))
    return result | {"text_linear": Judged.by(corpus.task).scores(told, labels["test"])}


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


def _intervals(asked: Sequence[Asked]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """{pattern: {level: {metric: [low, high]}}}: bootstrap over test clips, its bounds averaged over the runs."""
    result: dict[str, dict[str, dict[str, list[float]]]] = {}
    for (pattern, level), same in _levels(asked).items():
        names = {name: [bound for one in same if (bound := one.bounds[name])] for name in same[0].bounds}
        told = {name: np.mean(bounds, 0).tolist() for name, bounds in names.items() if bounds}
        if told:
            result.setdefault(pattern, {})[level] = told
    return result


def _calibration(corpus: Corpus, asked: Sequence[Asked]) -> dict[str, dict[str, object]]:
    """{pattern: {level: curves}} over the runs of a level; empty for scores, which state no confidence."""
    result: dict[str, dict[str, object]] = {}
    for (pattern, level), same in _levels(asked).items():
        curves = Judged.by(corpus.task).calibration([one.outputs for one in same], corpus.splits["test"].labels)
        if curves:
            result.setdefault(pattern, {})[level] = curves
    return result


def _levels(asked: Sequence[Asked]) -> dict[tuple[str, str], list[Asked]]:
    """Runs by pattern and level, in order."""
    groups: dict[tuple[str, str], list[Asked]] = {}
    for one in asked:
        groups.setdefault((one.run.pattern, str(one.run.level)), []).append(one)
    return groups


def _write(folder: Path, scores: Scores, arrays: dict[str, Any]) -> None:
    with replacing(folder / f"{scores.model}.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    scores.write(folder / f"{scores.model}.json")
