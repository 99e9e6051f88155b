"""The section on posts, gathered. In: processed/<dataset>, its scores, what models were asked. Out: a `Section`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lacuna.evaluate.scores import Scores
from lacuna.figures.html import Section
from lacuna.figures.sections import posts
from lacuna.figures.sections.inside import Asked
from lacuna.figures.sections.posts import Example
from lacuna.media import decode
from lacuna.types import Clip, MalformedInput

EXAMPLES = 3  # right ones, and as many wrong ones
SIDE = 360  # px of a shown picture's longer side
LOOKS = ("summary_text_image", "attention_image")  # outputs (N, regions): what the summary place looks at


def posts_section(
    dataset: str, processed: Path, clips: Sequence[Clip], records: Sequence[Scores], asked: Sequence[Asked]
) -> Section | None:
    """The section, or None where the dataset is no pictures with text, or no model told their tags."""
    judged = [r for r in records if r.task == "polarity" and posts.complete(r)]
    if not judged or not clips or not all(decode.is_picture(clip.path) for clip in clips):
        return None
    best = max(judged, key=lambda record: posts.mean_of(record, "macro_f1")).model
    told, ids, tags = {}, np.array([]), np.array([])
    for record in judged:
        with np.load(processed / "scores" / f"{record.model}.npz", allow_pickle=False) as arrays:
            keys = ["/".join((r["pattern"], "0.0", str(r["mask_seed"]), str(r["train_seed"]), "prediction"))
                    for r in posts.complete(record)]  # fmt: skip
            told[record.model] = np.mean([arrays[key] for key in keys], 0)
            ids, tags = arrays["ids"], arrays["labels"]
    looked = {one.model: found for one in asked if (found := _looked(one)) is not None}
    by_id = {clip.id: clip for clip in clips}
    examples = [_example(i, by_id[str(ids[i])], int(tags[i]), told, looked) for i in chosen(told[best], tags)]
    return posts.section(dataset, judged, best, examples)


def chosen(told_NK: np.ndarray, tags: np.ndarray) -> list[int]:
    """Rows told rightly, then wrongly, each with the most confidence first; of the right ones, every tag's first."""
    known = np.flatnonzero(np.isfinite(tags))
    sure = known[np.argsort(-told_NK[known].max(1), kind="stable")]
    right = [int(i) for i in sure if told_NK[i].argmax() == tags[i]]
    wrong = [int(i) for i in sure if told_NK[i].argmax() != tags[i]]
    firsts = [next((i for i in right if tags[i] == tag), None) for tag in range(told_NK.shape[1])]
    varied = [i for i in firsts if i is not None]
    return [*(varied + [i for i in right if i not in varied])[:EXAMPLES], *wrong[:EXAMPLES]]


def _looked(asked: Asked) -> np.ndarray | None:
    """(N, side, side) where a model tells what it looks at in a picture's regions."""
    for name in LOOKS:
        looked = asked.outputs.get(name)
        if looked is not None and looked.ndim == 2:
            side = round(looked.shape[1] ** 0.5)
            if side > 1 and side * side == looked.shape[1]:
                return looked.reshape(len(looked), side, side)
    return None


def _example(
    row: int, clip: Clip, tag: int, told: Mapping[str, np.ndarray], looked: Mapping[str, np.ndarray]
) -> Example:
    if clip.path is None:
        raise MalformedInput(f"clip {clip.id}: expected a picture, got no file")
    picture = Image.fromarray(decode.image(clip.path))
    picture.thumbnail((SIDE, SIDE))
    attention = {name: maps[row] for name, maps in looked.items() if row < len(maps)}
    return Example(np.asarray(picture), clip.text, tag, {name: rows[row] for name, rows in told.items()}, attention)
