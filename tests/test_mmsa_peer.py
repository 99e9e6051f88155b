"""MMSA 2.2.1 itself, unedited, trains one epoch on pickles of ours and evaluates.

Patched from outside is only what a CPU machine and a newer torch need: `torch.cuda.set_device`, and
`ReduceLROnPlateau(verbose=)`. A random BERT of one layer in a folder stands for the hub's; the second that MMSA waits
after each run is left out.
"""

import csv
import importlib.util
import math
import re
from dataclasses import replace

import pytest
import torch
from mmsa_samples import other_words, samples_of

from lacuna.data.samples import Sample
from lacuna.export import pickle as mmsa
from lacuna.mask.mask import mask
from lacuna.patterns import frames
from lacuna.storage import pretrained

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("MMSA"), reason="the extra `test` installs MMSA")
VOCABULARY = 1500
NUMBER = re.compile(r"\((?:np\.float64\()?([-+.\dena]+)")  # MMSA writes (mean, deviation) as Python prints them


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A folder with a BERT of random weights, as wide as the hub's."""
    transformers = pretrained.import_transformers()
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"w{i}" for i in range(VOCABULARY - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=768, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture
def train(tmp_path, bert, monkeypatch):
    """Runs one epoch of a model on a pickle and returns its scores on test."""
    pretrained.import_transformers()  # before MMSA imports it: see import_torchvision
    from MMSA import MMSA_run
    from MMSA import run as module

    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
    ours = plateau.__init__
    monkeypatch.setattr(plateau, "__init__", lambda *given, verbose=None, **options: ours(*given, **options))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)

    def run(model, pickle, dataset="mosi", **config):
        config = {"early_stop": 0, "batch_size": 8, "pretrained": str(bert), "train_samples": 24} | config
        folders = {name: tmp_path / name for name in ("model_save_dir", "res_save_dir", "log_dir")}
        options = {"custom_feature": str(pickle), "gpu_ids": [-1], "num_workers": 0, "verbose_level": 0, "seeds": [1]}
        MMSA_run(model, dataset, config=config, **options, **folders)
        with (tmp_path / f"res_save_dir/normal/{dataset}.csv").open() as file:
            (scores,) = csv.DictReader(file)
        assert scores.pop("Model") == model
        return {name: float(NUMBER.search(value)[1]) for name, value in scores.items()}

    return run


def dumped(path, made, **settings):
    mmsa.dump(path, made.whole, made.all_origins, mmsa.Settings(**settings))
    return path


def of(**options):
    usual = {"counts": (24, 8, 8), "longest": (12, 30, 20), "widths": (768, 5, 20), "vocabulary": VOCABULARY}
    return samples_of(**usual | options)


def incomplete():
    made = of()
    tokens = {
        name: mask(Sample(sample.clip, {"text": made.tokens[name]}), frames, 0.5, 1).features["text"]
        for sample in made.samples
        for name in [sample.clip.id]
    }
    return replace(
        made, samples=[mask(sample, frames, 0.5, 1) for sample in made.samples], tokens=type(made.tokens)(tokens)
    )


def sims():
    return of(counts=(20, 4, 4), longest=(39, 400, 55), widths=(768, 33, 709), labels="MTAV", limit=1.0)


SHAPES = {
    "unaligned": (of, {}, "mosi", {}),
    "aligned": (lambda: of(aligned=True), {"aligned": True}, "mosi", {"need_data_aligned": True}),
    "aligned, words of another tokeniser": (
        lambda: other_words(of(aligned=True)),
        {"aligned": True},
        "mosi",
        {"need_data_aligned": True},
    ),
    "incomplete": (incomplete, {"incomplete": True}, "mosi", {}),
    "sims": (sims, {"lengths": {"text": 39, "audio": 400, "vision": 55}}, "sims", {}),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("model", ["misa", "self_mm"])
def test_mmsa_trains_and_evaluates(tmp_path, train, model, shape):
    make, settings, dataset, config = SHAPES[shape]
    scores = train(model, dumped(tmp_path / "ours.pkl", make(), **settings), dataset, **config)
    assert "MAE" in scores and "Loss" in scores and all(map(math.isfinite, (scores["MAE"], scores["Loss"])))
