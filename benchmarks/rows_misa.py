"""What is timed of MISA, on noise of MOSI's shape. In: a row's name and a batch size. Out: a step that counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import cycle

import torch
from noise import FULL, POOL, STATES, UNALIGNED, WIDTHS, batches
from plain_misa import MISA
from rows_lnln import ENCODER, plain_bert
from torch import Tensor, nn

from lacuna.compute import linear
from lacuna.compute.device import keep_memory
from lacuna.data.batches import Batch, InputSpec
from lacuna.models import misa
from lacuna.models.parts.text import pad_to
from lacuna.train.trainer import Settings, _optimizer

FACE = WIDTHS | {"vision": 709}


@dataclass(frozen=True)
class Row:
    """`plain`: the published form; `ours` otherwise."""

    label: str
    settings: misa.Settings | None = None
    real_lengths: bool = False
    bf16: bool = False
    widths: dict[str, int] = field(default_factory=WIDTHS.copy)


ROWS = {
    "plain": Row("plain published form, full length"),
    "published": Row("ours, published settings, full length", misa.PUBLISHED),
    "mended": Row("ours, defaults (frames after the text's end are read too), full length", misa.Settings()),
    "published-real": Row("ours, published settings (the same maths), real lengths", misa.PUBLISHED, True),
    "real": Row("ours, defaults, real lengths", misa.Settings(), real_lengths=True),
    "real-bf16": Row("  the same in bf16", misa.Settings(), real_lengths=True, bf16=True),
    "states": Row("plain published form, text as hidden states (no encoder), full length", widths=STATES),
    "states-published": Row("  ours, published settings", misa.PUBLISHED, widths=STATES),
    "states-mended": Row("  ours, defaults", misa.Settings(), widths=STATES),
    "states-real": Row("  ours, defaults, real lengths", misa.Settings(), True, widths=STATES),
    "face": Row("plain published form, 709 columns of a face, full length", widths=FACE),
    "face-published": Row("ours, published settings, 709 columns, full length", misa.PUBLISHED, widths=FACE),
    "face-mended": Row("ours, defaults, 709 columns, full length", misa.Settings(), widths=FACE),
    "face-real": Row("ours, defaults, 709 columns, real lengths", misa.Settings(), True, widths=FACE),
}


def base(name: str) -> str:
    """The row that a row's ratio is to."""
    return {FACE["vision"]: "face", STATES["text"]: "states"}.get(max(ROWS[name].widths.values()), "plain")


def step(name: str, size: int, device: str) -> Callable[[], int]:
    """One optimiser step of a row on its next batch; the function returns how many samples it took."""
    row = ROWS[name]
    torch.manual_seed(0)
    model, loss = (_ours if row.settings else _plain)(row, device)
    plain = torch.optim.Adam(model.parameters(), 1e-4)
    optimizer = _optimizer(model, Settings(**misa.TRAINING)) if row.settings else plain
    data = cycle([batch.to(device) for batch in batches(UNALIGNED, size, row.real_lengths, row.widths)])

    def run() -> int:
        batch = next(data)
        with torch.autocast(device, torch.bfloat16, enabled=row.bf16):
            total = loss(batch)
        total.backward()
        nn.utils.clip_grad_value_(model.parameters(), misa.TRAINING["clip_value"])
        optimizer.step()
        optimizer.zero_grad()
        return len(batch)

    return run


def steps(name: str) -> int:
    """Steps that are one fair measurement: all buckets, where lengths differ."""
    if ROWS[name].widths == FACE:
        return POOL if ROWS[name].real_lengths else 1  # a quarter of a minute each
    return POOL if ROWS[name].real_lengths else FULL


def _ours(row: Row, device: str) -> tuple[nn.Module, Callable[[Batch], Tensor]]:
    keep_memory()  # as the trainer does
    tokens = row.widths != STATES
    spec = InputSpec(row.widths, UNALIGNED, tokens=tokens, clips=1284)
    settings = replace(row.settings, encoder=ENCODER if tokens else "embedded")
    model = misa.Model(settings, spec).to(device).train()

    def loss(batch: Batch) -> Tensor:
        with linear.fast(torch.device(device)):
            return model.loss(batch, batch, 1)["loss"]

    return model, loss


def _plain(row: Row, device: str) -> tuple[nn.Module, Callable[[Batch], Tensor]]:
    bert = None if row.widths == STATES else plain_bert()
    model = MISA({"t": 768, "v": row.widths["vision"], "a": row.widths["audio"]}, bert).to(device).train()

    def loss(batch: Batch) -> Tensor:
        padded = {m: pad_to(batch[m], most) for m, most in UNALIGNED.items()}
        inputs = {m[0]: p.values.transpose(1, 2) if m == "text" and bert else p.values for m, p in padded.items()}
        return model.loss(inputs, padded["text"].real.float(), batch.labels["M"])["loss"]

    return model, loss
