"""Hidden states of a language model, an encoder or a decoder. In: texts. Out: (T, D) float32 a text, all its tokens.

Columns are named for where the special tokens stand, which `lacuna.data.samples.specials` reads again.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lacuna.extractors import _encoders, _text
from lacuna.storage import pretrained
from lacuna.types import SPECIALS, Clip, FeatureSequence, MalformedInput

ROBERTA_OFFSET = 2  # RoBERTa's positions start after its padding index 1


class Extractor:
    """A clip's text, cleaned, as the model's hidden states (T, D) float32."""

    def __init__(self, settings: Any, encoding: _encoders.EncoderSettings) -> None:  # noqa: ANN401
        """`settings` has max_length and clean; `encoding` says which layers of what."""
        self.settings = settings
        self._encoder = _encoders.Encoder(encoding, tower="text_model")
        self._tokenizer: Any = pretrained.tokenizer(encoding.source)
        _check_positions(self._encoder.config, settings.max_length)
        self._segments = "token_type_ids" in inspect.signature(self._encoder.network.forward).parameters
        width = self.states([np.array([[0, 1, 0]])])[0].shape[1]  # layers that the network has not stop here
        self.columns = _encoders.named(_prefix(self._tokenizer), width)

    def versions(self) -> dict[str, str]:
        """What decides the values beside the settings: the weights and the libraries."""
        return self._encoder.versions("tokenizers")

    def __call__(self, clip: Clip) -> FeatureSequence:
        return self.many([clip])[0]

    def unread(self, clip: Clip) -> str:
        """What of the clip's text is beyond max_length."""
        return _text.unread(self._tokenizer, _text.cleaned(clip.text, self.settings.clean), self.settings.max_length)

    def many(self, clips: Sequence[Clip]) -> list[FeatureSequence]:
        """One sequence a clip. On a CPU texts go one by one, which makes the values the same to the bit whatever the
        batch (batches would gain 1.7 ×, and move the sixth digit); on a GPU in padded, masked batches of like length.
        """
        texts = [_text.cleaned(clip.text, self.settings.clean) for clip in clips]
        tokens = _text.encode(self._tokenizer, texts, self.settings.max_length)
        order = sorted((i for i, rows in enumerate(tokens) if len(rows)), key=lambda i: len(tokens[i]))
        hidden: dict[int, np.ndarray] = {}
        for batch in _encoders.batched(order, self._encoder.batch_size):
            hidden |= dict(zip(batch, self.states([tokens[i] for i in batch])))
        nothing = np.zeros((0, len(self.columns)), np.float32)
        return [_text.positions(hidden.get(i, nothing), self.columns) for i in range(len(clips))]

    def after_loss(self, clips: Sequence[Clip], survives: Sequence[np.ndarray]) -> list[FeatureSequence]:
        """The clips' sequences when the words that do not survive, (T,) bool, were lost before encoding.

        The encoder reads its word for an unknown one there; the state at that place is zero and unseen, as any lost
        frame.
        """
        texts = [_text.cleaned(clip.text, self.settings.clean) for clip in clips]
        made = []
        for clip, rows, left in zip(clips, _text.encode(self._tokenizer, texts, self.settings.max_length), survives):
            if len(rows) != len(left):
                raise MalformedInput(
                    f"clip {clip.id}: expected features of its text, {len(rows)} tokens; got {len(left)} rows"
                )
            rows[~left, 0] = pretrained.unknown_token(self._tokenizer)
            states = self.states([rows])[0] if len(rows) else np.zeros((0, len(self.columns)), np.float32)
            sequence = _text.positions(states * left[:, None], self.columns)
            made.append(replace(sequence, seen=left.copy()))
        return made

    @torch.inference_mode()
    def states(self, tokens: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(T, D) of each text's ids, mask and segments (T, 3)."""
        lengths = [len(rows) for rows in tokens]
        padded_B3T = np.zeros((len(tokens), 3, max(lengths)), np.int64)
        padded_B3T[:, 0] = self._tokenizer.pad_token_id or 0
        for i, rows in enumerate(tokens):
            padded_B3T[i, :, : len(rows)] = rows.T
        ids, mask, segments = torch.from_numpy(padded_B3T).unbind(1)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._segments and segments.any():  # XLNet's; GPT takes segments for words, and has none
            inputs["token_type_ids"] = segments
        states_BTD = self._encoder.states(**inputs).cpu().numpy()
        return [states[:length].copy() for states, length in zip(states_BTD, lengths)]


def _prefix(tokenizer: Any) -> str:  # noqa: ANN401
    """The name of columns of a tokenizer that puts special tokens at both ends, at one, or nowhere."""
    special = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    first = special.index(0) if 0 in special else 0
    last = special[::-1].index(0) if 0 in special else 0
    column = next((column for column, places in SPECIALS.items() if places == (first, last)), "bare_hidden_0")
    return column.removesuffix("_0")


def _check_positions(config: object, most: int) -> None:
    limit = getattr(config, "max_position_embeddings", None) or 0
    if "roberta" in str(getattr(config, "model_type", "")):
        limit -= ROBERTA_OFFSET
    if 0 < limit < most:
        raise MalformedInput(f"max_length: expected at most the encoder's {limit} positions, got {most}")
