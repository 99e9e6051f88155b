"""Models of the installed MMSA, unedited and without dropout. In: a name and a data set. Out: a module to compare with.

Random weights and a random BERT of one layer, as wide as the hub's, serve: what is compared is a function of both.
"""

import functools
import importlib
import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from lacuna.data.batches import Batch
from lacuna.storage import pretrained
from parity import harness

needs_mmsa = pytest.mark.skipif(
    not importlib.util.find_spec("MMSA"), reason="NO PARITY CHECKED: the extra `test` installs MMSA"
)
DATASETS = ("mosi", "mosei", "sims")
ROOMS = {"self_mm": "multiTask", "tfr_net": "missingTask"}  # of MMSA.models; others: singleTask
VOCABULARY = 200


@functools.cache
def tiny_bert() -> str:
    """A folder with a BERT of random weights."""
    transformers = pretrained.import_transformers()
    folder = Path(tempfile.mkdtemp())
    words = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"w{i}" for i in range(VOCABULARY - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=768, num_hidden_layers=1, num_attention_heads=12, intermediate_size=64
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return str(folder)


@dataclass(frozen=True)
class Live:
    """A published model, the settings it was built from, and the shapes it reads: {modality: (T, W)}."""

    model: nn.Module
    settings: SimpleNamespace
    shapes: dict[str, tuple[int, int]]


def build(name: str, dataset: str, seed: int = 0, **changes: object) -> Live:
    """MMSA's model with its settings for a data set, its parameters drawn with `seed`."""
    pretrained.import_transformers()  # before MMSA imports it: see import_torchvision
    from MMSA.config import get_config_regression

    settings = get_config_regression(name, dataset)
    settings.update({"device": "cpu", "train_mode": "regression", "pretrained": tiny_bert()} | changes)
    for key in settings:
        if "dropout" in key or key == "fusion_drop":
            settings[key] = [0.0] * 4 if isinstance(settings[key], list) else 0.0
    if name == "tfr_net":  # the only one that does not hand `pretrained` on
        from MMSA.models.subNets import BertTextEncoder

        BertTextEncoder.__init__.__defaults__ = (False, "bert", tiny_bert())
    torch.manual_seed(seed)
    room = importlib.import_module(f"MMSA.models.{ROOMS.get(name, 'singleTask')}.{name.upper()}")
    model = getattr(room, name.upper())(settings)
    shapes = dict(zip(("text", "audio", "vision"), zip(settings.seq_lens, settings.feature_dims)))
    return Live(model, settings, shapes)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """By name, of the parameters that have one."""
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def batch_of(
    live: Live, frames: dict[str, int], lengths: dict[str, list[int]], seed: int = 1, tokens: bool = False
) -> Batch:
    """Normal numbers (of text: token ids) up to each sample's length, zeros behind it; labels of both signs."""
    generator = torch.Generator().manual_seed(seed)
    modalities = {}
    for m, (_, width) in live.shapes.items():
        lengths_B = torch.tensor(lengths[m])
        real_BT = torch.arange(frames[m]) < lengths_B[:, None]
        values_BTW = torch.randn(len(lengths_B), frames[m], width, generator=generator)
        if m == "text" and tokens:
            ids_BT = torch.randint(104, VOCABULARY, real_BT.shape, generator=generator)
            values_BTW = torch.stack([ids_BT, torch.ones_like(ids_BT), torch.zeros_like(ids_BT)], -1)
        modalities[m] = harness.padded(values_BTW * real_BT[..., None], lengths_B)
    labels_B = torch.tensor([1.4, -0.6, 0.0, -2.8])[: len(lengths_B)]
    return harness.batch_of(modalities, {"M": labels_B})
