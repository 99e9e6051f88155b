"""What frozen text encoders say, kept for a whole process. In: texts with lost words. Out: their hidden states.

Masks are functions of (clip, seed, epoch), so models that are trained one after another read the same lossy texts: each
is encoded once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lacuna.data.batches import Padded
from lacuna.models.parts.text import TextEncoder, fit_to


class SharedStates:
    """What frozen encoders said of each text, lost words and all, in this process.

    States of padding are zeros, unless `padding` is set: then they are what the encoder makes of [PAD].
    """

    def __init__(self) -> None:
        self.padding = False
        self._states: dict[bytes, Tensor] = {}
        self._encode = TextEncoder.encode

    def __call__(self, encoder: TextEncoder, text: Padded) -> Tensor:
        if encoder.finetune:
            return self._encode(encoder, text)
        ids, seen, width = text.values.numpy(), text.seen.numpy(), text.values.shape[1]
        lengths = [width] * len(ids) if self.padding else text.lengths.tolist()
        keys = [ids[i, :n].tobytes() + seen[i, :n].tobytes() for i, n in enumerate(lengths)]
        new = sorted((i for i, key in enumerate(keys) if key not in self._states), key=lambda i: lengths[i])
        for start in range(0, len(new), 64):
            part = new[start : start + 64]
            states = self._encode(encoder, fit_to(text.rows(torch.tensor(part)), max(lengths[i] for i in part)))
            self._states |= {keys[i]: states[k, : lengths[i]].clone() for k, i in enumerate(part)}
        states_BTD = torch.zeros(*text.values.shape[:2], self._states[keys[0]].shape[1])
        for i, n in enumerate(lengths):
            states_BTD[i, :n] = self._states[keys[i]]
        return states_BTD


def share_states() -> SharedStates:
    """From here on every frozen encoder of this process (all of one source) looks there first."""
    shared = SharedStates()
    TextEncoder.encode = lambda encoder, text: shared(encoder, text)
    return shared
