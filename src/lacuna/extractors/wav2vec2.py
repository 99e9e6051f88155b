"""Hidden states of a wav2vec2, HuBERT or WavLM encoder. In: a clip's sound. Out: (T, hidden) float32, 50 frames/s.

No weights come with Lacuna: `source` is a hub id or a directory.
"""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import dataclass

import numpy as np
import torch

from lacuna import pretrained
from lacuna.compute.device import device_of
from lacuna.media import RATE, decode
from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence

MODALITY = "audio"
VERSION = 2


@dataclass(frozen=True)
class Settings:
    """source: hub id or directory; layer: hidden layer, -1 the last; normalize: zero mean, unit variance a clip (what
    the large models expect); chunk: s encoded at once, which bounds memory on long clips.
    """

    source: str = "facebook/wav2vec2-base-960h"
    layer: int = -1
    normalize: bool = True
    chunk: float = 30.0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.source or self.source == pretrained.EMBEDDED:
            raise MalformedInput(f"source: expected a hub id or a directory (none is embedded), got {self.source!r}")
        if self.chunk < 1:
            raise MalformedInput(f"chunk: expected at least 1 s, got {self.chunk}")


class Extractor:
    """A clip's sound as the encoder's hidden states; times are the frames' starts in s."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._device = device_of(settings.device)
        self._encoder = pretrained.encoder(settings.source).to(self._device)
        config = self._encoder.config
        if not hasattr(config, "conv_stride"):
            raise MalformedInput(f"source: expected a wav2vec2-like encoder, {settings.source} is {config.model_type}")
        if not -config.num_hidden_layers - 1 <= settings.layer <= config.num_hidden_layers:
            raise MalformedInput(f"layer: expected within ±{config.num_hidden_layers}, got {settings.layer}")
        self._hop = math.prod(config.conv_stride)
        self._least = 1  # samples that give one frame
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride)):
            self._least = (self._least - 1) * stride + kernel
        self.columns = tuple(f"wav2vec2_{i}" for i in range(config.hidden_size))

    def versions(self) -> dict[str, str]:
        """What decides the values beside the settings: the weights and the libraries."""
        return {"source": pretrained.fingerprint(self.settings.source)} | {
            name: importlib.metadata.version(name) for name in ("torch", "transformers", "av")
        }

    def __call__(self, clip: Clip) -> FeatureSequence:
        samples = None if clip.path is None else decode.audio(clip.path, RATE, clip.start, clip.end)
        if samples is None or not len(samples):
            return empty_sequence(self.columns)
        if self.settings.normalize:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        # Whole hops a chunk, so that frames go on from chunk to chunk without a gap.
        step = max(1, round(self.settings.chunk * RATE / self._hop)) * self._hop
        values = np.concatenate([self._hidden(samples[i : i + step]) for i in range(0, len(samples), step)])
        times = np.arange(len(values)) * self._hop / RATE
        return FeatureSequence(values, times, np.ones(len(values), bool), self.columns)

    @torch.inference_mode()
    def _hidden(self, samples: np.ndarray) -> np.ndarray:
        """(n,) samples → (T, hidden); a piece too short for one frame is filled with silence."""
        # The first convolutions eat a window: the silence after a chunk gives it back its last frame.
        frames = max(1, len(samples) // self._hop)
        padded = np.zeros(max(len(samples), (frames - 1) * self._hop + self._least), np.float32)
        padded[: len(samples)] = samples
        output = self._encoder(torch.from_numpy(padded)[None].to(self._device), output_hidden_states=True)
        return output.hidden_states[self.settings.layer][0, :frames].float().cpu().numpy()
