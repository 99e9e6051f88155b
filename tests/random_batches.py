"""Random batches for tests of models: any modalities, widths and lengths, tokens or embeddings, scores or classes."""

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch

from lacuna.data.batches import Batch, InputSpec, Padded

TINY_BERT = {  # what layers.TextEncoder builds a small random BERT from
    "source": "tiny",
    "config": {
        "model_type": "bert",
        "vocab_size": 200,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    },
    "unknown": 100,
    "padding": 0,
}
LENGTHS = {"text": [6, 3, 1, 5], "audio": [9, 2, 12, 1], "vision": [7, 1, 3, 10], "image": [1, 4, 2, 4]}


def random_spec(widths: Mapping[str, int], tokens: bool = False, classes: int = 0, longest: int = 14) -> InputSpec:
    widths = dict(widths) | ({"text": 3} if tokens else {})
    return InputSpec(widths, dict.fromkeys(widths, longest), tokens, classes)


def random_batch(spec: InputSpec, lengths: Mapping[str, Sequence[int]] = LENGTHS, seed: int = 0) -> Batch:
    """Real frames are normal numbers (or ids), one in five of them lost; padding is zeros."""
    generator = torch.Generator().manual_seed(seed)
    modalities = {m: _padded(m, spec, list(lengths[m]), generator) for m in spec.widths}
    count = len(next(iter(modalities.values())).values)
    if spec.classes:
        labels = torch.randint(spec.classes, (count,), generator=generator).float()
    else:
        labels = torch.randint(-3, 4, (count,), generator=generator).float()
    return Batch(tuple(str(i) for i in range(count)), modalities, {"M": labels})


def _padded(modality: str, spec: InputSpec, lengths: list[int], generator: torch.Generator) -> Padded:
    shape = (len(lengths), max(lengths))
    lengths_B = torch.tensor(lengths)
    real_BT = torch.arange(shape[1]) < lengths_B[:, None]
    seen_BT = real_BT & (torch.rand(shape, generator=generator) > 0.2)
    if modality == "text" and spec.tokens:
        ids_BT = torch.randint(101, 200, shape, generator=generator)
        values = torch.stack([torch.where(seen_BT, ids_BT, -1), torch.ones_like(ids_BT), torch.zeros_like(ids_BT)], -1)
        values = values * real_BT[..., None]
    else:
        values = torch.randn(*shape, spec.widths[modality], generator=generator) * seen_BT[..., None]
    return Padded(values, torch.arange(shape[1]).expand(shape).float(), seen_BT, lengths_B)


def padded_longer(batch: Batch, by: int = 3) -> Batch:
    """The same samples with more padding, and rubbish in it."""
    return replace(batch, modalities={m: _longer(p, by) for m, p in batch.modalities.items()})


def _longer(padded: Padded, by: int) -> Padded:
    values = torch.nn.functional.pad(padded.values, (0, 0, 0, by))
    times, seen = (torch.nn.functional.pad(x, (0, by)) for x in (padded.times, padded.seen))
    longer = Padded(values, times, seen, padded.lengths)
    rubbish = 7 if values.is_floating_point() else 150
    return replace(longer, values=torch.where(longer.real[..., None], values, rubbish))


def rows(batch: Batch, chosen: Sequence[int]) -> Batch:
    """Some of the samples, as they stand: what a sample is told must not depend on who shares its batch."""
    chosen = list(chosen)
    modalities = {
        m: Padded(p.values[chosen], p.times[chosen], p.seen[chosen], p.lengths[chosen])
        for m, p in batch.modalities.items()
    }
    labels = {name: value[chosen] for name, value in batch.labels.items()}
    return Batch(tuple(batch.ids[i] for i in chosen), modalities, labels)


def trimmed(batch: Batch) -> Batch:
    """The same samples without a frame of padding that all share."""
    modalities = {}
    for m, p in batch.modalities.items():
        most = int(p.lengths.max())
        modalities[m] = Padded(p.values[:, :most], p.times[:, :most], p.seen[:, :most], p.lengths)
    return replace(batch, modalities=modalities)


def benchmark(name: str) -> ModuleType:
    """A module of benchmarks/, which is no package."""
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def assert_same(
    plain: torch.nn.Module, ours: torch.nn.Module, losses: tuple[dict, dict], rename: Callable[[dict], dict]
) -> None:
    """Loss terms that both tell, and the gradient of every parameter."""
    theirs, told = losses
    for name in theirs.keys() & told.keys():
        torch.testing.assert_close(told[name], theirs[name], rtol=1e-5, atol=1e-6, msg=name)
    for terms in losses:
        terms["loss"].backward()
    expected = rename({name: p.grad for name, p in plain.named_parameters() if p.grad is not None})
    got = {name: p.grad for name, p in ours.named_parameters()}
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        error = float((got[name] - gradient).norm())
        assert error <= 1e-4 * float(gradient.norm()) + 1e-8, name
