"""A tiny project for tests of the report: raw/tiny and processed/tiny, made by the library's own writers.

In: an empty folder. Out: `Params`, and the tree that stages prepare to evaluate would have left: twenty clips of random
features that carry their label, one real video, one reject, and small models trained for two epochs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from media_files import Video, write_video
from random_batches import TINY_BERT

from lacuna.data.samples import TOKEN_COLUMNS, read_samples, write_clips
from lacuna.evaluate.run import Settings, judge
from lacuna.extractors._openface.columns import names
from lacuna.mask.variants import Grid, counted, levels_of, write_variants
from lacuna.params import Params, load_params, plugin
from lacuna.prepare.rejects import write_rejects
from lacuna.storage.features import Origin, write_features
from lacuna.train.plan import Plan, plan
from lacuna.train.run import train_model
from lacuna.types import Clip, FeatureSequence, Reject

DATASET = "tiny"
CLIPS, FRAMES, WORDS = 28, 12, 6
VISION = names(("gaze", "pose", "landmarks_2d", "aus"))
AUDIO = ("zero_crossing_rate_0", *(f"mfcc_{i}" for i in range(5)))
PARAMS = {
    "datasets": [DATASET],
    "models": ["lnln", "misa", "misa_plain", "rcml_misa"],
    "seeds": [1, 2],
    "extract": {"extractors": ["tokens", "librosa", "face"]},
    "export": {"features": []},
    "mask": {"rates": [0.0, 0.5, 0.9], "seeds": [1, 2]},
    "train": {
        "features": ["tokens", "librosa", "face"],
        "device": "cpu",
        "training": {"epochs": 2, "batch_size": 8},
        "lnln": {"model": {"width": 16, "heads": 2, "hidden": 16, "encoder": TINY_BERT}},
        "misa": {"model": {"size": 16, "encoder": TINY_BERT}},
        "misa_plain": {"like": "misa", "model": {"sim_weight": 0.0, "diff_weight": 0.0}},
        "rcml_misa": {"task": "polarity", "model": {"size": 16, "encoder": TINY_BERT}},
    },
    "evaluate": {"bootstrap": 50},
    "figures": {"frames": 3},
    "report": {"title": "A tiny report"},
}


def build(root: Path, changes: dict[str, object] | None = None) -> Params:
    """Write params.yaml, raw/tiny and processed/tiny under `root`."""
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS | (changes or {}), sort_keys=False))
    params, processed = load_params(root / "params.yaml"), root / "processed" / DATASET
    video = write_video(root / "raw" / DATASET / "Raw" / "v" / "0.mp4", Video(frames=FRAMES, size=(96, 96)))
    (root / "raw" / DATASET / "README.txt").write_text("Synthetic: made by a test.\n")
    clips = [_clip(i, video) for i in range(CLIPS)]
    write_clips(processed / "clips.jsonl", clips)
    write_rejects(processed / "rejects.csv", [Reject("v$_$99", "v/99.mp4", "expected a video, found <none>")])
    _features(processed, clips)
    samples, origins = read_samples(processed, params.train.features)
    for pattern in params.mask.patterns:
        levels = levels_of(pattern, params.mask.rates, list(origins), True)
        path = processed / "variants" / f"{pattern}.h5"
        grid = Grid(plugin("patterns", pattern), levels, params.mask.seeds)
        write_variants(path, samples.clips, counted(samples), grid)
    for model in params.models:
        made = plan_of(params, model)
        for seed in params.seeds:
            train_model(made, processed, seed, processed / "models" / model / str(seed), device="cpu")
        judge(made, processed, judging(params))
    return params


def plan_of(params: Params, model: str) -> Plan:
    return plan(params.train, model, DATASET, params.prepare.label_range)


def judging(params: Params) -> Settings:
    evaluate = params.evaluate
    return Settings(params.seeds, evaluate.patterns, evaluate.calibrate, evaluate.bootstrap, device="cpu")


def _clip(index: int, video: Path) -> Clip:
    split = "train" if index < 12 else "valid" if index < 18 else "test"
    labels = dict.fromkeys("MTAV", float(index % 7 - 3))
    return Clip(f"v$_${index}", DATASET, split, f"word {index} & <more>", labels, video)


def _features(processed: Path, clips: list[Clip]) -> None:
    made = {
        "tokens": ("text", TOKEN_COLUMNS, _tokens, {"source": "embedded"}, "int64"),
        "librosa": ("audio", AUDIO, _audio, {"recipe": "sims33"}, "float32"),
        "face": ("vision", VISION, _vision, {"backend": "mesh"}, "float32"),
    }
    for extractor, (modality, columns, make, settings, dtype) in made.items():
        origin = Origin(extractor, modality, columns, settings, {"lacuna_extractor": "1"}, dtype)
        path = processed / "features" / f"{extractor}.h5"
        write_features(path, origin, ((c.id, make(i, c)) for i, c in enumerate(clips)))
        lacking = [Reject(clips[3].id, "v/0.mp4", "no face in any frame", extractor)] if modality == "vision" else []
        write_rejects(path.with_suffix(".rejects.csv"), lacking)


def _tokens(index: int, clip: Clip) -> FeatureSequence:
    ids = [101, *(120 + 7 * k + int(clip.label) for k in range(WORDS)), 102]
    values = np.stack([ids, np.ones(len(ids)), np.zeros(len(ids))], 1).astype(np.int64)
    return FeatureSequence(values, np.arange(len(ids), dtype=float), np.ones(len(ids), bool), TOKEN_COLUMNS)


def _audio(index: int, clip: Clip) -> FeatureSequence:
    values = np.random.default_rng(index).normal(clip.label, 1, (FRAMES, len(AUDIO))).astype(np.float32)
    return FeatureSequence(values, np.arange(FRAMES) / 25, np.ones(FRAMES, bool), AUDIO)


def _vision(index: int, clip: Clip) -> FeatureSequence:
    """An ellipse for a face, looking a little aside; every fifth frame shows none."""
    values = 0.1 * np.random.default_rng(index).normal(clip.label, 1, (FRAMES, len(VISION)))
    turns = np.linspace(0, 2 * np.pi, 68)
    for name, column in (("x", 48 + 20 * np.cos(turns)), ("y", 48 + 26 * np.sin(turns))):
        first = VISION.index(f"{name}_0")
        values[:, first : first + 68] = column
    seen = np.arange(FRAMES) % 5 != 4
    if index == 3:
        seen[:] = False
    return FeatureSequence((values * seen[:, None]).astype(np.float32), np.arange(FRAMES) / 25, seen, VISION)
