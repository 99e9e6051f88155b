"""Tune networks on a dataset's train split. In: clips.jsonl and which networks. Out: a folder with their weights.

The folder is there for every dataset, so that later stages may depend on it; where nothing is to be tuned it holds a
history.json that says so, and torch is never imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lacuna.data.samples import read_clips
from lacuna.data.task import check_task
from lacuna.params import checked
from lacuna.storage.files import replacing
from lacuna.types import MalformedInput

PARTS = {"resnet50": "image", "bert": "text"}
NOTHING = {"note": "nothing was tuned: finetune.networks is empty", "settings": {}, "epochs": {}}


def tune(clips: Path, networks: Sequence[str], values: Mapping[str, object], out: Path) -> str:
    """Write resnet50.safetensors, bert/ (those that are asked for) and history.json into `out`; what came of it."""
    if "parts" in values:
        raise MalformedInput(f"finetune.parts: expected networks in its place, got {values['parts']!r}")
    if not networks:
        with replacing(out / "history.json") as temporary:
            temporary.write_text(json.dumps(NOTHING, indent=1), encoding="utf-8")
        return "nothing to tune (finetune.networks is empty)"
    # Heavy, and most datasets tune nothing.
    from lacuna.finetune.networks import Settings, finetune
    from lacuna.train.trainer import choose_device

    settings = checked(Settings, {**values, "parts": [PARTS[name] for name in networks]}, "finetune")
    check_task(clips.parent, settings.task, "finetune.task")
    history = finetune(read_clips(clips), settings, out, choose_device("auto"))
    best = {part: min(rows, key=lambda row: row["valid_loss"]) for part, rows in history.items()}
    told = [f"{part}: epoch {row['epoch']}, validation loss {row['valid_loss']:.4f}" for part, row in best.items()]
    return f"tuned {', '.join(told)} ({out})"
