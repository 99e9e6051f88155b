"""What is timed of LNLN. In: a row's name and a batch size. Out: a function that trains one step and tells its samples.

The data are noise of MOSI's shape, masked by the pattern `mixed`: 50 word pieces, 500 x 20 video and 375 x 5 audio
features at most. Full rows fill these lengths. Real rows draw segments like MOSI's: 4.2 s and 12 words on the mean,
30 video and 22.5 audio frames a second. Text goes through a random BERT of base width and 2 layers, which learns too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle
from types import ModuleType

import numpy as np
import plain_lnln
import torch
from plain_lnln import LNLN, attention
from torch import Tensor, nn
from torch.nn import functional as F

from lacuna.compute import linear
from lacuna.compute.device import keep_memory
from lacuna.data.batches import Batch, InputSpec, collate
from lacuna.data.samples import LOST_TOKEN, TOKEN_COLUMNS, Sample
from lacuna.mask.mask import mask
from lacuna.models import lnln
from lacuna.models.parts.text import pad_to
from lacuna.patterns import frames, mixed
from lacuna.storage import pretrained
from lacuna.train.trainer import Settings, _optimizer
from lacuna.types import Clip, FeatureSequence

WIDTHS = {"text": 3, "audio": 5, "vision": 20}
LENGTHS = {"text": 50, "audio": 375, "vision": 500}
STATES = WIDTHS | {"text": 768}  # text as hidden states, which no encoder need make
LETTERS = {"l": "text", "v": "vision", "a": "audio"}
BERT = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 2,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}
ENCODER = {"source": "random", "config": BERT, "unknown": 100, "padding": 0}
POOL = 16  # batches that are bucketed together, as training.BUCKET


DEFAULTS = lnln.Settings()


@dataclass(frozen=True)
class Row:
    """`plain`: the published form; `fused`: with torch's attention in it; `ours` otherwise."""

    label: str
    form: str = "ours"
    settings: lnln.Settings = DEFAULTS
    real_lengths: bool = False
    bf16: bool = False
    pattern: ModuleType = mixed
    encoded: bool = True  # here, from token ids; else text is hidden states
    products: bool = True  # of `compute.linear`, where they gain


ROWS = {
    "plain": Row("plain published form, full length", "plain"),
    "fused": Row("  the same with torch's fused attention", "fused"),
    "published": Row("ours, published settings, full length", settings=lnln.PUBLISHED),
    "mended": Row("ours, defaults, full length"),
    "lossy": Row("  the same, every clip loses frames", pattern=frames),
    "mended-torch": Row("  the same with torch's own products alone", products=False),
    "mended-bf16": Row("  the same in bf16", bf16=True),
    "real": Row("ours, defaults, real lengths, bucketed", real_lengths=True),
    "real-bf16": Row("  the same in bf16", real_lengths=True, bf16=True),
    "states": Row("plain published form, text as hidden states (no encoder), full length", "plain", encoded=False),
    "states-published": Row("  ours, published settings", settings=lnln.PUBLISHED, encoded=False),
    "states-mended": Row("  ours, defaults", encoded=False),
    "states-real": Row("  ours, defaults, real lengths, bucketed", real_lengths=True, encoded=False),
}
FULL = 4  # batches of a full-length row, which all cost the same


def base(name: str) -> str:
    """The row that a row's ratio is to."""
    return "plain" if ROWS[name].encoded else "states"


def step(name: str, size: int, device: str) -> Callable[[], int]:
    """One optimiser step of a row on its next batch; the function returns how many samples it took."""
    row = ROWS[name]
    torch.manual_seed(0)
    model, loss = (_plain if row.form != "ours" else _ours)(row, device)
    plain = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=1e-4)
    optimizer = _optimizer(model, Settings(**lnln.TRAINING)) if row.form == "ours" else plain
    batches = cycle([(lossy.to(device), whole.to(device)) for lossy, whole in _batches(row, size)])

    def run() -> int:
        lossy, whole = next(batches)
        with torch.autocast(device, torch.bfloat16, enabled=row.bf16):
            total = loss(lossy, whole)
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        return len(lossy)

    return run


def steps(name: str) -> int:
    """Steps that are one fair measurement: all buckets, where lengths differ."""
    return POOL if ROWS[name].real_lengths else FULL


def _ours(row: Row, device: str) -> tuple[nn.Module, Callable[[Batch, Batch], Tensor]]:
    keep_memory()  # as the trainer does
    spec = InputSpec(WIDTHS if row.encoded else STATES, LENGTHS, tokens=row.encoded, clips=1284)
    settings = replace(row.settings, encoder=ENCODER if row.encoded else "embedded")
    model = lnln.Model(settings, spec).to(device).train()
    if not row.products:
        linear.SMALL = sys.maxsize

    def loss(lossy: Batch, whole: Batch) -> Tensor:
        with linear.fast(torch.device(device)):
            return model.loss(lossy, whole, 1)["loss"]

    return model, loss


def _plain(row: Row, device: str) -> tuple[nn.Module, Callable[[Batch, Batch], Tensor]]:
    bert = plain_bert("eager" if row.form == "plain" else "sdpa") if row.encoded else None
    plain_lnln.attention = attention if row.form == "plain" else _fused
    model = LNLN({"l": 768, "v": 20, "a": 5}, {x: LENGTHS[m] for x, m in LETTERS.items()}, bert).to(device).train()

    def loss(lossy: Batch, whole: Batch) -> Tensor:
        completeness = lossy["text"].seen.float().mean(1)
        return model.loss(_inputs(lossy), _inputs(whole), lossy.labels["M"], completeness)["loss"]

    return model, loss


def plain_bert(attention: str = "eager") -> nn.Module:
    """The encoder of the plain forms."""
    transformers = pretrained.import_transformers()
    return transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**BERT), attn_implementation=attention)


def _fused(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _inputs(batch: Batch) -> dict[str, Tensor]:
    """What published code is given: full lengths, token ids as (B, 3, T)."""
    padded = {letter: pad_to(batch[m], LENGTHS[m]) for letter, m in LETTERS.items()}
    values = {letter: p.values for letter, p in padded.items()}
    if values["l"].shape[2] != WIDTHS["text"]:
        return values
    text = values["l"].transpose(1, 2)
    return values | {"l": text.masked_fill(text == LOST_TOKEN, 100)}


def _batches(row: Row, size: int) -> list[tuple[Batch, Batch]]:
    """(lossy, complete) pairs; real lengths are sorted within a pool, as training does."""
    rng = np.random.default_rng(0)
    count = POOL * size if row.real_lengths else FULL * size
    samples = [_sample(rng, i, row) for i in range(count)]
    if row.real_lengths:
        samples.sort(key=lambda s: sum(len(f) for f in s.features.values()))
    parts = [samples[i : i + size] for i in range(0, count, size)]
    pairs = [(collate([mask(s, row.pattern, 0.5, 0) for s in part]), collate(part)) for part in parts]
    return [pairs[i] for i in rng.permutation(len(pairs))]


def _sample(rng: np.random.Generator, index: int, row: Row) -> Sample:
    lengths, widths = LENGTHS, WIDTHS if row.encoded else STATES
    if row.real_lengths:
        seconds = float(rng.lognormal(1.2, 0.65))  # mean 4.1, a tenth above 7.6, as MOSI's segments
        most = {"text": 2 + 3.4 * seconds, "audio": 22.5 * seconds, "vision": 30 * seconds}
        lengths = {m: int(np.clip(n, 3, LENGTHS[m])) for m, n in most.items()}
    features = {}
    for modality, length in lengths.items():
        times, seen = np.arange(length) / 30, np.ones(length, bool)
        if widths[modality] == len(TOKEN_COLUMNS):
            ids = rng.integers(1000, 30000, length)
            values = np.stack([ids, np.ones(length), np.zeros(length)], 1).astype(np.int64)
            features[modality] = FeatureSequence(values, times, seen, TOKEN_COLUMNS)
        else:
            values = rng.normal(size=(length, widths[modality])).astype(np.float32)
            features[modality] = FeatureSequence(values, times, seen, tuple(map(str, range(widths[modality]))))
    return Sample(Clip(str(index), "noise", "train", "", {"M": float(rng.normal())}), features)
