"""Fine-tune ResNet50 and a text encoder on a dataset's own train split, before features are extracted with them.

In: clips. Out: `resnet50.safetensors` (extractor `resnet50`, `weights`: that file), `bert/` (extractors `bert` and
`tokens`, `source`: that folder) and `history.json`. The weights of the best validation loss are kept; `test` is never
looked at.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lacuna.compute.device import autocast, dtype_of
from lacuna.extractors import _resnet, _text
from lacuna.media import decode
from lacuna.storage import pretrained
from lacuna.storage.files import replacing
from lacuna.types import Clip, MalformedInput, require_words

LOG = logging.getLogger(__name__)

Task = Literal["polarity", "class", "regression"]
Part = Literal["image", "text"]
PICTURES = 8  # threads that decode pictures


@dataclass(frozen=True)
class Settings:
    """What is tuned and how; rates and epochs are the author's (Adam 5e-4, AdamW 1e-5, 5 epochs each)."""

    parts: tuple[Part, ...] = ("image", "text")
    task: Task = "polarity"
    balance: bool = False  # classes weigh as if they were equally many
    seed: int = 7
    batch_size: int = 32
    precision: str = "auto"  # auto (bf16 on a GPU that has it) | fp32 | bf16
    weights: str = "imagenet"  # where ResNet50 starts: imagenet, random or a file
    size: int = 224  # px
    image_epochs: int = 5
    image_rate: float = 5e-4
    source: str = pretrained.EMBEDDED  # where the text encoder starts: a hub id, a directory or embedded
    max_length: int = 50
    clean: tuple[str, ...] = ()  # as the text extractors': retweets, links, mentions, hashtags, hashes, case
    text_epochs: int = 5
    text_rate: float = 1e-5

    def __post_init__(self) -> None:
        if not self.parts or set(self.parts) - set(get_args(Part)):
            raise MalformedInput(f"finetune.parts: expected any of {', '.join(get_args(Part))}; got {self.parts}")
        require_words(self)
        for name in ("batch_size", "image_epochs", "text_epochs"):
            if getattr(self, name) < 1:
                raise MalformedInput(f"finetune.{name}: expected at least 1, got {getattr(self, name)}")
        if self.size < 32 or self.size % 32:
            raise MalformedInput(f"finetune.size: expected a multiple of 32 px, got {self.size}")
        _text.check_length(self.max_length)
        _text.check_cleaning(self.clean)


Row = dict[str, float]  # one epoch: epoch, train_loss, valid_loss, valid_accuracy (classes alone)
Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class _Job:
    """A network with its head, and how a batch of some clips is made (the last argument: for training)."""

    name: str
    network: nn.Module
    batch: Callable[[Sequence[Clip], np.random.Generator | None], Batch]
    optimizer: torch.optim.Optimizer
    epochs: int


def finetune(
    clips: Sequence[Clip], settings: Settings, out_dir: Path, device: torch.device | str = "cpu"
) -> dict[str, list[Row]]:
    """Tune what `settings.parts` names and write it into `out_dir`; {part: one row an epoch}."""
    out_dir.mkdir(parents=True, exist_ok=True)
    tuners = {"image": _tune_image, "text": _tune_text}
    history: dict[str, list[Row]] = {
        part: tuners[part](clips, settings, out_dir, torch.device(device)) for part in settings.parts
    }
    with replacing(out_dir / "history.json") as temporary:
        temporary.write_text(json.dumps({"settings": asdict(settings), "epochs": history}, indent=1), encoding="utf-8")
    return history


def _tune_image(clips: Sequence[Clip], settings: Settings, out_dir: Path, device: torch.device) -> list[Row]:
    with_pictures = [clip for clip in clips if clip.path is not None]
    labels = _Labels.of(with_pictures, settings)
    torch.manual_seed(settings.seed)
    network = _resnet.network(settings.weights, settings.seed)
    network.fc = nn.Linear(2048, labels.outputs)
    # torch's overloads leave `memory_format` out.
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), settings.image_rate)
    with ThreadPoolExecutor(PICTURES) as pool:

        def batch(some: Sequence[Clip], generator: np.random.Generator | None) -> Batch:
            draws = [None if generator is None else generator.random(3) for _ in some]
            pixels = np.stack(list(pool.map(_picture, some, draws, [settings.size] * len(some))))
            return (_resnet.normalized(torch.from_numpy(pixels).to(device, non_blocking=True), "float32"),)

        rows = _fit(_Job("image", network, batch, optimizer, settings.image_epochs), labels, settings, device)
    network.fc = nn.Identity()
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with replacing(out_dir / "resnet50.safetensors") as temporary:
        safetensors.torch.save_file(state, temporary)
    return rows


def _picture(clip: Clip, draw: np.ndarray | None, size: int) -> np.ndarray:
    """(size, size, 3) uint8; with three draws in [0, 1): a crop at a random place, flipped half of the time."""
    if clip.path is None:
        raise MalformedInput(f"{clip.id}: expected a picture, got none")
    image = decode.image(clip.path)
    if draw is None:
        return _resnet.resized(image, size)
    larger = _resnet.resized(image, round(size * 1.15))
    left, top = (int(d * (len(larger) - size + 1)) for d in draw[:2])
    crop = larger[top : top + size, left : left + size]
    return crop[:, ::-1] if draw[2] < 0.5 else crop


class _TextNetwork(nn.Module):
    """The encoder, the mean over its real tokens, dropout and a linear layer."""

    def __init__(self, encoder: nn.Module, width: int, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, outputs))

    def forward(self, ids_BT: Tensor, mask_BT: Tensor, segments_BT: Tensor) -> Tensor:
        encoded = self.encoder(input_ids=ids_BT, attention_mask=mask_BT, token_type_ids=segments_BT)
        weights_BT1 = mask_BT[..., None].to(encoded.last_hidden_state.dtype)
        return self.head((encoded.last_hidden_state * weights_BT1).sum(1) / weights_BT1.sum(1))


def _tune_text(clips: Sequence[Clip], settings: Settings, out_dir: Path, device: torch.device) -> list[Row]:
    tokenizer = pretrained.tokenizer(settings.source)
    texts = {clip.id: _text.cleaned(clip.text, settings.clean) for clip in clips}
    tokens = dict(zip(texts, _text.encode(tokenizer, list(texts.values()), settings.max_length))) if texts else {}
    labels = _Labels.of([clip for clip in clips if len(tokens[clip.id])], settings)
    torch.manual_seed(settings.seed)
    encoder = pretrained.encoder(settings.source)
    network = _TextNetwork(encoder, encoder.config.hidden_size, labels.outputs).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), settings.text_rate)

    def batch(some: Sequence[Clip], generator: np.random.Generator | None) -> Batch:
        rows = [tokens[clip.id] for clip in some]
        padded_B3T = np.zeros((len(rows), 3, max(map(len, rows))), np.int64)
        padded_B3T[:, 0] = tokenizer.pad_token_id or 0
        for i, row in enumerate(rows):
            padded_B3T[i, :, : len(row)] = row.T
        return torch.from_numpy(padded_B3T).to(device).unbind(1)

    rows = _fit(_Job("text", network, batch, optimizer, settings.text_epochs), labels, settings, device)
    encoder.to("cpu").save_pretrained(out_dir / "bert")
    tokenizer.save_pretrained(out_dir / "bert")
    return rows


@dataclass(frozen=True)
class _Labels:
    """The labelled clips of train and valid, and what is to be told of them: classes, or one score."""

    train: list[Clip]
    valid: list[Clip]
    classes: int
    polarity: bool
    weights: Tensor | None

    @classmethod
    def of(cls, clips: Sequence[Clip], settings: Settings) -> _Labels:
        train, valid = (
            [c for c in clips if c.split == split and math.isfinite(c.label)] for split in ("train", "valid")
        )
        for split, some in (("train", train), ("valid", valid)):
            if not some:
                raise MalformedInput(f"finetune: split {split}: expected at least one labelled clip, got none")
        polarity = settings.task == "polarity"
        classes = {"polarity": 3, "regression": 0}.get(settings.task, int(max(c.label for c in (*train, *valid))) + 1)
        labels = cls(train, valid, classes, polarity, None)
        if not (settings.balance and classes):
            return labels
        counts = torch.bincount(labels.targets(train), minlength=classes).clamp(min=1)
        return cls(train, valid, classes, polarity, len(train) / (classes * counts.float()))

    @property
    def outputs(self) -> int:
        return self.classes or 1

    def targets(self, clips: Sequence[Clip]) -> Tensor:
        scores = torch.tensor([clip.label for clip in clips], dtype=torch.float32)
        if not self.classes:
            return scores
        return (scores.sign() + 1 if self.polarity else scores).long()

    def loss(self, outputs_BK: Tensor, clips: Sequence[Clip]) -> Tensor:
        targets_B = self.targets(clips).to(outputs_BK.device)
        if not self.classes:
            return F.mse_loss(outputs_BK[:, 0], targets_B)
        weights = None if self.weights is None else self.weights.to(outputs_BK.device)
        return F.cross_entropy(outputs_BK, targets_B, weights)


def _fit(job: _Job, labels: _Labels, settings: Settings, device: torch.device) -> list[Row]:
    """Train the job's network in place and leave it with the weights of its best validation loss."""
    rows: list[Row] = []
    best: dict[str, Tensor] = {}
    for epoch in range(1, job.epochs + 1):
        torch.manual_seed(settings.seed * 1000 + epoch)
        generator = np.random.default_rng([settings.seed, epoch])
        order = [labels.train[i] for i in generator.permutation(len(labels.train))]
        began = time.perf_counter()
        train_loss = _train(job, order, labels, generator, settings, device)
        rate = len(order) / (time.perf_counter() - began)
        row = {"epoch": epoch, "train_loss": train_loss} | _validate(job, labels, settings, device)
        rows.append(row)
        if row["valid_loss"] <= min(r["valid_loss"] for r in rows):
            best = copy.deepcopy({name: value.cpu() for name, value in job.network.state_dict().items()})
        told = ", ".join(f"{k} {v:.4g}" for k, v in row.items())
        memory = f", {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB" if device.type == "cuda" else ""
        LOG.info("finetune %s: %s, %.1f clips/s%s", job.name, told, rate, memory)
    if not best:
        raise MalformedInput(f"finetune {job.name}: expected a finite validation loss, got none in {job.epochs} epochs")
    job.network.load_state_dict(best)
    job.network.eval()
    return rows


def _train(
    job: _Job,
    order: Sequence[Clip],
    labels: _Labels,
    generator: np.random.Generator,
    settings: Settings,
    device: torch.device,
) -> float:
    """One epoch; the mean loss."""
    job.network.train()
    total = 0.0
    # A last batch of one has no variance for the batch norms: it waits for the next epoch's order.
    batches = [some for some in _batches(order, settings.batch_size) if len(some) > 1 or len(order) == 1]
    for some, inputs in tqdm(_ahead(job, batches, generator), f"tuning {job.name}", len(batches), unit="batch"):
        with autocast(dtype_of(settings.precision, device), device):
            outputs_BK = job.network(*inputs)
        loss = labels.loss(outputs_BK.float(), some)
        loss.backward()
        job.optimizer.step()
        job.optimizer.zero_grad(set_to_none=True)
        total += float(loss.detach()) * len(some)
    return total / sum(map(len, batches))


@torch.no_grad()
def _validate(job: _Job, labels: _Labels, settings: Settings, device: torch.device) -> Row:
    job.network.eval()
    outputs = []
    for _, inputs in _ahead(job, list(_batches(labels.valid, settings.batch_size)), None):
        with autocast(dtype_of(settings.precision, device), device):
            outputs.append(job.network(*inputs).float().cpu())
    outputs_NK = torch.cat(outputs)
    row = {"valid_loss": float(labels.loss(outputs_NK, labels.valid))}
    if labels.classes:
        row["valid_accuracy"] = float((outputs_NK.argmax(1) == labels.targets(labels.valid)).float().mean())
    return row


def _batches(clips: Sequence[Clip], size: int) -> Iterator[Sequence[Clip]]:
    for start in range(0, len(clips), size):
        yield clips[start : start + size]


def _ahead(
    job: _Job, batches: Sequence[Sequence[Clip]], generator: np.random.Generator | None
) -> Iterator[tuple[Sequence[Clip], Batch]]:
    """Batches, the next of which is made while the last one is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(job.batch, batches[0], generator)
        for some, after in zip(batches, [*batches[1:], None]):
            inputs = coming.result()
            if after is not None:
                coming = pool.submit(job.batch, after, generator)
            yield some, inputs
