"""Any vision encoder of transformers or timm on pictures: CLIP, SigLIP, DINOv2, ViT, ResNet. In: a clip. Out: states.

A clip whose path is a video gives a picture every 1 / fps s: the frame, or its largest face (none: zeros, unseen).
Pictures are prepared by the encoder's own processor. No weights come with Lacuna.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lacuna.extractors import _encoders, _pictures
from lacuna.storage import pretrained
from lacuna.types import Clip, FeatureSequence

MODALITY = "image"
VERSION = 2


@dataclass(frozen=True)
class Settings(_encoders.EncoderSettings):
    """output: pooled is one row a picture, what the encoder itself makes of it (layers -1) or the mean over its
    places; places is a row for each place of the picture; level: frame, or utterance, the mean over the clip; crop:
    frame or face (videos); fps: pictures a second (videos); modality: what models and exports take it for, auto:
    vision of videos, image of pictures.
    """

    output: Literal["pooled", "places"] = "pooled"
    level: Literal["frame", "utterance"] = "frame"
    crop: Literal["frame", "face"] = "frame"
    fps: float = 1.0
    modality: _pictures.Modality = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        _encoders.require_source(self.source)
        _pictures.check(self.crop, self.fps)


class Extractor:
    """A clip's pictures as the encoder's states, (T, D) float32."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._encoder = _encoders.Encoder(settings, tower="vision_model")
        factory = pretrained.import_transformers().AutoImageProcessor
        self._processor: Any = pretrained.load(factory, settings.source)
        self._pictures = _pictures.Pictures(settings.crop, settings.fps, self._prepared)
        grey = self._prepared(np.full((64, 64, 3), 128, np.uint8))  # settings that the encoder refuses stop here
        self._rows, width = self._states([grey]).shape[1:]
        self.columns = _encoders.named("image", width)

    def versions(self) -> dict[str, str]:
        """What decides the values beside the settings: the weights' fingerprint and the libraries."""
        return self._encoder.versions("timm", "pillow", "av")

    def __call__(self, clip: Clip) -> FeatureSequence:
        return self.many([clip])[0]

    def many(self, clips: Sequence[Clip]) -> list[FeatureSequence]:
        """One sequence a clip; pictures of all clips share batches. Raises for the first clip that cannot be read."""
        made = _pictures.sequences(clips, self._pictures, self._features, self._encoder.batch_size, self.columns)
        return [_encoders.utterance(s) for s in made] if self.settings.level == "utterance" else made

    def _prepared(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 → (3, S, S) float32, as the encoder's own processor has it."""
        return np.asarray(self._processor(images=np.array(image), return_tensors="pt")["pixel_values"][0], np.float32)

    def _features(self, images: Sequence[np.ndarray | None]) -> np.ndarray:
        """(n, rows, D) of n prepared pictures; zeros where there is none."""
        features = np.zeros((len(images), self._rows, len(self.columns)), np.float32)
        there = [i for i, image in enumerate(images) if image is not None]
        if there:
            features[there] = self._states([image for image in images if image is not None]).cpu().numpy()
        return features

    @torch.inference_mode()
    def _states(self, images: Sequence[np.ndarray]) -> Tensor:
        """(n, rows, D) float32 of n pictures (3, S, S)."""
        pixels = torch.from_numpy(np.stack(images))
        if self.settings.output == "pooled" and self.settings.layers == (-1,):
            return self._pooled(pixels)[:, None]
        states_BTD = self._encoder.states(pixel_values=pixels)
        return states_BTD if self.settings.output == "places" else states_BTD.mean(1, keepdim=True)

    def _pooled(self, pixels: Tensor) -> Tensor:
        """(n, D): the vector that shares a space with text where there is one (CLIP), else the network's own pool."""
        whole, inputs = self._encoder.whole, self._encoder.to_device({"pixel_values": pixels})
        project = getattr(whole, "get_image_features", None)
        output = self._encoder.network(**inputs) if project is None else project(**inputs)
        pooled = output if isinstance(output, Tensor) else output.pooler_output
        return (output.last_hidden_state.mean(1) if pooled is None else pooled).flatten(1).float()
