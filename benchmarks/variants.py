"""Each named variant of each model, trained on one dataset's features. Out: a table of test scores beside the majority.

    python benchmarks/variants.py [processed/demo] [--groups misa dmd …] [--seeds 1] [--only TEXT]

The folder is what `dvc repro` leaves of a dataset; `aligned_*` features are needed for DMD's aligned rows. The text
encoder is frozen. Of the face only pose, gaze and action units are read: MISA's recurrence over all 709 columns takes
20 times as long. Word vectors of GloVe's format are made of the embedded model's word embeddings. The weights best on
validation are judged on the complete test split; those of models that learn under loss also with 0, 30, 60 and 90 % of
all frames lost.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from shared_states import share_states

from lacuna.data.batches import InputSpec
from lacuna.data.samples import Sample, Samples
from lacuna.data.scaler import Scaler
from lacuna.data.task import Inputs
from lacuna.evaluate import metrics
from lacuna.evaluate.judged import Judged
from lacuna.extractors import glove
from lacuna.mask.mask import mask
from lacuna.params import checked, plugin
from lacuna.patterns import frames
from lacuna.storage import pretrained
from lacuna.train.run import Corpus, read_corpus
from lacuna.train.trainer import Data, Settings, fit, predict

FEATURES = ("tokens", "librosa", "face")
RATES = (0.0, 0.3, 0.6, 0.9)
UNDER_LOSS = ("tfn", "lmf", "mult", "self_mm", "emt_dlfr", "tfr_net", "mmim")  # those trained complete are asked too


@dataclass(frozen=True)
class Row:
    """A model with other settings, features or task; `published` starts from its PUBLISHED settings."""

    label: str
    model: str
    settings: dict[str, object] = field(default_factory=dict)
    features: tuple[str, ...] = FEATURES
    task: str = "regression"
    published: bool = False
    word_vectors: bool = False
    training: dict[str, object] = field(default_factory=dict)


def without(label: str, model: str, features: tuple[str, ...] = FEATURES, **more: object) -> list[Row]:
    """The model minus each modality; `features` are of text, audio and vision."""
    return [
        Row(f"{label}, without {m}", model, features=tuple(f for f in features if f != left), **more)
        for m, left in zip(("text", "audio", "vision"), features)
    ]


def misa(label: str, settings: dict[str, object], **more: object) -> Row:
    return Row(f"MISA, {label}", "misa", settings, training=COMPLETE | {"learning_rate": 5e-4}, **more)


COMPLETE = {"epochs": 20, "pattern": "none"}  # variants are compared as their papers do: nothing is lost
FAST = COMPLETE | {"accumulate": 1, "learning_rate": 5e-4}  # 10 batches a step would be less than one an epoch
ALIGNED = ("tokens", "aligned_librosa", "aligned_face")
EVIDENCE = {"epochs": 60, "batch_size": 32, "learning_rate": 1e-3, "pattern": "none"}
SWITCHES = {"padding": "read", "hetero_term": "push", "orthogonality": "batch", "representation": "rectified"}
SWITCHES |= {"equal_widths": False, "homo_repr_weight": 10.0}
SMALL = {"epochs": 25, "batch_size": 16, "accumulate": 1, "early_stop": 0}  # few clips, so a step each batch
NORM = {"projection": "relu_norm", "activation": "sigmoid"}
MMSA = {"epochs": 60, "early_stop": 15, "batch_size": 16, "accumulate": 1}  # many more steps than 96 clips else give
SHARED = {"reading padding": {"padding": "read"}, "without dropout of text": {"dropout": {"audio": 0.3, "vision": 0.3}}}


def switched(label: str, model: str, switches: dict[str, dict[str, object]], **training: object) -> list[Row]:
    """The model mended, with each erratum's switch, as published, trained without loss, and without each modality."""
    training = MMSA | training
    rows = [Row(label, model, training=training)]
    rows += [Row(f"{label}, {name}", model, change, training=training) for name, change in switches.items()]
    rows.append(Row(f"{label}, published", model, published=True, training=training | {"optimizer": "adam"}))
    rows.append(Row(f"{label}, trained complete", model, training=training | {"pattern": "none"}))
    rows += without(label, model, training=training)
    return [*rows, Row(f"{label}, classification", model, task="polarity", training=training)]


def learnt_under(pattern: str) -> list[Row]:
    """The models whose papers lose nothing, trained under a pattern (`mixed` is what they have of ours)."""
    training = {"misa": FAST, "dmd": FAST, "rcml": EVIDENCE, "rcml_misa": EVIDENCE}
    return [
        Row(
            f"{name}, learnt under {pattern}",
            name,
            task="polarity" if name.startswith("rcml") else "regression",
            training=how | {"pattern": pattern},
        )
        for name, how in training.items()
    ]


GROUPS: dict[str, list[Row]] = {
    "patterns": [*learnt_under("none"), *learnt_under("mixed")],
    "tfn": switched("TFN", "tfn", SHARED),
    "lmf": switched("LMF", "lmf", SHARED | {"rank weights as drawn": {"rank_weights": "drawn"}}),
    "mult": switched(
        "MulT",
        "mult",
        {"without positions": {"positions": "none"}, "reading padding": {"readout": "last"}},
        learning_rate=1e-3,
    ),
    "self_mm": [
        *switched("Self-MM", "self_mm", {"[CLS]": {"text_pool": "cls"}, "labels: published": {"labels": "published"}}),
        Row("Self-MM, heads decay", "self_mm", {"unimodal": "always"}, training=MMSA | {"optimizer": "adam"}),
    ],
    "misa": [
        misa("full", {}),
        *without("MISA", "misa", training=COMPLETE | {"learning_rate": 5e-4}),
        *(misa(f"without {loss}", {f"{loss}_weight": 0.0}) for loss in ("diff", "sim", "recon")),
        misa("adversarial similarity", {"similarity": "adversarial"}),
        misa("classification", {}, task="polarity"),
        misa("GRU", {"cell": "gru"}),
        misa("GloVe text", {"recurrent": ("text", "audio", "vision")}, word_vectors=True),
        *(misa(name, {"variant": name}) for name in ("base", "inv", "sfusion", "ifusion")),
        misa("published", {}, published=True),
    ],
    "dmd": [
        Row("DMD, aligned", "dmd", features=ALIGNED, training=FAST),
        Row("DMD, aligned, published", "dmd", features=ALIGNED, published=True, training=FAST),
        Row("DMD, unaligned", "dmd", training=FAST),
        Row("DMD, unaligned, published", "dmd", published=True, training=FAST),
        Row("DMD, aligned, classification", "dmd", features=ALIGNED, task="polarity", training=FAST),
        *(Row(f"DMD, aligned, {k}: {v}", "dmd", {k: v}, ALIGNED, training=FAST) for k, v in SWITCHES.items()),
        Row(
            "DMD, aligned, kernels of 1",
            "dmd",
            {"kernels": {"text": 1, "audio": 1, "vision": 1}},
            ALIGNED,
            training=FAST,
        ),
        *without("DMD, aligned", "dmd", ALIGNED, training=FAST),
    ],
    "lnln": [
        Row("LNLN", "lnln", training={"epochs": 25, "batch_size": 16}),
        *(
            Row(f"LNLN, {k}: {v}", "lnln", {k: v}, training={"epochs": 25, "batch_size": 16})
            for k, v in (
                ("completeness", "counted"),
                ("judged", "proxy"),
                ("reversal", "proxy"),
                ("hyper_start", "ones"),
                ("padding", "read"),
            )
        ),
        Row("LNLN, published", "lnln", published=True, training={"epochs": 25, "batch_size": 16}),
    ],
    "lnln-other": [
        *without("LNLN", "lnln", training={"epochs": 25, "batch_size": 16}),
        Row("LNLN, classification", "lnln", task="polarity", training={"epochs": 25, "batch_size": 16}),
    ],
    "almt": [
        Row("ALMT", "almt", training=SMALL),
        *(
            Row(f"ALMT, {k}: {v}", "almt", {k: v}, training=SMALL)
            for k, v in (("hyper_start", "ones"), ("padding", "read"), ("residual", "plain"), ("readout", "mean"))
        ),
        Row("ALMT, published", "almt", published=True, training=SMALL),
        *without("ALMT", "almt", training=SMALL),
    ],
    "emt_dlfr": switched(
        "EMT-DLFR", "emt_dlfr", {"[CLS]": {"text_pool": "cls"}, "chosen by the total": {"chosen_by": "total"}}, **SMALL
    ),
    "tfr_net": switched(
        "TFR-Net",
        "tfr_net",
        {
            "attention across the batch": {"final": "batch"},
            "a target that learns": {"target": "learnt"},
            "moments divided": {"discrepancy": "divided"},
            "without moments": {"discrepancy_weight": 0.0},
            "moments at weight 5": {"discrepancy_weight": 5.0},
            "reading padding": {"padding": "read"},
            "from the second epoch": {"first_epoch": 2},
        },
        **SMALL,
    ),
    "mmim": switched(
        "MMIM",
        "mmim",
        {
            "[CLS]": {"text_pool": "cls"},
            "alternating": {"stages": "alternating"},
            "published likelihood": {"likelihood": "published"},
            "untrained entropy": {"entropy": "untrained"},
            "dropout of states": {"state_dropout": 0.1},
        },
        **SMALL,
    ),
    "evidential": [
        *(
            Row(f"RCML, {f}", "rcml", {"form": f}, task="polarity", training=EVIDENCE)
            for f in ("digamma", "log", "mse")
        ),
        Row("RCML, unimodal labels", "rcml", {"unimodal_labels": True}, task="polarity", training=EVIDENCE),
        Row("RCML, published", "rcml", published=True, task="polarity", training=EVIDENCE),
        Row("RCML-MISA", "rcml_misa", task="polarity", training=EVIDENCE),
        Row("RCML-MISA, unimodal labels", "rcml_misa", {"unimodal_labels": True}, task="polarity", training=EVIDENCE),
        Row("RCML-MISA, a shared opinion each", "rcml_misa", {"shared": "each"}, task="polarity", training=EVIDENCE),
        Row("RCML-MISA, published", "rcml_misa", published=True, task="polarity", training=EVIDENCE),
        *without("RCML-MISA", "rcml_misa", task="polarity", training=EVIDENCE),
    ],
}


@functools.cache
def corpus(folder: Path, features: tuple[str, ...], task: str) -> Corpus:
    read = read_corpus(folder, Inputs(features, task=task))
    return replace(read, splits={name: Samples.of([narrow(s) for s in part]) for name, part in read.splits.items()})


def narrow(sample: Sample) -> Sample:
    """Without the face's landmarks and shape."""
    if "vision" not in sample.features:
        return sample
    face = sample.features["vision"]
    kept = [i for i, name in enumerate(face.columns) if name.startswith(("pose", "gaze", "AU"))]
    face = replace(face, values=face.values[:, kept], columns=tuple(face.columns[i] for i in kept))
    return replace(sample, features=sample.features | {"vision": face})


def with_word_vectors(read: Corpus) -> Corpus:
    """Its text as vectors of whole words, from a file as GloVe's are."""
    texts = [clip.text.lower() for part in read.splits.values() for clip in part.clips]
    words = sorted({word for text in texts for word in glove.WORD.findall(text)})
    tokenizer = pretrained.tokenizer(pretrained.EMBEDDED)
    table = pretrained.encoder(pretrained.EMBEDDED).get_input_embeddings().weight.detach()
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        for word in words:
            vector = table[tokenizer(word, add_special_tokens=False)["input_ids"]].mean(0)
            file.write(word + " " + " ".join(f"{v:.5f}" for v in vector.tolist()) + "\n")
        file.flush()
        extract = glove.Extractor(glove.Settings(file=file.name))
        vectors = {name: [extract(clip) for clip in part.clips] for name, part in read.splits.items()}
    scale = Scaler.fit({"text": vectors["train"]})
    splits = {
        name: [replace(s, features=s.features | {"text": scale("text", x)}) for s, x in zip(part, vectors[name])]
        for name, part in read.splits.items()
    }
    return replace(read, splits={name: Samples.of(part) for name, part in splits.items()})


def run(row: Row, folder: Path, seed: int) -> tuple[list[float], int]:
    """Test MAE, or accuracy, complete and (LNLN) at each rate of loss; and the best epoch."""
    read = corpus(folder, row.features, row.task)
    if row.word_vectors:
        read = with_word_vectors(read)
    module, splits = plugin("models", row.model), read.splits
    spec = InputSpec.of(splits["train"], {"text": 50, "audio": 500, "vision": 500}, read.task.classes)
    changes = {"encoder": pretrained.EMBEDDED, "finetune": False} | row.settings
    settings = replace(module.PUBLISHED, **changes) if row.published else module.Settings(**changes)
    training = checked(Settings, module.TRAINING | row.training, row.label)
    torch.manual_seed(seed)
    model = module.Model(settings, spec)
    pattern = None if training.pattern == "none" else plugin("patterns", training.pattern)
    history = fit(model, Data(splits["train"], splits["valid"], spec, pattern), training, seed)
    rates = RATES if pattern or row.model in UNDER_LOSS or "learnt under" in row.label else RATES[:1]
    return [score(model, splits["test"], rate, read, spec) for rate in rates], history.best


def score(model: torch.nn.Module, test: list[Sample], rate: float, read: Corpus, spec: InputSpec) -> float:
    lossy = [mask(s, frames, rate, 1) for s in test] if rate else test
    told = Judged.by(read.task).scores(predict(model, lossy, spec)["prediction"], labels(test))
    return float(told["accuracy" if read.task.classes else "mae"])


def labels(samples: list[Sample]) -> np.ndarray:
    return np.array([s.clip.label for s in samples])


def reads_padding(row: Row) -> bool:
    """Whether the states of [PAD] reach the model."""
    published = plugin("models", row.model).PUBLISHED if row.published else None
    told = [row.settings.get(name, getattr(published, name, "")) for name in ("padding", "readout")]
    return bool({"read", "last"} & set(told))


def majority(row: Row, folder: Path) -> float:
    read = corpus(folder, row.features, row.task)
    told = Judged.by(read.task).majority(labels(read.splits["train"]), labels(read.splits["test"]))
    return float(told["accuracy" if read.task.classes else "mae"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("processed/demo"))
    parser.add_argument("--groups", nargs="*", default=list(GROUPS), choices=list(GROUPS))
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=0, help="instead of each row's own")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shared = share_states()
    print("| row | scored by | majority | test | mean over rates 0 … .9 | best epoch | s |")
    print("|---" * 7 + "|", flush=True)
    for row in (r for g in arguments.groups for r in GROUPS[g] if arguments.only in r.label):
        if arguments.epochs:
            row = replace(row, training=row.training | {"epochs": arguments.epochs})
        start, shared.padding = time.process_time(), reads_padding(row)
        told = [run(row, arguments.folder, seed) for seed in range(1111, 1111 + arguments.seeds)]
        seconds = (time.process_time() - start) / arguments.seeds
        cells = [row.label, "MAE" if row.task == "regression" else "accuracy", f"{majority(row, arguments.folder):.3f}"]
        cells += [spread([scores[0] for scores, _ in told])]
        cells += [spread([float(np.mean(scores)) for scores, _ in told]) if len(told[0][0]) > 1 else ""]
        cells += [", ".join(str(best) for _, best in told), f"{seconds:.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def spread(values: list[float]) -> str:
    mean, std = metrics.mean_std(values)
    return f"{mean:.3f}" + (f" ± {std:.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
