"""How many samples a core feeds to a device. In: nothing. Out: samples/s of the host's part, and of the device's.

    python benchmarks/feeding.py [--clips 1500] [--batch 64] [--rounds 3] [--device cpu]

Clips of 7.3 s as LNLN reads them: token ids, sound (33 columns) and a face of 709 or 49 columns, bucketed batches,
masks of the pattern `mixed` by both versions of the draw. The host reads, pads and draws; the device scales and
masks. No model runs. Where the device is a CPU its part is shown beside the host's, and counts on the same core.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import scale
import torch

from lacuna.data.samples import Samples, open_samples, read_clips
from lacuna.data.stores import Room
from lacuna.patterns import mixed
from lacuna.train.feed import Feed, Loss
from lacuna.train.run import fit_scaler
from lacuna.train.trainer import Settings, _order

LENGTHS = {"text": 50, "audio": 500, "vision": 500}


def samples_of(folder: Path, clips: int, columns: int) -> Samples:
    scale.make(folder, clips, columns)
    out = folder / "processed" / scale.DATASET
    files = {name: out / "features" / f"{name}.h5" for name in ("tokens", "librosa", "face")}
    read, _ = open_samples(read_clips(out / "clips.jsonl"), files)
    return read.scaled(fit_scaler(read))


def seconds(run: Callable[[], object], rounds: int) -> float:
    """Median processor time, after a run that warms up."""
    run()
    told = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        told.append(time.process_time() - start)
    return statistics.median(told)


def rates(samples: Samples, batch: int, version: int, device: str, rounds: int) -> tuple[float, float]:
    """Samples/s of the host's part alone, and of both."""
    feed = Feed(samples, LENGTHS, Loss(mixed, 0.5, 1, version), device)
    order, room = list(_order(samples.frames, Settings(batch_size=batch), 1, 1)), Room()
    host = seconds(lambda: [feed._prepare((places, 1), room) for places in order], rounds)
    both = seconds(lambda: [lossy for lossy, _ in feed(order, 1)] and None, rounds)
    return len(samples) / host, len(samples) / both


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| columns | draw | samples/s a core, host | with the device's part |\n|---|---|---|---|")
    for columns in (709, 49):
        with tempfile.TemporaryDirectory() as folder:
            samples = samples_of(Path(folder), arguments.clips, columns)
            for version in (1, 2):
                host, both = rates(samples, arguments.batch, version, arguments.device, arguments.rounds)
                print(f"| {columns} | {version} | {host:,.0f} | {both:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
