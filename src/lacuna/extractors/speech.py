"""Any speech encoder of transformers: wav2vec2, HuBERT, WavLM, data2vec, Whisper's encoder. In: sound. Out: states.

A frame is 20 ms with all of these. No weights come with Lacuna: `source` is a hub id or a folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
import torch

from lacuna.extractors import _encoders
from lacuna.media import RATE, decode
from lacuna.storage import pretrained
from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence

MODALITY = "audio"
VERSION = 3
HOP = 320  # samples a frame, where the encoder's configuration does not say


@dataclass(frozen=True)
class Settings(_encoders.EncoderSettings):
    """normalize: zero mean and unit variance a clip, null is as the encoder's own processor says; chunk: s encoded at
    once, which bounds memory on long clips (Whisper: at most 30); level: frame, or utterance, the mean over the clip.
    """

    normalize: bool | None = None
    chunk: float = 30.0
    level: Literal["frame", "utterance"] = "frame"

    def __post_init__(self) -> None:
        super().__post_init__()
        _encoders.require_source(self.source)
        if self.chunk < 1:
            raise MalformedInput(f"chunk: expected at least 1 s, got {self.chunk}")


class Extractor:
    """A clip's sound as the encoder's states (T, D) float32; times are the frames' starts in s."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._encoder = _encoders.Encoder(settings)
        self._processor = _processor(settings.source)
        self._spectral = "input_features" in getattr(self._processor, "model_input_names", ())
        self._masked = bool(getattr(self._processor, "return_attention_mask", False))
        config = self._encoder.config
        strides, kernels = (getattr(config, name, None) or () for name in ("conv_stride", "conv_kernel"))
        if not self._spectral and not strides:
            raise MalformedInput(f"source: expected a speech encoder, {settings.source} is {config.model_type}")
        self._hop = math.prod(strides) if strides else HOP
        self._least = 1  # samples that give one frame
        for kernel, stride in zip(reversed(kernels), reversed(strides)):
            self._least = (self._least - 1) * stride + kernel
        most = getattr(self._processor, "n_samples", None) if self._spectral else None  # Whisper's 30 s
        # Whole hops a chunk, so that frames go on from chunk to chunk without a gap.
        self._step = max(1, min(round(settings.chunk * RATE), most or RATE * 10**6) // self._hop) * self._hop
        width = self._states([np.zeros(RATE, np.float32)])[0].shape[1]  # what the encoder refuses stops here
        self.columns = _encoders.named("speech", width)

    def versions(self) -> dict[str, str]:
        """What decides the values beside the settings: the weights' fingerprint and the libraries."""
        return self._encoder.versions("av")

    def __call__(self, clip: Clip) -> FeatureSequence:
        return self.many([clip])[0]

    def many(self, clips: Sequence[Clip]) -> list[FeatureSequence]:
        """One sequence a clip; on a GPU chunks of all clips share batches. Raises for the first unreadable clip."""
        rows: list[list[np.ndarray]] = [[] for _ in clips]
        chunks = ((i, chunk) for i, clip in enumerate(clips) for chunk in self._chunks(clip))
        for batch in _encoders.batched(chunks, self._encoder.batch_size):
            for (i, _), states in zip(batch, self._states([chunk for _, chunk in batch])):
                rows[i].append(states)
        return [self._sequence(parts) for parts in rows]

    def _sequence(self, parts: list[np.ndarray]) -> FeatureSequence:
        if not parts:
            return empty_sequence(self.columns)
        values = np.concatenate(parts)
        times = np.arange(len(values)) * self._hop / RATE
        sequence = FeatureSequence(values, times, np.ones(len(values), bool), self.columns)
        return _encoders.utterance(sequence) if self.settings.level == "utterance" else sequence

    def _chunks(self, clip: Clip) -> Iterator[np.ndarray]:
        samples = None if clip.path is None else decode.audio(clip.path, RATE, clip.start, clip.end)
        if samples is None or not len(samples):
            return
        wanted = self.settings.normalize
        if not self._spectral and getattr(self._processor, "do_normalize", True) if wanted is None else wanted:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        for start in range(0, len(samples), self._step):
            yield samples[start : start + self._step]

    def _states(self, chunks: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(T, D) of each chunk; chunks of unlike lengths share a batch only where the encoder heeds a mask."""
        alike = self._spectral or self._masked
        made = []
        for _, group in groupby(chunks, lambda chunk: 0 if alike else len(chunk)):
            some = list(group)
            frames = [max(1, len(chunk) // self._hop) for chunk in some]
            with torch.inference_mode():
                states_BTD = self._encoder.states(**self._inputs(some, frames)).cpu().numpy()
            made += [states[:count].copy() for states, count in zip(states_BTD, frames)]
        return made

    def _inputs(self, chunks: Sequence[np.ndarray], frames: Sequence[int]) -> dict[str, torch.Tensor]:
        if self._spectral:
            return dict(self._processor(list(chunks), sampling_rate=RATE, return_tensors="pt"))
        # The first convolutions eat a window: the silence after a chunk gives it back its last frame.
        lengths = [max(len(c), (count - 1) * self._hop + self._least) for c, count in zip(chunks, frames)]
        padded = np.zeros((len(chunks), max(lengths)), np.float32)
        mask = np.zeros(padded.shape, np.int64)
        for i, (chunk, length) in enumerate(zip(chunks, lengths)):
            padded[i, : len(chunk)], mask[i, :length] = chunk, 1
        inputs = {"input_values": torch.from_numpy(padded)}
        return inputs | ({"attention_mask": torch.from_numpy(mask)} if self._masked else {})


def _processor(source: str) -> Any:  # noqa: ANN401
    """The source's own feature extractor; None where it has none, as folders of bare weights."""
    try:
        return pretrained.load(pretrained.import_transformers().AutoFeatureExtractor, source)
    except MalformedInput:
        return None
