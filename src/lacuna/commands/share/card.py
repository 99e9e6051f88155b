"""The README of a published model or data set. In: its card and scores. Out: Markdown with the hub's front matter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lacuna.evaluate.scores import Scores, main_metrics, read_scores
from lacuna.train.checkpoint import Card

LIMITS = """## Limits

- The scores are those of the data set named above, its language, its cameras and its people. Elsewhere, measure first.
- A score says how a clip sounds to annotators. It says nothing about what a person feels, and is no ground for a
  decision about anyone.
- Features must be made as the model's own were; `lacuna.load` makes them so, and refuses others.
"""


def model_card(card: Card, folder: Path, name: str) -> str:
    """Data, protocol, scores under loss (where processed/<dataset>/scores has them) and limits of a checkpoint."""
    parts = [
        _front({"library_name": "lacuna", "pipeline_tag": "video-classification", "tags": _tags(card)}),
        f"# {name}\n\n`{card.model}`, a model of Lacuna that stays useful when words, sound or pictures are missing.\n",
        "```python\nimport lacuna\n\n"
        f'model = lacuna.load("hf://{name}")\nprint(model("clip.mp4", text="what a day"))\n```\n',
        "## What it reads\n\n" + _table(("modality", "extractor", "columns", "settings"), _inputs(card)),
        "## Data and protocol\n\n" + "\n".join(f"- {line}" for line in _protocol(card)) + "\n",
    ]
    scores = folder.parents[2] / "scores" / f"{folder.parent.name}.json" if len(folder.parts) > 3 else None
    if scores is not None and scores.is_file():
        parts.append("## Scores under loss\n\n" + _scores(read_scores(scores)))
    return "\n".join([*parts, LIMITS])


def dataset_card(dataset: str, name: str, files: Mapping[str, Mapping[str, int]]) -> str:
    """The card of features as Parquet: {extractor: {split: clips}}; `datasets.load_dataset(name, extractor)` reads."""
    configs = [
        {"config_name": e, "data_files": [{"split": s, "path": f"{e}/{s}.parquet"} for s in splits]}
        for e, splits in files.items()
    ]
    rows = [(e, *(str(splits.get(s, 0)) for s in ("train", "validation", "test"))) for e, splits in files.items()]
    usage = f'from datasets import load_dataset\n\nfeatures = load_dataset("{name}", "{next(iter(files))}")'
    return "\n".join(
        (
            _front({"configs": configs, "tags": ["lacuna", "multimodal-sentiment"]}),
            f"# {name}\n\nFeatures of the data set `{dataset}`, one row a clip: `id`, `text`, `label`, `times` (T,) s, "
            "`seen` (T,) and `values` (T, D). Column names, settings and versions stand in the schema's metadata.\n",
            f"```python\n{usage}\n```\n",
            _table(("extractor", "train", "validation", "test"), rows),
        )
    )


def _front(values: Mapping[str, object]) -> str:
    return "---\n" + "\n".join(f"{key}: {json.dumps(value)}" for key, value in values.items()) + "\n---\n"


def _tags(card: Card) -> list[str]:
    return ["lacuna", "multimodal-sentiment", "missing-modalities", *card.origins]


def _inputs(card: Card) -> Iterator[tuple[str, ...]]:
    for modality, origin in card.origins.items():
        told = json.dumps(origin.settings, ensure_ascii=False)
        yield modality, f"`{origin.extractor}`", str(len(origin.columns)), f"`{told}`"


def _protocol(card: Card) -> Iterator[str]:
    low, high = card.label_range
    names = card.class_names()
    labels = f"classes: {', '.join(names)}" if names else f"labels from {low:g} to {high:g}"
    yield f"Data set: `{card.dataset}`; {labels}; task: {card.task}."
    if card.chosen_on_test:
        told = ", ".join(f"{metric} {value:.4f}" for metric, value in card.chosen_on_test.items())
        yield f"**Selected on the test split** ({told}): these scores are no estimate of new data."
    else:
        yield "Selected on the validation split; the test split was read once, for the scores below."
    yield f"Seed {card.seed}, best epoch {card.best_epoch}; " + ", ".join(f"{k} {v}" for k, v in card.versions.items())


def _scores(record: Scores) -> str:
    names = main_metrics(record.task, record.patterns)
    rows = []
    for pattern, levels in record.patterns.items():
        for level, values in levels.items():
            rows.append((pattern, str(level), *(_number(values.get(name)) for name in names)))
    note = f"{record.clips['test']} test clips; means over training and mask seeds.\n\n"
    return note + _table(("pattern", "missing", *names), rows)


def _number(value: Mapping | None) -> str:
    return "" if value is None or value["mean"] is None else f"{value['mean']:.3f}"


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
