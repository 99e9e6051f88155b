"""Stage finetune of one dataset. In: params.yaml's values and clips.jsonl. Out: processed/<dataset>/finetuned.

The folder is there for every dataset, so that later stages may depend on it; where nothing is to be tuned it holds a
history.json that says so, and torch is never imported.
"""

from __future__ import annotations

import json
from pathlib import Path

from lacuna.data.samples import read_clips
from lacuna.params import FINETUNED, Params, checked
from lacuna.storage.features import replacing
from lacuna.types import MalformedInput

PARTS = {"resnet50": "image", "bert": "text"}
NOTHING = {"note": "nothing was tuned: finetune.networks is empty", "settings": {}, "epochs": {}}


def tune_dataset(params: Params, dataset: str) -> str:
    """Write resnet50.safetensors, bert/ (those that are asked for) and history.json; the line to print."""
    section, processed = params.finetune.of(dataset), Path("processed", dataset)
    out = processed / FINETUNED
    if "parts" in section.settings:
        raise MalformedInput(f"finetune.parts: expected networks in its place, got {section.settings['parts']!r}")
    if not section.networks:
        with replacing(out / "history.json") as temporary:
            temporary.write_text(json.dumps(NOTHING, indent=1), encoding="utf-8")
        return f"{dataset}: nothing is tuned (finetune.networks is empty)"
    # Heavy, and most datasets tune nothing.
    from lacuna.finetune.networks import Settings, finetune
    from lacuna.train.trainer import choose_device

    parts = [PARTS[name] for name in section.networks]
    settings = checked(Settings, section.settings | {"parts": parts}, "finetune")
    history = finetune(read_clips(processed / "clips.jsonl"), settings, out, choose_device("auto"))
    best = {part: min(rows, key=lambda row: row["valid_loss"]) for part, rows in history.items()}
    told = [f"{part}: epoch {row['epoch']}, validation loss {row['valid_loss']:.4f}" for part, row in best.items()]
    return f"{dataset}: tuned {', '.join(told)} ({out})"
