"""Last hidden states of a BERT, RoBERTa or XLNet encoder. In: a clip's text. Out: (T, hidden) float32, all tokens.

[CLS] and [SEP] are among the positions, as in MMSA's `text`. The weights' fingerprint is part of `versions()`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lacuna import pretrained
from lacuna.compute.device import device_of
from lacuna.data.samples import HIDDEN_COLUMN, TAILED_COLUMN
from lacuna.extractors import _text
from lacuna.types import Clip, FeatureSequence, MalformedInput

MODALITY = "text"
VERSION = 2
ROBERTA_OFFSET = 2  # RoBERTa's positions start after its padding index 1


@dataclass(frozen=True)
class Settings:
    """source: hub id, directory or "embedded"; max_length: tokens kept; clean: what is taken out of the text first,
    any of retweets, links, mentions, hashtags, hashes, case; batch_size: texts at once on a GPU.
    """

    source: str = pretrained.EMBEDDED
    max_length: int = 50
    clean: tuple[str, ...] = ()
    batch_size: int = 64
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.source:
            raise MalformedInput("source: expected a hub id, a directory or 'embedded', got ''")
        _text.check_length(self.max_length)
        _text.check_cleaning(self.clean)
        if self.batch_size < 1:
            raise MalformedInput(f"batch_size: expected at least 1, got {self.batch_size}")


class Extractor:
    """A clip's text as the encoder's last hidden states (T, hidden) float32."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._tokenizer = pretrained.tokenizer(settings.source)
        self._device = device_of(settings.device)
        self._encoder = pretrained.encoder(settings.source).to(self._device)
        config = self._encoder.config
        _check_positions(config, settings.max_length)
        opened = self._tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"][0]
        prefix = (HIDDEN_COLUMN if opened else TAILED_COLUMN).removesuffix("0")
        self.columns = tuple(f"{prefix}{i}" for i in range(config.hidden_size))

    def versions(self) -> dict[str, str]:
        """What decides the values beside the settings: the weights and the libraries."""
        names = ("torch", "transformers", "tokenizers")
        return {"source": pretrained.fingerprint(self.settings.source)} | {
            name: importlib.metadata.version(name) for name in names
        }

    def __call__(self, clip: Clip) -> FeatureSequence:
        return self.many([clip])[0]

    def longer(self, clips: Sequence[Clip]) -> int:
        """How many clips have more text than is read."""
        texts = [_text.cleaned(clip.text, self.settings.clean) for clip in clips]
        return _text.longer(self._tokenizer, texts, self.settings.max_length)

    def many(self, clips: Sequence[Clip]) -> list[FeatureSequence]:
        """One sequence a clip. On a CPU texts go one by one, which makes the values the same to the bit whatever the
        batch (batches would gain 1.7 ×, and move the sixth digit); on a GPU in padded, masked batches of like length.
        """
        texts = [_text.cleaned(clip.text, self.settings.clean) for clip in clips]
        tokens = _text.encode(self._tokenizer, texts, self.settings.max_length)
        hidden: dict[int, np.ndarray] = {}
        for batch in self._batches(tokens):
            hidden |= dict(zip(batch, self._hidden([tokens[i] for i in batch])))
        nothing = np.zeros((0, len(self.columns)), np.float32)
        return [_text.positions(hidden.get(i, nothing), self.columns) for i in range(len(clips))]

    def _batches(self, tokens: Sequence[np.ndarray]) -> Iterator[list[int]]:
        order = sorted((i for i, rows in enumerate(tokens) if len(rows)), key=lambda i: len(tokens[i]))
        size = 1 if self._device.type == "cpu" else self.settings.batch_size
        for start in range(0, len(order), size):
            yield order[start : start + size]

    @torch.inference_mode()
    def _hidden(self, tokens: Sequence[np.ndarray]) -> list[np.ndarray]:
        lengths = [len(rows) for rows in tokens]
        padded_B3T = np.zeros((len(tokens), 3, max(lengths)), np.int64)
        padded_B3T[:, 0] = self._tokenizer.pad_token_id or 0
        for i, rows in enumerate(tokens):
            padded_B3T[i, :, : len(rows)] = rows.T
        ids, mask, segments = torch.from_numpy(padded_B3T).to(self._device).unbind(1)
        states_BTD = self._encoder(input_ids=ids, attention_mask=mask, token_type_ids=segments).last_hidden_state
        states_BTD = states_BTD.float().cpu().numpy()
        return [states[:length].copy() for states, length in zip(states_BTD, lengths)]


def _check_positions(config: object, most: int) -> None:
    limit = getattr(config, "max_position_embeddings", None) or 0
    if "roberta" in str(getattr(config, "model_type", "")):
        limit -= ROBERTA_OFFSET
    if 0 < limit < most:
        raise MalformedInput(f"max_length: expected at most the encoder's {limit} positions, got {most}")
