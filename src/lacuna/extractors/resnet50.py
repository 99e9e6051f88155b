"""ResNet50 (torchvision) on pictures. In: a picture, or a clip's frames or faces. Out: 2048 columns, float32.

`global` is one row a picture (the average pool), `regions` its 7 × 7 map as 49 rows, read left to right, top to bottom
(at 224 px; (size / 32)² rows at others).
A clip whose path is a video gives a picture every 1 / fps s: the frame, or its largest face (none: zeros, unseen).
The network runs with its batch norms folded in, channels last, in bfloat16, 16 pictures at once.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from lacuna.compute.device import device_of
from lacuna.extractors import _resnet
from lacuna.media import decode
from lacuna.types import Clip, FeatureSequence, MalformedInput

MODALITY = "image"
VERSION = 2

Picture = tuple[float, np.ndarray | None]  # its time in s, and (H, W, 3) uint8, None where there is no face


@dataclass(frozen=True)
class Settings:
    """weights: "imagenet", "random" (seeded, no training at all) or a file of ours or torchvision's; output: "global"
    or "regions"; crop: "frame" or "face" (videos); fps: pictures a second (videos); size: px fed to the network.
    """

    weights: str = "imagenet"
    output: str = "global"
    crop: str = "frame"
    fps: float = 1.0
    size: int = 224
    seed: int = 0
    precision: str = "bfloat16"
    batch_size: int = 16
    device: str = "auto"

    def __post_init__(self) -> None:
        choices = {"output": ("global", "regions"), "crop": ("frame", "face"), "precision": ("bfloat16", "float32")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise MalformedInput(f"{name}: expected {' or '.join(allowed)}, got {getattr(self, name)!r}")
        if not self.weights:
            raise MalformedInput("weights: expected imagenet, random or a file, got ''")
        if self.size < 32 or self.size % 32:
            raise MalformedInput(f"size: expected a multiple of 32 px, got {self.size}")
        if not self.fps > 0 or self.batch_size < 1:
            raise MalformedInput(f"fps and batch_size: expected more than 0, got {self.fps} and {self.batch_size}")


class Extractor:
    """A clip's pictures as ResNet50's features (T, 2048) float32."""

    columns = tuple(f"resnet50_{i}" for i in range(2048))

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._device = device_of(settings.device)
        self._network = _resnet.for_inference(_resnet.network(settings.weights, settings.seed), settings.precision)
        self._network.to(self._device)
        # In bfloat16 a picture's values are the same to the bit in any batch; float32 on a CPU has them so only alone.
        alone = settings.precision == "float32" and self._device.type == "cpu"
        self._batch_size = 1 if alone else settings.batch_size
        self._faces = _resnet.FaceFinder() if settings.crop == "face" else None

    def versions(self) -> dict[str, str]:
        """What decides the values beside the settings: the weights' fingerprint and the libraries."""
        names = ("torch", "torchvision", "pillow", "av")
        return {"weights": _resnet.fingerprint(self.settings.weights)} | {
            n: importlib.metadata.version(n) for n in names
        }

    def __call__(self, clip: Clip) -> FeatureSequence:
        return self.many([clip])[0]

    def many(self, clips: Sequence[Clip]) -> list[FeatureSequence]:
        """One sequence a clip; pictures of all clips share batches. Raises for the first clip that cannot be read."""
        shared: Iterator[tuple[int, Picture]] = (
            (i, picture) for i, clip in enumerate(clips) for picture in self._pictures(clip)
        )
        rows: list[list[np.ndarray]] = [[] for _ in clips]
        times: list[list[float]] = [[] for _ in clips]
        seen: list[list[bool]] = [[] for _ in clips]
        for batch in _batched(shared, self._batch_size):
            for (i, (time, image)), values in zip(batch, self._features([image for _, (_, image) in batch])):
                rows[i].append(values)
                times[i] += [time] * len(values)
                seen[i] += [image is not None] * len(values)
        return [self._sequence(*parts) for parts in zip(rows, times, seen)]

    def _sequence(self, rows: list[np.ndarray], times: list[float], seen: list[bool]) -> FeatureSequence:
        values = np.concatenate(rows) if rows else np.zeros((0, len(self.columns)), np.float32)
        return FeatureSequence(values, np.array(times, np.float64), np.array(seen, bool), self.columns)

    def _pictures(self, clip: Clip) -> Iterator[Picture]:
        if clip.path is None:
            return
        if decode.is_picture(Path(clip.path)):
            yield self._picture(0.0, decode.image(clip.path))
        elif decode.probe(clip.path).video:
            for frame in decode.frames(clip.path, clip.start, clip.end, self.settings.fps):
                yield self._picture(frame.time, frame.image)

    def _picture(self, time: float, image: np.ndarray) -> Picture:
        """Cut to the face and to the network's size at once, so that a long clip holds small pictures only."""
        face = image if self._faces is None else self._faces(image)
        return time, None if face is None else _resnet.resized(face, self.settings.size)

    @torch.inference_mode()
    def _features(self, images: Sequence[np.ndarray | None]) -> np.ndarray:
        """(n, 1 or regions, 2048) of n pictures (size, size, 3) uint8; zeros where there is none."""
        rows = (self.settings.size // 32) ** 2 if self.settings.output == "regions" else 1
        features = np.zeros((len(images), rows, len(self.columns)), np.float32)
        there = [i for i, image in enumerate(images) if image is not None]
        if there:
            pixels_BHWC = torch.from_numpy(np.stack([images[i] for i in there])).to(self._device)
            map_BCHW = self._network(_resnet.normalized(pixels_BHWC, self.settings.precision)).float()
            map_BRC = map_BCHW.flatten(2).transpose(1, 2)
            features[there] = (map_BRC if rows > 1 else map_BRC.mean(1, keepdim=True)).cpu().numpy()
        return features


def _batched(items: Iterable[tuple[int, Picture]], size: int) -> Iterator[list[tuple[int, Picture]]]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
