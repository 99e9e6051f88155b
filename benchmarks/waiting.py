"""What it costs that torch's threads wait for each other awake. Out: wall seconds of an epoch, idle and beside a loop.

    python benchmarks/waiting.py [processed/demo] [--rounds 3]

Each figure is the least of `rounds` fresh processes that train LNLN for three epochs on two threads, after one that
is not counted. Beside a loop: another process keeps one core busy. A machine of two cores shows it best.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

WAYS = {  # of waiting, and how many threads
    "torch's default": {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": ""},
    "GOMP_SPINCOUNT=10000": {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=3000 (Lacuna's)": {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "3000"},
    "GOMP_SPINCOUNT=800": {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "800"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
EPOCHS = 3
LOOP = "while True: pass"


def measure(folder: Path) -> None:
    """Print the wall seconds of an epoch in this process."""
    import torch

    from lacuna.data.batches import InputSpec
    from lacuna.data.task import Inputs
    from lacuna.models import lnln
    from lacuna.params import checked, plugin
    from lacuna.train.run import read_corpus
    from lacuna.train.trainer import Data, Settings, fit

    read = read_corpus(folder, Inputs(("tokens", "librosa", "face")))
    train, valid = read.splits["train"], read.splits["valid"]
    spec = InputSpec.of(train, {"text": 50, "audio": 500, "vision": 500})
    settings = checked(Settings, lnln.TRAINING | {"epochs": EPOCHS, "batch_size": 16}, "waiting")
    torch.manual_seed(1)
    model, data = lnln.Model(lnln.Settings(), spec), Data(train, valid, spec, plugin("patterns", settings.pattern))
    fit(model, data, replace(settings, epochs=1), 1)
    start = time.perf_counter()
    fit(model, data, settings, 1)
    print((time.perf_counter() - start) / EPOCHS)


def least(folder: Path, way: dict[str, str], rounds: int) -> float:
    """The least figure of some processes that wait in this way."""
    others = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, __file__, str(folder), "--one"]
    runs = (
        subprocess.run(command, env=others | way, capture_output=True, text=True, check=True) for _ in range(rounds)
    )
    return min(float(run.stdout.split()[-1]) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("processed/demo"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.folder)
        return
    print("| wall seconds an epoch | idle | one core busy |\n|---|---|---|")
    for name, way in WAYS.items():
        idle = least(options.folder, way, options.rounds)
        loop = subprocess.Popen([sys.executable, "-c", LOOP])
        try:
            busy = least(options.folder, way, options.rounds)
        finally:
            loop.kill()
            loop.wait()
        print(f"| {name} | {idle:.1f} | {busy:.1f} |", flush=True)


if __name__ == "__main__":
    main()
