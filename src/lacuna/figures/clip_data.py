"""One clip made ready to be shown. In: processed/<dataset> and the clip's media. Out: a `report.scene.Scene`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lacuna.data.heard import FILE as HEARD
from lacuna.data.heard import read_heard
from lacuna.data.samples import is_tokens
from lacuna.data.task import class_names
from lacuna.figures.faces import Shot
from lacuna.figures.player import encoded
from lacuna.figures.sections.clip import Masks, Scene
from lacuna.mask.variants import Variants
from lacuna.media import RATE, decode
from lacuna.storage import pretrained
from lacuna.storage.features import FeatureFile, Origin
from lacuna.types import Clip, FeatureSequence, MalformedInput

FACE = ("x_", "pose_", "gaze_", "AU")  # how columns begin that are measured on a face
MOST_SECONDS = 60.0  # of a longer clip, the beginning is shown


def stage_scene(processed: Path, clips: Sequence[Clip], names: Sequence[str], wanted: str, frames: int) -> Scene:
    """The clip of the id `wanted`, or the first complete one of the test split, with the features of these names."""
    features, origins = {}, {}
    with_features = [processed / "features" / f"{name}.h5" for name in names]
    clip = choose(clips, with_features, wanted)
    for path in with_features:
        with FeatureFile(path) as file:
            if len(file[clip.id]):
                features[file.origin.modality], origins[file.origin.modality] = file[clip.id], file.origin
    return Scene(
        clip=clip,
        shots=shots(clip, features.get("vision"), frames),
        samples=_samples(clip),
        rate=RATE,
        features=features,
        tokens=tokens(clip, features.get("text"), origins.get("text")),
        heard=read_heard(processed / HEARD).get(clip.id),
        classes=class_names(processed),
        video=encoded(clip, _shown_end(clip)) if _running(clip) else None,
        masks=[_masks(path, clip, features) for path in sorted((processed / "variants").glob("*.h5"))],
    )


def choose(clips: Sequence[Clip], features: Sequence[Path], wanted: str) -> Clip:
    """The clip of that id; else the first of the test split of which every file has frames; else the first of all."""
    if wanted:
        found = [clip for clip in clips if clip.id == wanted]
        if not found:
            raise MalformedInput(f"figures.clip: expected the id of an accepted clip, got {wanted!r}")
        return found[0]
    files = [FeatureFile(path) for path in features]
    complete = [{i for i, n in zip(file.ids, file.lengths()) if n} for file in files if file.lengths().any()]
    for file in files:
        file.close()
    for clip in sorted(clips, key=lambda clip: clip.split != "test"):
        if all(clip.id in ids for ids in complete):
            return clip
    return clips[0]


def shots(clip: Clip, vision: FeatureSequence | None, count: int) -> list[Shot]:
    """`count` frames spread over the clip, each with the face that was measured at its time."""
    if clip.path is not None and clip.path.is_file() and decode.is_picture(clip.path):
        return [Shot(None, decode.image(clip.path), None, False)]
    path = _running(clip)
    if path is None or not decode.probe(path).video:
        return []
    wanted = _wanted(clip, path, vision, count)
    nearest: list[decode.Frame | None] = [None] * len(wanted)
    for frame in decode.frames(path, clip.start, _shown_end(clip)):
        for i, time in enumerate(wanted):
            best = nearest[i]
            if best is None or abs(frame.time - time) < abs(best.time - time):
                nearest[i] = frame
    sought = vision is not None and any(name.startswith(FACE) for name in vision.columns)
    return [Shot(f.time, f.image, _face(vision, f.time), sought) for f in nearest if f is not None]


def _running(clip: Clip) -> Path | None:
    """The clip's file where it is there and time passes in it."""
    path = clip.path
    return path if path is not None and path.is_file() and not decode.is_picture(path) else None


def _wanted(clip: Clip, path: Path, vision: FeatureSequence | None, count: int) -> np.ndarray:
    """(count,) s: the middles of `count` equal stretches, put onto times at which the face was measured."""
    if vision is not None and len(vision) >= count:
        times = vision.times[vision.times < MOST_SECONDS]
        return times[((np.arange(count) + 0.5) / count * len(times)).astype(int)]
    length = (clip.end or decode.probe(path).duration) - clip.start
    return (np.arange(count) + 0.5) / count * min(length, MOST_SECONDS)


def _shown_end(clip: Clip) -> float:
    limit = clip.start + MOST_SECONDS
    return limit if clip.end is None else min(clip.end, limit)


def _face(vision: FeatureSequence | None, time: float) -> dict[str, float] | None:
    if vision is None or not len(vision):
        return None
    row = int(np.abs(vision.times - time).argmin())
    return dict(zip(vision.columns, vision.values[row].tolist())) if vision.seen[row] else None


def _samples(clip: Clip) -> np.ndarray | None:
    path = _running(clip)
    return None if path is None else decode.audio(path, RATE, clip.start, _shown_end(clip))


def tokens(clip: Clip, text: FeatureSequence | None, origin: Origin | None) -> list[str]:
    """The words as the model reads them: one a position of the text's features, none where that cannot be told."""
    if text is None or origin is None:
        return []
    try:
        told = _tokenized(clip.text, text, origin) if "source" in origin.settings else clip.text.split()
    except MalformedInput:  # the tokenizer cannot be had here
        told = [str(number) for number in text.values[:, 0]] if is_tokens(text) else []
    return told if len(told) == len(text) else []


def _tokenized(words: str, text: FeatureSequence, origin: Origin) -> list[str]:
    tokenizer: Any = pretrained.tokenizer(str(origin.settings["source"]))
    if is_tokens(text):
        ids = text.values[:, 0].tolist()
    else:
        settings: Mapping[str, Any] = origin.settings
        ids = tokenizer(words, truncation=True, max_length=int(settings.get("max_length", 512)))["input_ids"]
    return list(tokenizer.convert_ids_to_tokens(ids))


def _masks(path: Path, clip: Clip, features: dict[str, FeatureSequence]) -> Masks:
    variants = Variants(path, [clip.id])
    left = {
        m: np.stack([variants.survivors(clip.id, m, level, variants.seeds[0]) for level in variants.levels])
        for m in features
    }
    return Masks(variants.pattern, tuple(map(str, variants.levels)), left)
