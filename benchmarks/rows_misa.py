"""What is timed of MISA, on the noise of `rows_lnln`. In: a row and a batch size. Out: a step that counts samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle

import rows_lnln
import torch
from plain_misa import MISA
from rows_lnln import BERT, ENCODER, SPEC
from torch import Tensor, nn

from lacuna import pretrained
from lacuna.batches import Batch
from lacuna.models import misa
from lacuna.training import Settings, _optimizer

BASE = "plain"  # what the ratios are to
steps = rows_lnln.steps
WIDTHS = {"t": 768, "v": 20, "a": 5}


@dataclass(frozen=True)
class Row:
    """`plain`: the published form; `ours` otherwise."""

    label: str
    settings: misa.Settings | None = None
    real_lengths: bool = False
    bf16: bool = False


ROWS = {
    "plain": Row("plain published form, full length"),
    "published": Row("ours, published settings, full length", misa.PUBLISHED),
    "mended": Row("ours, defaults (frames after the text's end are read too), full length", misa.Settings()),
    "published-real": Row("ours, published settings (the same maths), real lengths", misa.PUBLISHED, True),
    "real": Row("ours, defaults, real lengths", misa.Settings(), real_lengths=True),
    "real-bf16": Row("  the same in bf16", misa.Settings(), real_lengths=True, bf16=True),
}


def step(name: str, size: int, device: str) -> Callable[[], int]:
    """One optimiser step of a row on its next batch; the function returns how many samples it took."""
    row = ROWS[name]
    torch.manual_seed(0)
    model, loss = (_ours if row.settings else _plain)(row, device)
    plain = torch.optim.Adam(model.parameters(), 1e-4)
    optimizer = _optimizer(model, Settings(**misa.TRAINING)) if row.settings else plain
    batches = cycle([lossy.to(device) for lossy, _ in rows_lnln._batches(row, size)])

    def run() -> int:
        batch = next(batches)
        with torch.autocast(device, torch.bfloat16, enabled=row.bf16):
            total = loss(batch)
        total.backward()
        nn.utils.clip_grad_value_(model.parameters(), misa.TRAINING["clip_value"])
        optimizer.step()
        optimizer.zero_grad()
        return len(batch)

    return run


def _ours(row: Row, device: str) -> tuple[nn.Module, Callable[[Batch], Tensor]]:
    model = misa.Model(replace(row.settings, encoder=ENCODER), SPEC).to(device).train()
    return model, lambda batch: model.loss(batch, batch, 1)["loss"]


def _plain(row: Row, device: str) -> tuple[nn.Module, Callable[[Batch], Tensor]]:
    transformers = pretrained.import_transformers()
    bert = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**BERT), attn_implementation="eager")
    model = MISA(WIDTHS, bert).to(device).train()

    def loss(batch: Batch) -> Tensor:
        inputs = rows_lnln._inputs(batch)
        mask = nn.functional.pad(batch["text"].real.float(), (0, inputs["l"].shape[2] - batch["text"].values.shape[1]))
        return model.loss({"t": inputs["l"], "v": inputs["v"], "a": inputs["a"]}, mask, batch.labels["M"])["loss"]

    return model, loss
