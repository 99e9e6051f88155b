"""What models share. In: one modality of a batch. Out: hidden states (B, T, D), and a gradient turned round.

B samples, T frames, D features. Text comes as token ids or as embeddings; behind `TextEncoder` both look alike.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from lacuna.compute import linear
from lacuna.data.batches import InputSpec, Padded
from lacuna.data.samples import LOST_TOKEN
from lacuna.models.parts.remembered import Remembered
from lacuna.storage import pretrained
from lacuna.types import MalformedInput

ENOUGH_CLIPS = 300  # from as many on, `finetune: auto` tunes the text encoder (docs/results.md)
Finetune = bool | Literal["auto"]
Source = str | dict[str, Any]  # "embedded", a directory, a hub id; or `TextEncoder.portable`, which needs none of them


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -weight (Ganin & Lempitsky 2015, equations 14 and 15)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:  # noqa: ANN401 (attributes of any name)
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 (what `forward` put there)
        return -ctx.weight * gradient, None


def reverse_gradient(x: Tensor, weight: float = 1.0) -> Tensor:
    """`x` itself; what flows back through it is multiplied by `-weight`."""
    return _Reversed.apply(x, weight)


def fit_to(padded: Padded, most: int) -> Padded:
    """The same modality with at most `most` frames, as `collate` cuts: longer padding says nothing."""
    return padded.at_most(most)


def pad_to(padded: Padded, frames: int) -> Padded:
    """The same modality padded with unseen zeros to `frames` frames (for published models, which read padding)."""
    return padded.widened(frames)


@dataclass(frozen=True)
class _Vocabulary:
    """What the encoder must know of its tokenizer: the ids of a lost word and of padding."""

    unknown: int
    padding: int


class TextEncoder(nn.Module):
    """The text of a batch -> hidden states (B, T, `width`): token ids are encoded, embeddings pass through.

    `source` is "embedded", a directory or a hub id, whose weights are read here; or what `portable` of another
    encoder gave, which builds the same architecture with fresh weights, to be filled from a checkpoint: so a
    checkpoint loads where the source is not. `finetune=False` freezes the weights and keeps dropout off; where a batch
    brings the states of its complete texts (`Padded.states`), only those that lost words are encoded.
    """

    def __init__(self, spec: InputSpec, source: Source = pretrained.EMBEDDED, finetune: bool = True) -> None:
        super().__init__()
        self.finetune = finetune
        self.encoder: nn.Module | None = None
        self.remembered: Remembered | None = None  # set by `remembering`
        self.frames = spec.lengths.get("text", 0)
        self.source = source if isinstance(source, str) else str(source["source"])
        self.portable: Source = source  # put this in the settings that are saved
        self.width = spec.widths["text"]
        self.reads_tokens = spec.tokens
        if not spec.tokens:
            return
        encoder, self._vocabulary = _build(source)
        self.encoder, config = encoder, encoder.config
        self.width = config.hidden_size
        if finetune:  # a frozen encoder is read again from its source, and its weights are not copied
            self.portable = {
                "source": self.source,
                "config": config.to_diff_dict() | {"model_type": config.model_type},
                "unknown": self._vocabulary.unknown,
                "padding": self._vocabulary.padding,
            }
        # Of a (B, T) mask these ask the device whether it hides anything; a (B, 1, T, T) one they take as it is.
        library = sys.modules[type(encoder).__module__]
        attention = getattr(config, "_attn_implementation", "")
        self._takes_masks = attention == "sdpa" and hasattr(library, "create_bidirectional_mask")
        self._segments = "token_type_ids" in inspect.signature(encoder.forward).parameters
        self._most_segments = getattr(config, "type_vocab_size", 2)
        encoder.requires_grad_(finetune)

    def train(self, mode: bool = True) -> TextEncoder:
        """A frozen encoder stays in evaluation mode: dropout would only add noise to what cannot adapt."""
        super().train(mode and self.finetune)
        self.training = mode
        return self

    @property
    def frozen(self) -> bool:
        """Whether there is an encoder that does not learn."""
        return self.encoder is not None and not self.finetune

    def forward(self, text: Padded) -> Tensor:
        """(B, T, 3) token ids, masks, segments, or (B, T, D) embeddings -> (B, T, `width`)."""
        if self.encoder is None:
            return text.values
        if text.states is None or not self.frozen:
            return self.encode(text)
        states_BTD = text.states[:, : text.values.shape[1]]
        if text.changed is None or not len(text.changed):
            return states_BTD
        lost_KTD = self.encode(text.rows(text.changed)).to(states_BTD.dtype)
        return states_BTD.index_copy(0, text.changed.to(states_BTD.device, non_blocking=True), lost_KTD)

    def encode(self, text: Padded) -> Tensor:
        return self._encode(text) if self.remembered is None else self.remembered(self._encode, text)

    def _encode(self, text: Padded) -> Tensor:
        if self.encoder is None:
            raise MalformedInput("text: expected token ids to encode, got embeddings")
        real_BT = text.real
        ids_BT = text.values[..., 0]
        ids_BT = ids_BT.masked_fill(~text.seen | (ids_BT == LOST_TOKEN), self._vocabulary.unknown)
        inputs = {"input_ids": ids_BT.masked_fill(~real_BT, self._vocabulary.padding)}
        if not self._takes_masks:
            inputs["attention_mask"] = real_BT.to(torch.int64)
        elif not text.full:
            inputs["attention_mask"] = real_BT[:, None, None].expand(-1, -1, real_BT.shape[1], -1)
        if self._segments:
            inputs["token_type_ids"] = text.values[..., 2].clamp(min=0, max=max(0, self._most_segments - 1))
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.finetune), linear.fast(real_BT.device):
            return self.encoder(**inputs).last_hidden_state


class ReadsText(Protocol):
    """The settings of a model that reads text."""

    @property
    def encoder(self) -> Source: ...

    @property
    def finetune(self) -> Finetune: ...


def tunes(finetune: Finetune, spec: InputSpec) -> bool:
    """Whether the text encoder learns: as told, or (`auto`) where the clips to learn from are enough."""
    return spec.clips >= ENOUGH_CLIPS if finetune == "auto" else bool(finetune)


def text_encoder_of(spec: InputSpec, settings: ReadsText) -> tuple[TextEncoder | None, dict[str, int]]:
    """A model's text encoder, None where the data have no text, and the widths of all modalities behind it."""
    if "text" not in spec.widths:
        return None, dict(spec.widths)
    encoder = TextEncoder(spec, settings.encoder, tunes(settings.finetune, spec))
    return encoder, spec.widths | {"text": encoder.width}


def _build(source: Source) -> tuple[Any, _Vocabulary]:
    """The encoder of a source without its pooler, which nobody reads, and what is to know of its tokenizer."""
    if isinstance(source, Mapping):
        transformers = pretrained.import_transformers()
        config = dict(source["config"])
        encoder = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config))
        vocabulary = _Vocabulary(source["unknown"], source["padding"])
    else:
        encoder, tokenizer = pretrained.encoder(source), pretrained.tokenizer(source)
        vocabulary = _Vocabulary(pretrained.unknown_token(tokenizer), tokenizer.pad_token_id or 0)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder, vocabulary
