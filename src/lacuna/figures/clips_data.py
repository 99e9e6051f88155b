"""Clips ready to be listed. In: processed/<dataset> with scores/<model>.npz. Out: `sections.clips.Shown` records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lacuna.evaluate.names import is_rate
from lacuna.evaluate.scores import Scores
from lacuna.figures.html import Section
from lacuna.figures.player import encoded, still
from lacuna.figures.sections.clips import Shown, Told, section
from lacuna.media import decode
from lacuna.storage.files import reading
from lacuna.types import Clip

MOST = 300  # clips listed; those that models are most wrong about, and then others
PLAYERS = 12  # of them to be played: each is as large as all figures of a section
SECONDS = 12.0  # of a clip are played
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")

Answers = dict[str, dict[str, float]]  # {clip: {missing rate: answer}}


def clips_section(dataset: str, processed: Path, clips: Sequence[Clip], records: Sequence[Scores]) -> Section | None:
    """The list of clips; None where no model told scores (classes have no error to sort by)."""
    scored = [record.model for record in records if record.task == "regression"]
    answers = {model: read_answers(processed / "scores" / f"{model}.npz") for model in scored}
    if not any(answers.values()):
        return None
    shown = [Shown(c, [Told(m, by[c.id]) for m, by in answers.items() if by.get(c.id)]) for c in clips]
    shown.sort(key=lambda one: -one.error if np.isfinite(one.error) else np.inf)
    kept = [_played(one) if i < PLAYERS else one for i, one in enumerate(shown[:MOST])]
    return section(dataset, kept, len(shown) - len(kept))


def read_answers(path: Path) -> Answers:
    """Means over seeds and draws of the loss, by clip and missing rate, under the first pattern that has rates."""
    if not path.is_file():
        return {}
    with reading(path, "every prediction of a model", "delete it and run `dvc repro evaluate`"), np.load(path) as file:
        keys = [k.split("/") for k in file.files if k.endswith("/prediction") and is_rate(k.split("/")[1])]
        pattern = keys[0][0] if keys else ""
        rates = dict.fromkeys(key[1] for key in keys if key[0] == pattern)
        means = {
            rate: np.mean([file["/".join(key)] for key in keys if key[:2] == [pattern, rate]], 0) for rate in rates
        }
        ids = file["ids"].tolist()
    means = {rate: values for rate, values in means.items() if values.ndim == 1}
    return {name: {rate: float(values[i]) for rate, values in means.items()} for i, name in enumerate(ids)}


def _played(one: Shown) -> Shown:
    """The clip with something to play, where its file is there and has pictures that move."""
    clip = one.clip
    if clip.path is None or not clip.path.is_file() or clip.path.suffix.lower() in PICTURES:
        return one
    end = min(clip.end if clip.end is not None else np.inf, clip.start + SECONDS)
    first = next(iter(decode.frames(clip.path, clip.start, end)), None)
    if first is None:
        return one
    return Shown(clip, one.told, encoded(clip, float(end)), still(first.image))
