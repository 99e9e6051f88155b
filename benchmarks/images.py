"""ResNet50 extraction against the plain loop: torchvision's network in float32, one picture at a time.

Run: `python benchmarks/images.py [pictures]`. Both sides decode the same JPEG files and prepare them with the same
preset, on one thread, in turn, best of three rounds each, by processor time (other programs disturb it less); what is
told is the ratio. Target: at least 1.8.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lacuna.extractors import _resnet, resnet50
from lacuna.storage.pretrained import import_torchvision
from lacuna.types import Clip

TARGET, ROUNDS = 1.8, 3


def pictures(folder: Path, count: int) -> list[Clip]:
    """Smooth noise at the size of real posts: 384 × 288."""
    clips = []
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 256, (18, 24, 3), np.uint8)
        Image.fromarray(noise).resize((384, 288), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=90)
        clips.append(Clip(f"v$_${i}", "bench", "test", path=folder / f"{i}.jpg"))
    return clips


def plain(network: torch.nn.Module, clips: list[Clip]) -> np.ndarray:
    """What one writes first: (N, 2048)."""
    prepare = import_torchvision().models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    rows = []
    with torch.no_grad():
        for clip in clips:
            with Image.open(clip.path) as picture:
                rows.append(network(prepare(picture.convert("RGB"))[None])[0].numpy())
    return np.stack(rows)


def ours(extractor: resnet50.Extractor, clips: list[Clip]) -> np.ndarray:
    return np.concatenate([sequence.values for sequence in extractor.many(clips)])


def timed(run: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    began = time.process_time()
    rows = run()
    return rows, time.process_time() - began


def main(count: int = 32) -> None:
    torch.set_num_threads(1)
    network = _resnet.network("random")
    extractor = resnet50.Extractor(resnet50.Settings(weights="random", device="cpu"))
    with tempfile.TemporaryDirectory() as folder:
        clips = pictures(Path(folder), count)
        plain(network, clips[:2]), ours(extractor, clips[:2])  # first calls choose and compile kernels
        seconds: dict[str, list[float]] = {"plain": [], "ours": []}
        for _ in range(ROUNDS):
            bare, taken = timed(lambda: plain(network, clips))
            seconds["plain"].append(taken)
            made, taken = timed(lambda: ours(extractor, clips))
            seconds["ours"].append(taken)
    off = np.linalg.norm(made - bare) / np.linalg.norm(bare)
    rates = {name: count / min(taken) for name, taken in seconds.items()}
    ratio = rates["ours"] / rates["plain"]
    print(f"plain fp32, one at a time: {rates['plain']:.1f} pictures/s")
    print(f"folded, channels last, bf16, by 16: {rates['ours']:.1f} pictures/s; {off:.2%} off in norm")
    print(f"ratio {ratio:.2f} (target {TARGET}): {'met' if ratio >= TARGET else 'MISSED'}")
    sys.exit(ratio < TARGET)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
