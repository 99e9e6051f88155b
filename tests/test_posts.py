"""Text + image posts through every stage: tuned networks, what posts lack, masks, curves, answers where no tag is."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from builders import stage
from PIL import Image

from lacuna.data.samples import read_samples
from lacuna.data.task import Inputs
from lacuna.evaluate.untagged import polarity_of
from lacuna.figures.posts_data import chosen
from lacuna.params import load_params
from lacuna.storage import pretrained
from lacuna.storage.features import FeatureFile
from lacuna.train.run import read_corpus

torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]
TAGS = ("negative", "neutral", "positive")
WORDS = {"negative": "bad awful sad", "neutral": "table chair door", "positive": "good great happy"}
COLOURS = {"negative": (200, 20, 20), "neutral": (20, 200, 20), "positive": (20, 20, 200)}
MODELS = ("concat", "dual_stream", "text_only")
POSTS, UNLABELLED = 24, ("u1", "u2", "u3")


def write_posts(root: Path) -> None:
    """Posts whose words and colours tell their tag, and some without a tag."""
    (root / "data").mkdir(parents=True)
    tags = {str(i): TAGS[i % 3] for i in range(POSTS)} | {guid: TAGS[i] for i, guid in enumerate(UNLABELLED)}
    for i, (guid, tag) in enumerate(tags.items()):
        noise = np.random.default_rng(i).integers(-20, 20, (40, 52, 3))
        Image.fromarray((np.array(COLOURS[tag]) + noise).clip(0, 255).astype(np.uint8)).save(root / f"data/{guid}.jpg")
        (root / f"data/{guid}.txt").write_text(WORDS[tag], encoding="utf-8")
    rows = [f"{guid},{tag}" for guid, tag in tags.items() if guid not in UNLABELLED]
    (root / "train.txt").write_text("\n".join(["guid,tag", *rows]) + "\n")
    (root / "test_without_label.txt").write_text("guid,tag\n" + "".join(f"{guid},null\n" for guid in UNLABELLED))


def write_bert(folder: Path) -> None:
    """A BERT so small that tuning it costs nothing."""
    transformers = pretrained.import_transformers()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *" ".join(WORDS.values()).split()]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(config).save_pretrained(folder)


def settings() -> dict[str, object]:
    frozen = {"model": {"encoder": "finetuned", "finetune": False}}
    return {
        "datasets": ["posts"],
        "models": list(MODELS),
        "seeds": [1, 2],
        "workers": 1,
        "finetune": {
            "networks": [],
            "per_dataset": {
                "posts": {
                    **{"networks": ["resnet50", "bert"], "weights": "random", "source": "tiny", "size": 32},
                    **{"image_epochs": 1, "text_epochs": 3, "text_rate": 1e-2, "batch_size": 8},
                }
            },
        },
        "extract": {
            "extractors": ["tokens", "bert", "librosa", "face", "resnet50"],
            "tokens": {"per_dataset": {"posts": {"source": "finetuned"}}},
            "bert": {"source": "finetuned"},
            "librosa": {"recipe": "sims33"},
            "resnet50": {"weights": "finetuned", "output": "regions", "size": 64},
        },
        "align": {"extractors": ["librosa", "face"]},
        "mask": {"rates": [0.0, 0.5], "seeds": [1]},
        "export": {"features": ["bert", "librosa", "face"]},
        "train": {
            "features": ["tokens", "librosa", "face"],
            "training": {"epochs": 2, "batch_size": 8},
            "per_dataset": {"posts": {"task": "polarity", "features": ["tokens", "resnet50"]}},
            **{name: frozen for name in MODELS},
        },
        "evaluate": {"bootstrap": 10},
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which every stage has run once on posts."""
    folder = tmp_path_factory.mktemp("posts")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("LACUNA_CACHE", raising=False)
        Path("params.yaml").write_text(yaml.safe_dump(settings()))
        write_posts(Path("raw/posts"))
        write_bert(Path("tiny"))
        params = load_params()
        stage("prepare", "posts")
        stage("finetune", "posts")
        for name, words in (
            *(("extract", (extractor,)) for extractor in params.extract.extractors),
            *(("align", (extractor,)) for extractor in params.align.extractors),
            *(("mask", (pattern,)) for pattern in params.mask.patterns),
            ("export", ()),
            *(("train", (model, str(seed))) for model in MODELS for seed in params.seeds),
            *(("evaluate", (model,)) for model in MODELS),
            ("figures", ()),
        ):
            stage(name, "posts", *words)
        stage("report")
        yield folder


@pytest.fixture
def out(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return Path("processed/posts")


def rejects(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_networks_are_tuned_and_read_by_the_extractors(out: Path) -> None:
    assert (out / "finetuned/resnet50.safetensors").is_file() and (out / "finetuned/bert/config.json").is_file()
    history = json.loads((out / "finetuned/history.json").read_text())
    assert {part: len(rows) for part, rows in history["epochs"].items()} == {"image": 1, "text": 3}
    for name, key in (("resnet50", "weights"), ("bert", "source"), ("tokens", "source")):
        with FeatureFile(out / "features" / f"{name}.h5") as file:
            assert "finetuned" in str(file.origin.settings[key]) and len(file.origin.versions[key]) == 64


def test_sound_and_video_are_passed_over_in_one_line(out: Path) -> None:
    for extractor, modality in (("librosa", "audio"), ("face", "vision")):
        for name in (extractor, f"aligned_{extractor}"):
            with FeatureFile(out / "features" / f"{name}.h5") as file:
                assert file.origin.modality == modality and not file.lengths().any()
            (only,) = rejects(out / "features" / f"{name}.rejects.csv")
            assert only["id"] == "*" and modality in only["reason"]
    samples, origins = read_samples(out, ["tokens", "librosa", "face", "resnet50"])
    assert set(origins) == {"text", "image"} and len(samples) == POSTS + len(UNLABELLED)


def test_there_is_nothing_for_mmsa(out: Path) -> None:
    assert [path.name for path in (out / "mmsa").rglob("*")] == ["none.txt"]


@pytest.mark.parametrize("model", MODELS)
def test_curves_and_the_whole_modality_gone(out: Path, model: str) -> None:
    scores = json.loads((out / f"scores/{model}.json").read_text())
    assert set(scores["patterns"]["frames"]) == {"0.0", "0.5"}
    levels = scores["patterns"]["modality"]
    assert set(levels) == {"0.0", "0.5", "text", "image", "image+text"}
    assert all(0 <= level["macro_f1"]["mean"] <= 1 for level in levels.values())
    assert levels["image+text"] == levels["0.0"] and "majority" in scores["baselines"]


@pytest.mark.parametrize("model", MODELS)
def test_answers_for_unlabelled_posts(out: Path, model: str) -> None:
    with (out / f"scores/{model}.unlabelled.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["guid"] for row in rows] == list(UNLABELLED) and {row["tag"] for row in rows} <= set(TAGS)


def test_unlabelled_posts_teach_nothing(out: Path) -> None:
    train = load_params().train.of("posts")
    corpus = read_corpus(out, Inputs(train.features, train.task))
    assert len(corpus.splits["unlabelled"]) == len(UNLABELLED)
    assert sum(len(corpus.splits[split]) for split in ("train", "valid", "test")) == POSTS


def test_the_page_shows_posts(project: Path) -> None:
    page = (project / "processed/report/index.html").read_text(encoding="utf-8")
    for words in ("Text and image", "always the majority", "told and true tags", "what dual_stream looks at"):
        assert words in page
    assert list((project / "processed/figures/posts").glob("posts-example-*.png"))


def test_moved_weights_are_the_same_weights(out: Path, tmp_path: Path) -> None:
    """Features are cached by what the weights are and not by where they lie."""
    cached = {path.name for path in Path(".cache").rglob("*.npz")}
    shutil.copytree(out / "finetuned", "elsewhere")
    values = settings()
    values["extract"]["bert"] = {"source": "elsewhere/bert"}
    values["extract"]["resnet50"] |= {"weights": "elsewhere/resnet50.safetensors"}
    before = Path("params.yaml").read_text()
    kept = {name: (out / f"features/{name}.h5").read_bytes() for name in ("bert", "resnet50")}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    try:
        for name in kept:
            stage("extract", "posts", name)
        assert {path.name for path in Path(".cache").rglob("*.npz")} == cached
    finally:
        Path("params.yaml").write_text(before)
        for name, content in kept.items():
            (out / f"features/{name}.h5").write_bytes(content)


def test_no_network_costs_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = settings() | {"finetune": {"networks": []}}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    stage("finetune", "posts")
    assert "nothing" in json.loads(Path("processed/posts/finetuned/history.json").read_text())["note"]
    write_posts(Path("raw/posts"))
    stage("prepare", "posts")
    with pytest.raises(SystemExit, match=r"finetune\.networks"):
        stage("extract", "posts", "resnet50")


def test_nonsense_of_the_section_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for changes, named in (({"parts": ["image"]}, "parts"), ({"sise": 32}, "size")):
        values = settings() | {"finetune": {"networks": ["resnet50"], **changes}}
        Path("params.yaml").write_text(yaml.safe_dump(values))
        with pytest.raises(SystemExit, match=named):
            stage("finetune", "posts")


def test_scores_and_probabilities_become_tags() -> None:
    np.testing.assert_array_equal(polarity_of(np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])), [2, 0])
    np.testing.assert_array_equal(polarity_of(np.array([-0.4, 0.0, 2.1])), [0, 1, 2])


def test_examples_are_of_every_tag_and_the_most_certain() -> None:
    told = np.array([[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.0, 0.0, 1.0]])
    assert chosen(told, np.array([0, 0, 1, 2, 1])) == [0, 2, 3, 4]
    assert chosen(told, np.full(5, np.nan)) == []
