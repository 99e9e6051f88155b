"""Fine-tuning: the best validation epoch is kept, test is never opened, and the extractors read what comes out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lacuna.extractors import bert, resnet50, tokens
from lacuna.finetune import networks as module
from lacuna.finetune.networks import Settings, finetune
from lacuna.storage import pretrained
from lacuna.types import Clip, MalformedInput

torch.set_num_threads(1)

WORDS = {-1.0: "bad awful sad", 0.0: "table chair door", 1.0: "good great happy"}
COLOURS = {-1.0: (200, 20, 20), 0.0: (20, 200, 20), 1.0: (20, 20, 200)}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Posts whose words and colours tell their tag; the test split's pictures do not exist."""
    folder = tmp_path_factory.mktemp("posts")
    made = []
    for i in range(36):
        label = (-1.0, 0.0, 1.0)[i % 3]
        split = "train" if i < 24 else "valid" if i < 30 else "test"
        path = folder / f"{i}.png"
        if split != "test":
            noise = np.random.default_rng(i).integers(-20, 20, (40, 48, 3))
            Image.fromarray((np.array(COLOURS[label]) + noise).clip(0, 255).astype(np.uint8)).save(path)
        made.append(Clip(f"data$_${i}", "posts", split, WORDS[label], {"M": label}, path))
    return made


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pretrained.import_transformers()
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *" ".join(WORDS.values()).split()]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def _text_settings(source: Path, **changes: object) -> Settings:
    return replace(Settings(("text",), source=str(source), text_epochs=4, text_rate=1e-2, batch_size=8), **changes)


def test_text_learns_and_the_extractors_read_it(clips: list[Clip], tiny_bert: Path, tmp_path: Path) -> None:
    history = finetune(clips, _text_settings(tiny_bert), tmp_path)
    assert [row["epoch"] for row in history["text"]] == [1, 2, 3, 4]
    assert history["text"][-1]["valid_accuracy"] == 1.0
    assert json.loads((tmp_path / "history.json").read_text())["epochs"] == history
    folder = str(tmp_path / "bert")
    tuned = bert.Extractor(bert.Settings(source=folder))
    before = bert.Extractor(bert.Settings(source=str(tiny_bert)))
    assert tuned.versions()["source"] != before.versions()["source"]
    assert not np.allclose(tuned(clips[0]).values, before(clips[0]).values)
    assert tokens.Extractor(tokens.Settings(source=folder))(clips[0]).values[0, 0] == 2


def test_image_trains_and_the_extractor_reads_it(clips: list[Clip], tmp_path: Path) -> None:
    settings = Settings(("image",), weights="random", size=32, image_epochs=2, batch_size=8, balance=True)
    history = finetune(clips, settings, tmp_path)
    assert history["image"][1]["train_loss"] < history["image"][0]["train_loss"]
    weights = str(tmp_path / "resnet50.safetensors")
    tuned = resnet50.Extractor(resnet50.Settings(weights=weights, size=32))
    sequence = tuned(clips[0])
    assert sequence.values.shape == (1, 2048) and len(tuned.versions()["weights"]) == 64


def test_the_same_seed_gives_the_same_weights(clips: list[Clip], tiny_bert: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        finetune(clips, _text_settings(tiny_bert), tmp_path / name)
    a, b = ((tmp_path / n / "bert" / "model.safetensors").read_bytes() for n in ("a", "b"))
    assert a == b


def test_the_best_validation_epoch_is_kept(
    clips: list[Clip], tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation losses 2, 1, 3, 4: the weights written are those of epoch 2."""
    real, states, losses = module._validate, [], iter([2.0, 1.0, 3.0, 4.0])

    def validate(job: module._Job, *rest: object) -> dict[str, float]:
        states.append({k: v.clone() for k, v in job.network.encoder.state_dict().items()})
        return real(job, *rest) | {"valid_loss": next(losses)}

    monkeypatch.setattr(module, "_validate", validate)
    finetune(clips, _text_settings(tiny_bert), tmp_path)
    kept = pretrained.encoder(str(tmp_path / "bert")).state_dict()
    name = "encoder.layer.0.output.dense.weight"
    assert torch.equal(kept[name], states[1][name]) and not torch.equal(kept[name], states[3][name])


def test_posts_without_words_or_labels_are_passed_over(clips: list[Clip], tiny_bert: Path, tmp_path: Path) -> None:
    odd = [replace(clips[0], id="x", text=""), replace(clips[0], id="y", labels={}, split="unlabelled")]
    history = finetune([*clips, *odd], _text_settings(tiny_bert, text_epochs=1), tmp_path / "odd")
    assert history == finetune(clips, _text_settings(tiny_bert, text_epochs=1), tmp_path / "plain")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"parts": ()}, "parts"),
        ({"parts": ("sound",)}, "parts"),
        ({"task": "vibes"}, "task"),
        ({"size": 100}, "size"),
        ({"text_epochs": 0}, "text_epochs"),
        ({"clean": ("spam",)}, "clean"),
    ],
)
def test_nonsense_is_refused(changes: dict, named: str) -> None:
    with pytest.raises(MalformedInput, match=named):
        Settings(**changes)


def test_a_dataset_without_validation_is_refused(clips: list[Clip], tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(MalformedInput, match="valid"):
        finetune([c for c in clips if c.split == "train"], _text_settings(tiny_bert), tmp_path)
