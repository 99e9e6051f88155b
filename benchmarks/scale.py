"""What each stage costs on a data set of any size. In: a number of clips. Out: peak memory and processor time by stage.

    python benchmarks/scale.py 1000 [--columns 709] [--folder DIR] [--checkout DIR] [--stages mask export …] [--keep]

Features are made without video: clips of 7.3 s with 25 frames/s of a face (709 columns), 43 of sound (33) and 3 words/s
(token ids, and vectors of 16 columns). Each stage is its own script in a process of its own, as DVC runs it: `mask`
(frames, ten rates, three seeds), `export` (one pickle), `train` (one epoch of `concat`), `evaluate` (three rates) and
`figures`. Beside each stands what docs/scaling.md says of as many clips. `--checkout` measures another version.
22,856 clips (CMU-MOSEI) need about 40 GB of disk in `--folder`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from lacuna.data.samples import write_clips
from lacuna.storage.features import Origin, write_features
from lacuna.types import TOKEN_COLUMNS, Clip, FeatureSequence

ROOT = Path(__file__).resolve().parents[1]
DATASET = "scale"
RATES = {"text": 3.0, "audio": 43.07, "vision": 25.0}  # frames a second
STAGES = {
    "mask": ["mask.py", DATASET, "frames"],
    "export": ["export.py", DATASET],
    "models": ["models.py", DATASET, "concat"],
    "train": ["train.py", DATASET, "concat", "1"],
    "evaluate": ["evaluate.py", DATASET, "concat"],
    "figures": ["figures.py", DATASET],
}
PARAMS = {
    "datasets": [DATASET],
    "models": ["concat"],
    "seeds": [1],
    "workers": 1,
    "extract": {"extractors": ["tokens", "glove", "librosa", "face"]},
    "mask": {"patterns": ["frames"], "rates": [i / 10 for i in range(10)], "seeds": [1, 2, 3]},
    "export": {"features": ["glove", "librosa", "face"], "lengths": {"audio": "auto", "vision": "auto"}},
    "train": {
        "features": ["glove", "librosa", "face"],
        "lengths": {"audio": 500, "vision": 500},
        "training": {"epochs": 1, "batch_size": 64, "pattern": "frames"},
    },
    "evaluate": {"patterns": ["frames"], "bootstrap": 0},
}


@dataclass(frozen=True)
class Cost:
    """Peak memory (GiB) and processor time (s) of a stage."""

    memory: float
    seconds: float


def make(folder: Path, count: int, columns: int) -> None:
    """params.yaml, clips and features files of a data set without media."""
    (folder / "raw" / DATASET).mkdir(parents=True)
    (folder / "raw" / DATASET / "README.txt").write_text("Synthetic features.\n")
    rng = np.random.default_rng(count)
    seconds = rng.gamma(13.3, 7.3 / 13.3, count)  # 7.3 s, deviation 2 s
    splits = rng.choice(["train", "valid", "test"], count, p=[0.72, 0.08, 0.2])
    clips = [
        Clip(f"v{i // 7}$_${i}", DATASET, str(split), "words", {"M": float(label)})
        for i, (split, label) in enumerate(zip(splits, rng.uniform(-3, 3, count).round(2)))
    ]
    out = folder / "processed" / DATASET
    write_clips(out / "clips.jsonl", clips)
    (out / "rejects.csv").write_text("id,file,reason,stage\n")
    widths = {"tokens": ("text", 3), "glove": ("text", 16), "librosa": ("audio", 33), "face": ("vision", columns)}
    for name, (modality, width) in widths.items():
        lengths = np.maximum(3, seconds * RATES[modality]).astype(int)
        tokens = name == "tokens"
        names = TOKEN_COLUMNS if tokens else tuple(f"{name}_{i}" for i in range(width))
        origin = Origin(name, modality, names, {}, {}, "int64" if tokens else "float32")
        write_features(out / "features" / f"{name}.h5", origin, sequences(clips, lengths, names))
        (out / "features" / f"{name}.rejects.csv").write_text("id,file,reason,stage\n")
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS), encoding="utf-8")


def sequences(clips: list[Clip], lengths: np.ndarray, names: tuple[str, ...]) -> Iterator[tuple[str, FeatureSequence]]:
    """Stretches of a pool of random rows, some unseen; rounded, so that files compress as features do."""
    rng, tokens = np.random.default_rng(len(names)), names == TOKEN_COLUMNS
    pool = (rng.normal(size=(8192, len(names))) * 8).round().astype(np.float32) / 8
    if tokens:
        pool = np.stack([rng.integers(1000, 9000, 8192), np.ones(8192, int), np.zeros(8192, int)], 1)
    for clip, frames in zip(clips, lengths.tolist()):
        start = int(rng.integers(len(pool) - frames))
        seen = np.ones(frames, bool) if tokens else rng.random(frames) > 0.02
        values = pool[start : start + frames] * seen[:, None]
        yield clip.id, FeatureSequence.unchecked(values.astype(pool.dtype), np.arange(frames) / 25.0, seen, names)


def run(command: list[str], folder: Path, checkout: Path) -> Cost:
    """A stage in a process of its own, one thread."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "LACUNA_CACHE": str(folder / "cache")}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    told = folder / "told.txt"
    with told.open("wb") as output:
        script = [sys.executable, str(checkout / "pipeline" / command[0]), *command[1:]]
        process = subprocess.Popen(script, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}: {told.read_text(errors='replace')[-2000:]}")
    return Cost(usage.ru_maxrss / 2**20, usage.ru_utime + usage.ru_stime)  # told in KiB


def written(count: int) -> dict[str, str]:
    """What docs/scaling.md says of so many clips, by stage: "GiB, s"."""
    rows = re.findall(r"^\| (\w+) \|(.*)\|$", (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8"), re.M)
    heads = re.search(r"^\| stage \|(.*)\|$", (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8"), re.M)
    columns = [c.strip() for c in heads[1].split("|")] if heads else []
    if f"{count:,} clips" not in columns:
        return {}
    place = columns.index(f"{count:,} clips")
    return {name: cells.split("|")[place].strip() for name, cells in rows if cells.count("|") + 1 == len(columns)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=int)
    parser.add_argument("--columns", type=int, default=709)
    parser.add_argument("--folder", type=Path, help="where the data are made; default: a temporary folder")
    parser.add_argument("--checkout", type=Path, default=ROOT)
    parser.add_argument("--stages", nargs="*", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--keep", action="store_true", help="leave the data, and use what an earlier run left")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder)) if not arguments.keep else arguments.folder
    try:
        if not (folder / "params.yaml").is_file():
            start = time.monotonic()
            make(folder, arguments.clips, arguments.columns)
            print(f"{arguments.clips:,} clips made in {time.monotonic() - start:.0f} s", file=sys.stderr)
        told = written(arguments.clips)
        print(f"| stage | {arguments.clips:,} clips | docs/scaling.md |\n|---|---|---|")
        for name in arguments.stages:
            cost = run(STAGES[name], folder, arguments.checkout.resolve())
            print(f"| {name} | {cost.memory:.2f} GiB, {cost.seconds:.0f} s | {told.get(name, '')} |", flush=True)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
