"""How fast models train, against the plain published form. In: row names. Out: a table of samples/s, ratios and memory.

    python benchmarks/training.py [--models lnln] [--batch 16] [--rounds 3] [--device cpu] [--clock wall] [--rows ...]

Without --models it prints all tables: LNLN, MISA and DMD at full and at real lengths, MISA with 709 columns of a face,
DMD unaligned. Ratios depend on the processor, which is named above them. Every row runs in a process of its own, which
tells its peak memory, with one thread on a CPU, and the rows take turns `rounds` times, so that a busy machine is busy
for all; the medians are shown. `--clock cpu` counts processor time, which other programs disturb less.
A model is one file `rows_<model>.py` with ROWS {name: Row with a label}, `base` (the row that a ratio is to), `step`
and `steps`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

LEAST = 2.0  # s
HERE = Path(__file__).parent
MODELS = tuple(sorted(p.stem.removeprefix("rows_") for p in HERE.glob("rows_*.py")))


def measure(model: str, row: str, batch: int, device: str, clock: str) -> dict[str, float]:
    """Samples/s of fair measurements, as many as take `LEAST` seconds, after as long a warm-up; peak memory (GB)."""
    import torch

    torch.set_num_threads(1)
    rows = importlib.import_module(f"rows_{model}")
    run = rows.step(row, batch, device)
    now = time.process_time if clock == "cpu" else time.perf_counter
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def rate(steps: int) -> float:
        wait()
        start, samples, seconds = now(), 0, 0.0
        while seconds < LEAST:
            samples += sum(run() for _ in range(steps))
            wait()
            seconds = now() - start
        return samples / seconds

    rate(1)
    told = {"rate": rate(rows.steps(row))}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # told in KiB
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e9
    return told | {"peak": peak}


def in_own_process(model: str, row: str, arguments: argparse.Namespace) -> dict[str, float]:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "--one", model, row, "--batch", str(arguments.batch)]
    command += ["--device", arguments.device, "--clock", arguments.clock]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(told.stdout.splitlines()[-1])


def table(model: str, arguments: argparse.Namespace) -> str:
    """Measure a model's rows in turns and show their medians."""
    rows = importlib.import_module(f"rows_{model}")
    asked = [name for name in rows.ROWS if not arguments.rows or name in arguments.rows]
    names = [name for name in rows.ROWS if name in asked or name in map(rows.base, asked)]
    told: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(arguments.rounds):
        for name in names:
            told[name].append(in_own_process(model, name, arguments))
            print(f"  {turn + 1}/{arguments.rounds} {name}: {told[name][-1]}", file=sys.stderr, flush=True)
    rates = {name: [t["rate"] for t in told[name]] for name in names}
    lines = [
        f"{model}, batch {arguments.batch}, {arguments.device}, {arguments.clock} clock, "
        f"median of {arguments.rounds} (lowest to highest)",
        "",
        "| row | samples/s | ratio | peak GB |",
        "|---|---|---|---|",
    ]
    for name in names:
        base = statistics.median(rates[rows.base(name)])
        middle, low, high = statistics.median(rates[name]), min(rates[name]), max(rates[name])
        peak = max(t["peak"] for t in told[name])
        lines.append(
            f"| {rows.ROWS[name].label} | {middle:.2f} ({low:.2f} to {high:.2f}) | {middle / base:.2f} | {peak:.1f} |"
        )
    return "\n".join(lines) + "\n"


def processor(device: str) -> str:
    """What the figures were taken on."""
    import torch

    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    facts = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    name = facts.get("model name", platform.processor())
    model = f" (family {facts.get('cpu family')}, model {facts.get('model')})" if facts else ""
    return f"{name}{model}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, one thread"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--rows", nargs="*", default=())
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one, arguments.batch, arguments.device, arguments.clock)))
        return
    print(processor(arguments.device), end="\n\n")
    for model in arguments.models:
        print(table(model, arguments))


if __name__ == "__main__":
    main()
