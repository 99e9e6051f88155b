"""What two models share. In: one modality of a batch. Out: hidden states (B, T, D), and a gradient turned round.

B samples, T frames, D features. Text comes as token ids or as embeddings; behind `TextEncoder` both look alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from lacuna import pretrained
from lacuna.compute import linear
from lacuna.data.batches import InputSpec, Padded
from lacuna.data.samples import LOST_TOKEN

ENOUGH_CLIPS = 500  # from as many on, `finetune: auto` tunes the text encoder (docs/results.md)
Finetune = bool | Literal["auto"]
Source = str | dict[str, Any]  # "embedded", a directory, a hub id; or `TextEncoder.portable`, which needs none of them


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -weight (Ganin & Lempitsky 2015, equations 14 and 15)."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


def reverse_gradient(x: Tensor, weight: float = 1.0) -> Tensor:
    """`x` itself; what flows back through it is multiplied by `-weight`."""
    return _Reversed.apply(x, weight)


class GradientReversal(nn.Module):
    """`reverse_gradient` as a module, to stand in an `nn.Sequential`."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return reverse_gradient(x, self.weight)


def fit_to(padded: Padded, most: int) -> Padded:
    """The same modality with at most `most` frames, as `collate` cuts: longer padding says nothing."""
    if padded.values.shape[1] <= most:
        return padded
    lengths = padded.lengths.clamp(max=most)
    return Padded(padded.values[:, :most], padded.times[:, :most], padded.seen[:, :most], lengths)


def pad_to(padded: Padded, frames: int) -> Padded:
    """The same modality padded with unseen zeros to `frames` frames (for published models, which read padding)."""
    missing = frames - padded.values.shape[1]
    if missing <= 0:
        return fit_to(padded, frames)
    values = nn.functional.pad(padded.values, (0, 0, 0, missing))
    times, seen = nn.functional.pad(padded.times, (0, missing)), nn.functional.pad(padded.seen, (0, missing))
    return Padded(values, times, seen, padded.lengths)


@dataclass(frozen=True)
class _Vocabulary:
    """What the encoder must know of its tokenizer: the ids of a lost word and of padding."""

    unknown: int
    padding: int


class _Kept:
    """The states of texts, by their token ids and the precision, on the CPU: a frozen encoder never changes them.

    A text is encoded alone and at full length, so that its states do not depend on the batch in which it came first:
    a run that is killed and resumed has the same. Once `LIMIT` bytes are kept, further texts go with their batch.
    """

    LIMIT = 4 << 30

    def __init__(self, encode: Callable[[Padded], Tensor], frames: int) -> None:
        self._encode, self._frames = encode, frames
        self._states: dict[bytes, Tensor] = {}
        self._bytes = 0

    def __call__(self, text: Padded) -> Tensor:
        """`encode(text)`, which is asked for what is new and for texts that lost words."""
        keys = self._keys(text)
        for i, key in enumerate(keys):
            if key and key not in self._states and self._bytes < self.LIMIT:
                alone = pad_to(text.rows(slice(i, i + 1)), self._frames)
                self._states[key] = self._encode(alone)[0].cpu()
                self._bytes += self._states[key].nbytes
        known_B = torch.tensor([key in self._states for key in keys])
        if not known_B.any():
            return self._encode(text)
        frames = text.values.shape[1]
        known = torch.stack([self._states[key][:frames] for key in keys if key in self._states])
        states_BTD = known.new_empty(len(keys), *known.shape[1:]).to(text.values.device)
        states_BTD[known_B] = known.to(states_BTD.device)
        if not known_B.all():
            states_BTD[~known_B] = self._encode(text.rows(~known_B))
        return states_BTD

    def _keys(self, text: Padded) -> list[bytes]:
        """A name for each text of at most `frames` tokens that lost none; empty for the others."""
        device = text.values.device.type
        how = str(torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else "").encode()
        lost_BT = (~text.seen | (text.values[..., 0] == LOST_TOKEN)) & text.real
        whole_B = ~lost_BT.any(1) & (text.values.shape[1] <= self._frames)
        ids = text.values.cpu().numpy()
        rows = zip(ids, text.lengths.tolist(), whole_B.tolist())
        return [how + values[:length].tobytes() if whole else b"" for values, length, whole in rows]


class TextEncoder(nn.Module):
    """The text of a batch -> hidden states (B, T, `width`): token ids are encoded, embeddings pass through.

    `source` is "embedded", a directory or a hub id, whose weights are read here; or what `portable` of another
    encoder gave, which builds the same architecture with fresh weights, to be filled from a checkpoint: so a
    checkpoint loads where the source is not. `finetune=False` freezes the weights and keeps dropout off; while such a
    model trains, a text that lost no word is encoded once.
    """

    def __init__(self, spec: InputSpec, source: Source = pretrained.EMBEDDED, finetune: bool = True) -> None:
        super().__init__()
        self.finetune = finetune
        self.encoder: nn.Module | None = None
        self._frames = spec.lengths.get("text", 0)
        self._kept: _Kept | None = None
        self.portable: Source = source  # put this in the settings that are saved
        self.width = spec.widths["text"]
        self.reads_tokens = spec.tokens
        if not spec.tokens:
            return
        self.encoder, self._vocabulary = _build(source)
        config = self.encoder.config
        self.width = config.hidden_size
        if finetune:  # a frozen encoder is read again from its source, and its weights are not copied
            self.portable = {
                "source": source if isinstance(source, str) else source["source"],
                "config": config.to_diff_dict() | {"model_type": config.model_type},
                "unknown": self._vocabulary.unknown,
                "padding": self._vocabulary.padding,
            }
        self._segments = "token_type_ids" in inspect.signature(self.encoder.forward).parameters
        self._most_segments = getattr(config, "type_vocab_size", 2)
        self.encoder.requires_grad_(finetune)

    def train(self, mode: bool = True) -> TextEncoder:
        """A frozen encoder stays in evaluation mode: dropout would only add noise to what cannot adapt."""
        super().train(mode and self.finetune)
        self.training = mode
        if mode and self.encoder is not None and not self.finetune and self._kept is None:
            self._kept = _Kept(self._encode, self._frames)
        return self

    def forward(self, text: Padded) -> Tensor:
        """(B, T, 3) token ids, masks, segments, or (B, T, D) embeddings -> (B, T, `width`)."""
        if self.encoder is None:
            return text.values
        return self._kept(text) if self._kept is not None else self._encode(text)

    def _encode(self, text: Padded) -> Tensor:
        real_BT = text.real
        ids_BT = text.values[..., 0]
        ids_BT = ids_BT.masked_fill(~text.seen | (ids_BT == LOST_TOKEN), self._vocabulary.unknown)
        inputs = {
            "input_ids": ids_BT.masked_fill(~real_BT, self._vocabulary.padding),
            "attention_mask": real_BT.to(torch.int64),
        }
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


def _build(source: Source) -> tuple[nn.Module, _Vocabulary]:
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
