"""ResNet50 on pictures. In: a picture, or a clip's frames or faces. Out: 2048 columns, float32.

`global` is one row a picture (the average pool), `regions` its 7 × 7 map as 49 rows, read left to right, top to bottom
(at 224 px; (size / 32)² rows at others).
A clip whose path is a video gives a picture every 1 / fps s: the frame, or its largest face (none: zeros, unseen).
The network runs with its batch norms folded in, channels last, in bfloat16, 16 pictures at once.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from lacuna.compute.device import device_of
from lacuna.extractors import _pictures, _resnet
from lacuna.types import Clip, FeatureSequence, MalformedInput

MODALITY = "image"
VERSION = 2


@dataclass(frozen=True)
class Settings:
    """weights: "imagenet", "random" (seeded, no training at all) or a file of ours or torchvision's; output: "global"
    or "regions"; crop: "frame" or "face" (videos); fps: pictures a second (videos); size: px fed to the network;
    modality: what models and exports take it for, auto: vision of videos, image of pictures.
    """

    weights: str = "imagenet"
    output: str = "global"
    crop: str = "frame"
    fps: float = 1.0
    size: int = 224
    modality: _pictures.Modality = "auto"
    seed: int = 0
    precision: str = "bfloat16"
    batch_size: int = 16
    device: str = "auto"

    def __post_init__(self) -> None:
        choices = {"output": ("global", "regions"), "precision": ("bfloat16", "float32")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise MalformedInput(f"{name}: expected {' or '.join(allowed)}, got {getattr(self, name)!r}")
        if not self.weights:
            raise MalformedInput("weights: expected imagenet, random or a file, got ''")
        if self.size < 32 or self.size % 32:
            raise MalformedInput(f"size: expected a multiple of 32 px, got {self.size}")
        _pictures.check(self.crop, self.fps)
        if self.batch_size < 1:
            raise MalformedInput(f"batch_size: expected at least 1, got {self.batch_size}")


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
        self._pictures = _pictures.Pictures(settings.crop, settings.fps, partial(_resnet.resized, size=settings.size))

    def versions(self) -> dict[str, str]:
        """What decides the values beside the settings: the weights' fingerprint and the libraries."""
        names = ("torch", "timm", "pillow", "av")
        return {"weights": _resnet.fingerprint(self.settings.weights)} | {
            n: importlib.metadata.version(n) for n in names
        }

    def __call__(self, clip: Clip) -> FeatureSequence:
        return self.many([clip])[0]

    def many(self, clips: Sequence[Clip]) -> list[FeatureSequence]:
        """One sequence a clip; pictures of all clips share batches. Raises for the first clip that cannot be read."""
        return _pictures.sequences(clips, self._pictures, self._features, self._batch_size, self.columns)

    @torch.inference_mode()
    def _features(self, images: Sequence[np.ndarray | None]) -> np.ndarray:
        """(n, 1 or regions, 2048) of n pictures (size, size, 3) uint8; zeros where there is none."""
        rows = (self.settings.size // 32) ** 2 if self.settings.output == "regions" else 1
        features = np.zeros((len(images), rows, len(self.columns)), np.float32)
        there = [i for i, image in enumerate(images) if image is not None]
        if there:
            pixels_BHWC = torch.from_numpy(np.stack([image for image in images if image is not None])).to(self._device)
            map_BCHW = self._network(_resnet.normalized(pixels_BHWC, self.settings.precision)).float()
            map_BRC = map_BCHW.flatten(2).transpose(1, 2)
            features[there] = (map_BRC if rows > 1 else map_BRC.mean(1, keepdim=True)).cpu().numpy()
        return features
