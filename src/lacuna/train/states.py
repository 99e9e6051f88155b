"""What a frozen text encoder makes of texts that lost nothing. In: the encoder, samples. Out: a store of its states.

They never change, so they are made once, in large batches, and kept in the cache, where later runs find them. A text is
encoded at the full length that the model may be given: so its states serve a batch of any length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch

from lacuna.compute.device import autocast
from lacuna.data.batches import collate_places
from lacuna.data.samples import Samples
from lacuna.data.stores import Filed, Room, Store
from lacuna.models.parts.text import TextEncoder
from lacuna.storage.features import Origin
from lacuna.storage.packed import MARK, Index, packed

BATCH = 128  # texts that are encoded together


def states_of(encoder: TextEncoder, samples: Samples, device: torch.device, dtype: torch.dtype) -> Store:
    """The states (frames, width) of every sample's text, computed in `dtype`, on disk; those of an earlier run where
    nothing that decides them has changed."""
    frames, count = encoder.frames, len(samples)
    ids = [f"{i} {clip.id}" for i, clip in enumerate(samples.clips)]
    origin = Origin("states", "text", tuple(f"state_{i}" for i in range(encoder.width)), {}, {})
    how = f"{device.type} {dtype} {frames} {torch.__version__}"
    whose = sorted({f"{clip.dataset} {clip.split}" for clip in samples.clips})
    name = f"states of {', '.join(whose)} by {encoder.source} {how}"
    index = Index(_key(encoder, samples, how), name, origin, ids, np.arange(count + 1) * frames)
    return Filed(packed(index, _encoded(encoder, samples, device, dtype)), ids)


def _key(encoder: TextEncoder, samples: Samples, how: str) -> str:
    """A digest of all that decides the states."""
    digest = hashlib.sha256(how.encode())
    for name, weight in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    for text in samples.stores["text"]:
        digest.update(f"{len(text)} ".encode())
        digest.update(np.ascontiguousarray(text.values).data)
    return digest.hexdigest()


@torch.no_grad()
def _encoded(
    encoder: TextEncoder, samples: Samples, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    texts, room, encoder = Samples(samples.clips, {"text": samples.stores["text"]}), Room(), encoder.to(device)
    for start in range(0, len(texts), BATCH):
        places = range(start, min(start + BATCH, len(texts)))
        text = collate_places(texts, places, {"text": encoder.frames}, room)["text"].widened(encoder.frames)
        with autocast(dtype, device):
            states = encoder.encode(text.to(device))
        yield states.float().cpu().numpy().reshape(-1, encoder.width), np.ones(len(places) * encoder.frames, MARK)
