"""What is timed of DMD, on noise of MOSI's shape. In: a row's name and a batch size. Out: a step that counts.

Aligned, as published: 50 word pieces with as many frames of 20 video and 5 audio features. Unaligned rows have up to
500 and 375 frames instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle

import torch
from noise import ALIGNED, FULL, POOL, STATES, UNALIGNED, WIDTHS, batches
from plain_dmd import DMD
from rows_lnln import ENCODER, plain_bert
from torch import Tensor, nn

from lacuna.compute import linear
from lacuna.compute.device import keep_memory
from lacuna.data.batches import Batch, InputSpec
from lacuna.models import dmd
from lacuna.models.parts.text import pad_to
from lacuna.train.trainer import Settings, _optimizer

LETTERS = {"l": "text", "v": "vision", "a": "audio"}


@dataclass(frozen=True)
class Row:
    """Without settings it is the plain published form."""

    label: str
    settings: dmd.Settings | None = None
    real_lengths: bool = False
    bf16: bool = False
    aligned: bool = True
    encoded: bool = True  # here, from token ids; else text is hidden states

    @property
    def widths(self) -> dict[str, int]:
        return WIDTHS if self.encoded else STATES

    @property
    def lengths(self) -> dict[str, int]:
        return ALIGNED if self.aligned else UNALIGNED


ROWS = {
    "plain": Row("plain published form, full length"),
    "published": Row("ours, published settings, full length", dmd.PUBLISHED),
    "mended": Row("ours, defaults, full length", dmd.Settings()),
    "real": Row("ours, defaults, real lengths, bucketed", dmd.Settings(), real_lengths=True),
    "real-bf16": Row("  the same in bf16", dmd.Settings(), real_lengths=True, bf16=True),
    "states": Row("plain published form, text as hidden states (no encoder), full length", encoded=False),
    "states-published": Row("  ours, published settings", dmd.PUBLISHED, encoded=False),
    "states-mended": Row("  ours, defaults", dmd.Settings(), encoded=False),
    "states-real": Row("  ours, defaults, real lengths, bucketed", dmd.Settings(), True, encoded=False),
    "unaligned": Row("plain published form, unaligned, full length", aligned=False),
    "unaligned-mended": Row("ours, defaults, unaligned, full length", dmd.Settings(), aligned=False),
    "unaligned-real": Row("ours, defaults, unaligned, real lengths", dmd.Settings(), True, aligned=False),
}


def base(name: str) -> str:
    """The row that a row's ratio is to."""
    return "unaligned" if not ROWS[name].aligned else "plain" if ROWS[name].encoded else "states"


def step(name: str, size: int, device: str) -> Callable[[], int]:
    """One optimiser step of a row on its next batch; the function returns how many samples it took."""
    row = ROWS[name]
    torch.manual_seed(0)
    model, loss = (_ours if row.settings else _plain)(row, device)
    plain = torch.optim.Adam(model.parameters(), 1e-4)
    optimizer = _optimizer(model, Settings(**dmd.TRAINING)) if row.settings else plain
    data = cycle([batch.to(device) for batch in batches(row.lengths, size, row.real_lengths, row.widths)])

    def run() -> int:
        batch = next(data)
        with torch.autocast(device, torch.bfloat16, enabled=row.bf16):
            total = loss(batch)
        total.backward()
        nn.utils.clip_grad_value_(model.parameters(), dmd.TRAINING["clip_value"])
        optimizer.step()
        optimizer.zero_grad()
        return len(batch)

    return run


def steps(name: str) -> int:
    """Steps that are one fair measurement: all buckets, where lengths differ."""
    if not ROWS[name].aligned and not ROWS[name].settings:
        return 1  # half a minute each
    return POOL if ROWS[name].real_lengths else FULL


def _ours(row: Row, device: str) -> tuple[nn.Module, Callable[[Batch], Tensor]]:
    keep_memory()  # as the trainer does
    spec = InputSpec(row.widths, row.lengths, tokens=row.encoded, clips=1284)
    model = dmd.Model(replace(row.settings, encoder=ENCODER if row.encoded else "embedded"), spec).to(device).train()

    def loss(batch: Batch) -> Tensor:
        with linear.fast(torch.device(device)):
            return model.loss(batch, batch, 1)["loss"]

    return model, loss


def _plain(row: Row, device: str) -> tuple[nn.Module, Callable[[Batch], Tensor]]:
    bert = plain_bert() if row.encoded else None
    lengths = {letter: row.lengths[m] for letter, m in LETTERS.items()}
    model = DMD({"l": 768, "v": 20, "a": 5}, lengths, bert).to(device).train()

    def loss(batch: Batch) -> Tensor:
        inputs = {letter: pad_to(batch[m], row.lengths[m]).values for letter, m in LETTERS.items()}
        if bert:
            inputs["l"] = inputs["l"].transpose(1, 2)
        return model.loss(inputs, batch.labels["M"])["loss"]

    return model, loss
