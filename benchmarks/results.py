"""All models on one footing: trained, chosen on validation, judged under the same losses. Out: tables of results.md.

    python benchmarks/results.py processed/demo processed/mosi_utterance [--models …] [--seeds 1111 1112 1113] [--table]

A folder is what the stages prepare to mask leave of a dataset. Each run (dataset, model, seed) is written to
.cache/benchmarks/results/ when it is done and is not done again, so the command goes on where it was stopped; `--table`
only prints. Every model reads tokens with the embedded encoder and learns under `mixed`; of a face pose, gaze and
action units are read. A model called `<name>:frozen` tunes no encoder, `<name>:tuned` does; `--clips 300` learns from
so many. What a frozen encoder says of a text is kept for all runs of a process.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shared_states import share_states

from lacuna.data.batches import InputSpec
from lacuna.data.samples import Sample, Samples
from lacuna.data.task import Inputs
from lacuna.evaluate import metrics
from lacuna.evaluate.calibrate import Answers
from lacuna.evaluate.calibrate import fit as fit_correction
from lacuna.evaluate.names import is_rate
from lacuna.evaluate.protocol import Selection
from lacuna.evaluate.under_loss import predict_variants
from lacuna.mask.variants import Variants
from lacuna.params import checked, plugin, plugin_names
from lacuna.train.checkpoint import Card
from lacuna.train.run import Corpus, Fitting, read_corpus
from lacuna.train.trainer import Data, Settings, fit
from lacuna.types import MalformedInput

FEATURES = {"mosi_utterance": ("tokens", "librosa")}  # its vision tells labels of train and validation; no video
COLUMNS = ("pose", "gaze", "AU")  # of a face
LENGTHS = {"text": 50, "audio": 500, "vision": 500}
SKIPPED = ("text_only", "image_only", "rcml", "rcml_misa")  # of one modality, or of classes alone
TRAINING = {  # what a few clips need: as many steps as let the validation loss settle
    ("demo", "lnln"): {"epochs": 30, "batch_size": 16, "learning_rate": 5e-4, "average": 0.95},
    ("demo", "almt"): {"epochs": 30, "batch_size": 16, "learning_rate": 5e-4, "average": 0.95},
    ("demo", "misa"): {"epochs": 20, "learning_rate": 5e-4},
    ("demo", "dmd"): {"epochs": 20, "learning_rate": 5e-4},
    ("mosi_utterance", "lnln"): {"learning_rate": 2e-4, "early_stop": 0},
    ("mosi_utterance", "quorum"): {"learning_rate": 2e-3},
    ("mosi_utterance", "tfn"): {"epochs": 16, "early_stop": 4},  # slower to learn
    ("mosi_utterance", "lmf"): {"epochs": 16, "early_stop": 4},
}
COMMON = {  # not for models called frozen, which learn as long as their own TRAINING says
    "demo": {"accumulate": 1},
    "mosi_utterance": {"batch_size": 32, "accumulate": 1, "epochs": 6, "early_stop": 2},  # with a tuned encoder
}
ONE_DRAW = ("mosi_utterance",)  # a tuned encoder reads every variant anew: one mask seed for each seed of training
OUT = Path(".cache/benchmarks/results")
CLIPS = "_clips"  # the folder of runs that learn from fewer
WHOLE_FACE = "whole_face"  # the folder of runs that read landmarks and shape too


@cache
def corpus(folder: Path) -> Corpus:
    """The dataset as all models read it."""
    features = FEATURES.get(folder.name, ("tokens", "librosa", "face"))
    read = read_corpus(folder, Inputs(features))
    splits = {name: [narrow(s) for s in part] for name, part in read.splits.items()}
    clips = next((int(part.removesuffix(CLIPS)) for part in OUT.parts if part.endswith(CLIPS)), len(splits["train"]))
    splits["train"] = splits["train"][:: len(splits["train"]) // clips][:clips]  # spread evenly
    return replace(read, splits={name: Samples.of(part) for name, part in splits.items()})


def narrow(sample: Sample) -> Sample:
    """Without a face's landmarks and shape."""
    face = sample.features.get("vision")
    if face is None or WHOLE_FACE in OUT.parts:
        return sample
    kept = [i for i, name in enumerate(face.columns) if name.startswith(COLUMNS)]
    face = replace(face, values=face.values[:, kept], columns=tuple(face.columns[i] for i in kept))
    return replace(sample, features=sample.features | {"vision": face})


def run(folder: Path, name: str, seed: int) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """One model, trained and asked: its record, and predictions of test by pattern, level and mask seed."""
    read, kind = corpus(folder), name.partition(":")[0]
    module = plugin("models", kind)
    changes = {"finetune": name.endswith(":tuned")} if ":" in name else {}
    spec = InputSpec.of(read.splits["train"], LENGTHS)
    settings = checked(
        Settings,
        module.TRAINING
        | {"pattern": "mixed"}
        | ({} if name.endswith(":frozen") else COMMON.get(folder.name, {}) | TRAINING.get((folder.name, kind), {})),
        name,
    )
    torch.manual_seed(seed)
    model, start = module.Model(module.Settings(**changes), spec), time.process_time()
    history = fit(model, _data(read, model, spec, settings, seed), settings, seed)
    seconds = (time.process_time() - start) / len(history.rows)
    weights = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("text_encoder."))
    tuned = bool(model.text_encoder is not None and model.text_encoder.finetune)
    record = {"weights": weights, "seconds": seconds, "epochs": len(history.rows), "best": history.best, "tuned": tuned}
    arrays = {}
    for pattern in ("frames", "modality"):
        variants = Variants(folder / "variants" / f"{pattern}.h5")
        if folder.name in ONE_DRAW:
            variants = variants.of_seed(variants.seeds[seed % len(variants.seeds)])
        correction = _correction(read, model, spec, variants)
        for level, mask_seed, told in predict_variants(model, read.splits["test"], spec, variants, torch.device("cpu")):
            key = f"{pattern}/{level}/{mask_seed}"
            arrays[key] = told["prediction"]
            arrays[f"{key}/corrected"] = correction(told["prediction"], told["kept"])
    return record, arrays


def _data(read: Corpus, model: torch.nn.Module, spec: InputSpec, settings: Settings, seed: int) -> Data:
    pattern = None if settings.pattern == "none" else plugin("patterns", settings.pattern)
    data = Data(read.splits["train"], read.splits["valid"], spec, pattern)
    if settings.select == "loss":
        return data
    blank: dict[str, Any] = {key: {} for key in Card.__dataclass_fields__}
    loss = data.loss(settings, seed)
    card = Card(**blank | {"training": asdict(settings), "spec": spec, "seed": seed})
    return replace(data, criterion=Selection(Fitting(read, model, card, loss, OUT)).measure)


def _correction(read: Corpus, model: torch.nn.Module, spec: InputSpec, variants: Variants):  # noqa: ANN202 (a Correction)
    valid = read.splits["valid"]
    labels = valid.labels
    asked = predict_variants(model, valid, spec, variants, torch.device("cpu"))
    return fit_correction("both", Answers.joined([Answers(o["prediction"], o["kept"], labels) for _, _, o in asked]))


def place(folder: Path, name: str, seed: int) -> Path:
    return OUT / folder.name / name.replace(":", "-") / f"{seed}.npz"


def train_all(folders: list[Path], models: list[str], seeds: list[int]) -> None:
    share_states()
    for folder in folders:
        for seed, name in ((seed, name) for seed in seeds for name in models):
            path = place(folder, name, seed)
            if path.is_file():
                continue
            try:
                record, arrays = run(folder, name, seed)
            except MalformedInput as error:
                print(f"{folder.name}: {name} is left out: {error}", flush=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, record=json.dumps(record), **arrays)
            print(f"{path}: {record}", flush=True)


def errors(folder: Path, name: str) -> tuple[list[dict[str, object]], dict[str, np.ndarray]]:
    """The records of a model's seeds, and (seeds, clips) absolute errors by what was lost."""
    labels = corpus(folder).splits["test"].labels
    records, told = [], {}
    for path in sorted(place(folder, name, 0).parent.glob("*.npz")):
        with np.load(path) as file:
            records.append(json.loads(str(file["record"])))
            groups: dict[str, list[np.ndarray]] = {}
            for key in file.files:
                for group in _groups(key):
                    groups.setdefault(group, []).append(np.abs(file[key] - labels))
        for group, parts in groups.items():
            told.setdefault(group, []).append(np.mean(parts, axis=0))
    return records, {group: np.stack(parts) for group, parts in told.items()}


def _groups(key: str) -> list[str]:
    """The columns of the table that a prediction belongs to."""
    pattern, level, *rest = key.split("/") if "/" in key else ("", "")
    if not pattern or not is_rate(level):
        return []
    if rest[-1] == "corrected":
        return [f"{pattern}, corrected", f"{pattern} {level}, corrected"]
    return [pattern, f"{pattern} {level}"]


def table(folder: Path, models: list[str]) -> list[str]:
    """Lines of one dataset's table, the best mean under frames first."""
    found = {name: errors(folder, name) for name in models}
    found = {name: pair for name, pair in found.items() if pair[0]}
    columns = ["frames 0.0", "frames 0.5", "frames 0.9", "frames", "frames, corrected", "modality"]
    head = ["model", "seeds", "weights", "CPU s an epoch", "best epoch", "0 %", "50 %", "90 %", "mean of 0 … 90 %",
            "corrected", "whole modalities", "against LNLN", "against the ridge"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in sorted(found, key=lambda n: found[n][1]["frames"].mean()):
        records, told = found[name]
        cells = [name + (" (encoder tuned)" if records[0]["tuned"] else ""), str(len(records))]
        cells += [f"{records[0]['weights']:,}", f"{np.mean([r['seconds'] for r in records]):.1f}"]
        cells += [", ".join(str(r["best"]) for r in records)]
        cells += [_spread(told[c].mean(1)) if c in told else "–" for c in columns]
        cells += [_against(told, found.get(rival, (None, None))[1], name == rival) for rival in ("lnln", "ridge")]
        lines.append("| " + " | ".join(cells) + " |")
    train, test = (corpus(folder).splits[split].labels for split in ("train", "test"))
    constant = np.abs(test - np.median(train)).mean()
    return [*lines, f"| constant (median of train) | | 1 | | | {f'{constant:.3f} | ' * 6}| |"]


def calibration(folder: Path, models: list[str]) -> list[str]:
    """Lines of a table: errors at some rates as answered, and moved by the share lost as much as validation says."""
    rates = ("0.0", "0.5", "0.9")
    head = [f"{float(r):.0%}, {how}" for r in rates for how in ("as answered", "corrected")]
    lines = ["| " + " | ".join(["model", "seeds", *head, "gain at 90 %"]) + " |", "|---" * (len(head) + 3) + "|"]
    for name in models:
        records, told = errors(folder, name)
        if not records:
            continue
        pairs = [(told[f"frames {r}"].mean(1), told[f"frames {r}, corrected"].mean(1)) for r in rates]
        cells = [_spread(values) for pair in pairs for values in pair]
        gap = metrics.paired_bootstrap(told["frames 0.9, corrected"], told["frames 0.9"])
        cells.append(f"{gap['difference']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]")
        lines.append("| " + " | ".join([name, str(len(records)), *cells]) + " |")
    return lines


def _spread(values: np.ndarray) -> str:
    mean, std = metrics.mean_std(values.tolist())
    return f"{mean:.3f}" + (f" ± {std:.3f}" if std is not None else "")


def _against(told: dict[str, np.ndarray], rival: dict[str, np.ndarray] | None, same: bool) -> str:
    """The difference of mean errors under frames, its interval and p, over clips and the seeds that both have."""
    if rival is None or same:
        return "–"
    count = min(len(told["frames"]), len(rival["frames"]))
    gap = metrics.paired_bootstrap(told["frames"][:count], rival["frames"][:count])
    return f"{gap['difference']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}], p {gap['p']:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--models", nargs="+", default=[n for n in plugin_names("models") if n not in SKIPPED])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1111, 1112, 1113])
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--whole-face", action="store_true", help="all 709 columns, as the pipeline's demo has it")
    parser.add_argument("--clips", type=int, help="learn from so many clips")
    options = parser.parse_args()
    global OUT
    if options.whole_face:
        OUT = OUT / WHOLE_FACE
    if options.clips:
        OUT = OUT / f"{options.clips}{CLIPS}"
    torch.set_num_threads(1)
    if not options.table:
        train_all(options.folders, options.models, options.seeds)
    for folder in options.folders:
        print(f"\n### {folder.name}\n", *table(folder, options.models), sep="\n")
        print("\nAnswers moved by the share that was lost:\n", *calibration(folder, options.models), sep="\n")


if __name__ == "__main__":
    main()
