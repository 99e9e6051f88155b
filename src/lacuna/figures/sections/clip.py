"""The section on one clip. In: its frames, sound, features, tokens and masks. Out: a `Section`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from lacuna.data.heard import Heard
from lacuna.evaluate.names import SPLITS, is_rate, pattern, subset
from lacuna.figures.drawing import INK, MODALITY_COLOURS, WIDE, Picture, colour, drawing, legend
from lacuna.figures.faces import Shot
from lacuna.figures.faces import pictures as face_pictures
from lacuna.figures.html import Section, grid, heading, paragraph, table
from lacuna.figures.overlay import measured, player
from lacuna.figures.player import still
from lacuna.types import Clip, FeatureSequence

UNITS = {  # what is drawn of a face over time
    "AU12_r": "lip corners up (AU12)",
    "AU06_r": "cheeks raised (AU6)",
    "AU04_r": "brows lowered (AU4)",
    "AU01_r": "inner brows up (AU1)",
    "AU25_r": "lips apart (AU25)",
}
DRAWN = (
    "The 68 landmarks of the face in green; yellow arrows say where the eyes look; red, green and blue show the head's "
    "own axes: to its side, downwards, and out of the face."
)
MOST_ROWS = 80  # columns of a heat map


@dataclass(frozen=True)
class Masks:
    """What a pattern leaves of the clip: its levels, and by modality (levels, T) bool."""

    pattern: str
    levels: tuple[str, ...]
    survives: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Scene:
    """One clip with all that is shown of it; samples (n,) of its sound at `rate` Hz, None without; an MP4 to play."""

    clip: Clip
    shots: Sequence[Shot]
    samples: np.ndarray | None
    rate: int
    features: Mapping[str, FeatureSequence]
    tokens: Sequence[str]
    masks: Sequence[Masks]
    video: bytes | None = None
    heard: Heard | None = None  # where its words did not come with it
    classes: Sequence[str] = ()  # names of the labels' classes, where they have any


def section(dataset: str, scene: Scene) -> Section:
    """What the computer sees of one clip, and what each pattern of loss leaves of it."""
    clip = scene.clip
    labels = {"M": "of the whole", "T": "of the words alone", "A": "of the sound alone", "V": "of the picture alone"}
    facts = [[labels[k], scene.classes[int(v)] if scene.classes else f"{v:+.2f}"] for k, v in clip.labels.items()]
    body = paragraph(f"Clip {clip.id} of the {SPLITS[clip.split]} split, as a model gets to know it.")
    if clip.text:
        body += f"<blockquote>{escape(clip.text)}</blockquote>\n"
    if scene.heard is not None and scene.heard.text == clip.text:
        told = f"These words were not given: a speech recogniser heard them {scene.heard.sure}"
        body += paragraph(f"{told.rstrip()}.")
    told = table(["Label", "Value"], facts) if facts else ""
    if scene.video and scene.shots:
        told = f'<div class="beside">{_player(scene.video, scene)}{told}</div>\n'
    body += told
    frames = face_pictures(scene.shots)
    if any(shot.time is None for shot in scene.shots):
        body += grid(frames, "frames")
    elif frames:
        body += heading("Frames") + (paragraph(DRAWN) if any(shot.sought for shot in scene.shots) else "")
        body += grid(frames, "frames")
    series = [p for p in (_sound(scene), _face(scene), _unnamed(scene)) if p]
    body += (heading("Over time") + grid(series)) if series else ""
    masks = [_mask(m, scene) for m in scene.masks if m.survives]
    body += _losses(scene, masks)
    return Section(f"{dataset}-clip", "One clip", body, (*frames, *series, *masks))


def _player(mp4: bytes, scene: Scene) -> str:
    """The clip to play, its face drawn over it."""
    shot = scene.shots[0]
    height, width = shot.image.shape[:2]
    faces = measured(scene.features.get("vision"), (width, height), shot.time or 0.0)
    told = "The clip, with its sound."
    if faces is not None:
        told += (
            " Over it, as it was measured: the landmarks of the face, where the eyes look, and action units, 0 to 5."
        )
    return player(mp4, still(shot.image), told, faces)


def _sound(scene: Scene) -> Picture | None:
    audio = scene.features.get("audio")
    if scene.samples is None or not len(scene.samples):
        return None
    rows = audio if audio is not None and len(audio) > 1 and len(audio.columns) <= MOST_ROWS else None
    caption = "The wave of the sound" + (
        "; below, each audio feature as one row, dark where it is low for this clip and bright where it is high."
        if rows is not None else "."
    )  # fmt: skip
    with drawing("sound", "Sound", caption, (WIDE[0], 1.9 if rows is None else 4.6)) as drawn:
        heights = [1] if rows is None else [1, 2.2]
        parts = drawn.figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        wave = parts[0]
        times = np.arange(len(scene.samples)) / scene.rate
        step = max(1, len(times) // 4000)  # more points than pixels tell nothing
        wave.plot(times[::step], scene.samples[::step], color=MODALITY_COLOURS["audio"], linewidth=0.5)
        wave.set_ylabel("wave")
        if rows is not None:
            _heat(parts[-1], rows)
        parts[-1].set_xlabel("seconds")
    return drawn.picture


def _heat(axes: Axes, sequence: FeatureSequence) -> None:
    """Columns as rows, each standardised over this clip, with the names of groups of columns."""
    values = sequence.values.astype(float)
    values = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
    end = sequence.times[-1] + np.median(np.diff(sequence.times))
    axes.imshow(
        values.T, aspect="auto", cmap="magma", vmin=-2.5, vmax=2.5, interpolation="nearest",
        extent=(sequence.times[0], end, len(sequence.columns) - 0.5, -0.5),
    )  # fmt: skip
    starts: dict[str, list[int]] = {}
    for i, name in enumerate(sequence.columns):
        starts.setdefault(name.rstrip("0123456789").rstrip("_"), []).append(i)
    axes.set_yticks([float(np.mean(places)) for places in starts.values()], list(starts))
    axes.tick_params(axis="y", length=0, labelsize=7)
    axes.grid(False)


def _face(scene: Scene) -> Picture | None:
    vision = scene.features.get("vision")
    if vision is None or len(vision) < 2:
        return None
    chosen = [name for name in UNITS if name in vision.columns]
    turns = [name for name in ("pose_Ry", "pose_Rx", "gaze_angle_x") if name in vision.columns]
    if not chosen:
        return None
    caption = "Movements of the face, from 0 to 5, and where the head and the eyes turn. Gaps: no face was found."
    with drawing("face", "Face", caption, (WIDE[0], 3.8)) as drawn:
        units, angles = drawn.figure.subplots(2, 1, sharex=True)
        for i, name in enumerate(chosen):
            units.plot(vision.times, _column(vision, name), color=colour(i), label=UNITS[name])
        units.set_ylabel("intensity")
        legend(units, 5)
        words = {"pose_Ry": "head: yaw", "pose_Rx": "head: pitch", "gaze_angle_x": "eyes: sideways"}
        for i, name in enumerate(turns):
            angles.plot(vision.times, np.degrees(_column(vision, name)), color=colour(i), label=words[name])
        angles.set_ylabel("degrees")
        angles.set_xlabel("seconds")
        legend(angles, 4)
    return drawn.picture


def _column(sequence: FeatureSequence, name: str) -> np.ndarray:
    return np.where(sequence.seen, sequence.values[:, sequence.columns.index(name)], np.nan)


def _unnamed(scene: Scene) -> Picture | None:
    """Given features have no media: their columns as heat maps."""
    if scene.shots or scene.samples is not None:
        return None
    given = {m: s for m, s in scene.features.items() if len(s) > 1 and s.values.dtype == np.float32}
    if not given:
        return None
    caption = "Each feature is one row, each frame one column; these data came as features, without pictures or sound."
    with drawing("features", "Features", caption, (WIDE[0], 1.9 * len(given))) as drawn:
        parts = np.atleast_1d(drawn.figure.subplots(len(given), 1))
        for axes, (modality, sequence) in zip(parts, given.items()):
            values = sequence.values[:, :MOST_ROWS].astype(float)
            values = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
            axes.imshow(values.T, aspect="auto", cmap="magma", vmin=-2.5, vmax=2.5, interpolation="nearest")
            axes.set_ylabel(modality)
            axes.set_yticks([])
            axes.grid(False)
        parts[-1].set_xlabel("frames")
    return drawn.picture


def _losses(scene: Scene, pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    body = heading("What each pattern of loss leaves") + paragraph(
        "One row a level: colour where a frame (or a word) is left, white where it is lost (or disturbed), grey "
        "where there was nothing to begin with. The first draw of each pattern is shown."
    )
    frames = next((m for m in scene.masks if m.pattern == "frames"), None)
    if frames and scene.tokens and "text" in frames.survives:
        body += _transcript(frames, scene.tokens)
    return body + grid(pictures)


def _transcript(masks: Masks, tokens: Sequence[str]) -> str:
    """The words that are left at a few rates."""
    rates = [level for level in masks.levels if is_rate(level)]
    rows = []
    for level in rates[:: max(1, len(rates) // 4)]:
        left = masks.survives["text"][masks.levels.index(level)]
        words = "".join(
            f'<span class="{"word" if kept else "word lost"}">{escape(token)}</span>'
            for token, kept in zip(tokens, left)
        )
        rows.append(f"<tr><th scope='row'>{100 * float(level):.0f} % lost</th><td>{words}</td></tr>")
    return f'<div class="scroll"><table class="words"><tbody>{"".join(rows)}</tbody></table></div>\n'


def _mask(masks: Masks, scene: Scene) -> Picture:
    size = (WIDE[0], 1.1 + 0.17 * len(masks.levels))
    title = f"Pattern “{masks.pattern}”"
    with drawing(f"mask-{masks.pattern}", title, f"Here {pattern(masks.pattern)}.", size, raster=True) as drawn:
        parts = np.atleast_1d(drawn.figure.subplots(1, len(masks.survives), sharey=True))
        for axes, (modality, survives) in zip(parts, masks.survives.items()):
            sequence = scene.features[modality]
            shades = np.where(sequence.seen[None, :], np.where(survives, 2, 0), 1)
            paint = ListedColormap(["white", "#c9cfd6", MODALITY_COLOURS.get(modality, INK)])
            axes.pcolormesh(
                _edges(sequence, modality), np.arange(len(masks.levels) + 1), shades, cmap=paint, vmin=0, vmax=2
            )
            axes.set_title(modality)
            axes.set_xlabel("position" if modality == "text" or not sequence.times.any() else "seconds")
            axes.grid(False)
        names = [f"{100 * float(v):.0f} %" if is_rate(v) else subset(v) for v in masks.levels]
        parts[0].set_yticks(np.arange(len(names)) + 0.5, names)
        parts[0].tick_params(axis="y", labelsize=7)
        parts[0].invert_yaxis()
    return drawn.picture


def _edges(sequence: FeatureSequence, modality: str) -> np.ndarray:
    """(T + 1,) where each frame begins, and the last one ends."""
    times = sequence.times
    if modality == "text" or len(times) < 2 or not (np.diff(times) > 0).all():
        return np.arange(len(times) + 1)
    return np.append(times, times[-1] + np.median(np.diff(times)))
