"""The section on the data. In: clips, what was refused, and how much of each modality was seen. Out: a `Section`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lacuna.evaluate.names import SPLITS, percent
from lacuna.figures.drawing import MODALITY_COLOURS, SMALL, SPLIT_COLOURS, Picture, colour, drawing, legend
from lacuna.figures.html import Cell, Section, details, grid, note, paragraph, table
from lacuna.types import Clip, Reject, counted

SHOWN_REJECTS = 100


@dataclass(frozen=True)
class Measured:
    """One features file: frames and seen frames of every clip, (N,) each; seconds of its last frame, (N,) or None."""

    extractor: str
    modality: str
    columns: int
    settings: Mapping[str, object]
    frames: np.ndarray
    seen: np.ndarray
    seconds: np.ndarray | None


def section(
    dataset: str,
    clips: Sequence[Clip],
    rejects: Sequence[Reject],
    measured: Sequence[Measured],
    synthetic: bool,
    classes: Sequence[str] = (),
) -> Section:
    """How many clips there are of what kind (`classes`: names of the labels, where they have any), what was refused,
    and what of each modality is there."""
    pictures = [
        p for p in (_splits(clips), _labels(clips, classes), _durations(measured), _words(clips), _faces(measured)) if p
    ]
    refused = [r for r in rejects if r.stage == "prepare"]
    lacking = [r for r in rejects if r.stage != "prepare"]
    body = paragraph(
        f"Accepted: {counted(len(clips), 'clip')}; refused: {len(refused)}. A model learns from the train split, its "
        "best epoch is chosen on the validation split, and every score on this page comes from the test split."
    )
    if synthetic:
        body += note(
            "These data are synthetic: faces, voices, sentences and labels were made by a program. Scores on them show "
            "that the pipeline works; they say nothing about people."
        )
    body += grid(pictures) + _modalities(measured) + _rejected(refused, lacking)
    return Section(f"{dataset}-data", "Data", body, tuple(pictures))


def _splits(clips: Sequence[Clip]) -> Picture | None:
    counts = Counter(clip.split for clip in clips)
    names = [name for name in SPLITS if counts[name]]
    with drawing("splits", "Clips per split", "How many clips each split holds.") as drawn:
        axes = drawn.axes()
        bars = axes.barh(
            [SPLITS[n] for n in names], [counts[n] for n in names], color=[SPLIT_COLOURS[n] for n in names]
        )
        axes.bar_label(bars, padding=4)
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel("clips")
        axes.margins(x=0.12)
    return drawn.picture


def _labels(clips: Sequence[Clip], classes: Sequence[str]) -> Picture | None:
    labels = {s: np.array([c.label for c in clips if c.split == s and np.isfinite(c.label)]) for s in SPLITS}
    labels = {split: values for split, values in labels.items() if len(values)}
    if not labels:
        return None
    every = np.concatenate(list(labels.values()))
    caption = "What people (or, for synthetic data, the program) said of the clips"
    caption += ", from negative to positive." if every.min() < 0 else "."
    with drawing("labels", "Labels", caption) as drawn:
        axes = drawn.axes()
        edges = _edges(every).tolist()
        axes.hist(
            list(labels.values()), edges, stacked=True, rwidth=0.92,
            color=[SPLIT_COLOURS[s] for s in labels], label=[SPLITS[s] for s in labels],
        )  # fmt: skip
        axes.grid(False, axis="x")
        axes.set_xlabel("label")
        if classes:
            axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
        _count_clips(axes)
        legend(axes)
    return drawn.picture


def _count_clips(axes: Axes) -> None:
    """The upright axis counts clips: whole numbers."""
    axes.set_ylabel("clips")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _edges(values: np.ndarray) -> np.ndarray:
    """Bins centred on the classes where labels are whole numbers, else some twenty of them."""
    low, high = values.min(), values.max()
    if (values == np.round(values)).all():
        return np.arange(low - 0.5, high + 1)
    return np.linspace(low, high, 22) if high > low else np.array([low - 0.5, low + 0.5])


def _durations(measured: Sequence[Measured]) -> Picture | None:
    timed = [m.seconds for m in measured if m.seconds is not None]
    if not timed:
        return None
    seconds = np.max(timed, axis=0)
    seconds = seconds[seconds > 0]
    if not len(seconds):
        return None
    caption = f"Seconds from a clip's start to its last frame; half of them are longer than {np.median(seconds):.1f} s."
    with drawing("durations", "Durations", caption) as drawn:
        axes = drawn.axes()
        axes.hist(seconds, 24, rwidth=0.92, color=colour(0))
        axes.grid(False, axis="x")
        axes.set_xlabel("seconds")
        _count_clips(axes)
    return drawn.picture


def _words(clips: Sequence[Clip]) -> Picture | None:
    counts = [len(clip.text.split()) if " " in clip.text.strip() else len(clip.text.strip()) for clip in clips]
    if not any(counts):
        return None
    spaced = any(" " in clip.text.strip() for clip in clips)
    unit = "words" if spaced else "characters"
    with drawing(
        "words", "Text lengths", f"How many {unit} are spoken in a clip, as its transcript has them."
    ) as drawn:
        axes = drawn.axes()
        width = max(1, max(counts) // 24)
        edges = np.arange(0.5, max(counts) + 0.5 + width, width).tolist()
        axes.hist(counts, edges, rwidth=0.92, color=colour(0))
        axes.grid(False, axis="x")
        axes.set_xlabel(unit)
        _count_clips(axes)
    return drawn.picture


def _faces(measured: Sequence[Measured]) -> Picture | None:
    filmed = [m for m in measured if m.modality == "vision" and m.frames.any()]
    filmed = [m for m in filmed if m.settings.get("crop", "face") == "face"]  # the others look for none
    video = [m for m in filmed if not m.extractor.startswith("aligned_")]  # whose frames are words
    if not video:
        return None
    caption = (
        "Share of each clip's frames in which no face was found. Such frames stay in place, empty and marked unseen."
    )
    with drawing("faceless", "Frames without a face", caption, SMALL) as drawn:
        axes = drawn.axes()
        shares = [100 * (1 - m.seen[m.frames > 0] / m.frames[m.frames > 0]) for m in video]
        axes.hist(shares, np.linspace(0, 100, 21).tolist(), rwidth=0.92, label=[m.extractor for m in video])
        for i, patches in enumerate(axes.containers):
            for patch in patches:
                patch.set_facecolor(colour(i) if len(video) > 1 else MODALITY_COLOURS["vision"])
        axes.set_yscale("symlog", linthresh=10)
        axes.grid(False, axis="x")
        axes.set_xlabel("% of frames without a face")
        axes.set_ylabel("clips")
        if len(video) > 1:
            legend(axes)
    return drawn.picture


def _modalities(measured: Sequence[Measured]) -> str:
    rows: list[list[Cell]] = []
    for m in sorted(measured, key=lambda m: (m.modality, m.extractor)):
        have = m.frames > 0
        share = m.seen.sum() / m.frames.sum() if m.frames.sum() else 0.0
        without = int((m.seen == 0).sum())
        frames = f"{np.median(m.frames[have]):.0f}" if have.any() else "0"
        rows.append([m.modality, m.extractor, _settings(m.settings), m.columns, frames, percent(share), without])
    head = ["Modality", "Extractor", "Settings", "Columns", "Frames (median)", "Seen", "Clips without"]
    told = paragraph(
        "What was measured in the clips. “Seen” is the share of frames (or words) in which there was something to "
        "measure, before any loss is simulated."
    )
    return told + table(head, rows, 3)


def _settings(settings: Mapping[str, object]) -> str:
    plain = [
        f"{k} {v}" for k, v in settings.items() if isinstance(v, str | int | float) and not isinstance(v, bool) and v
    ]
    return ", ".join(plain[:3])


def _rejected(refused: Sequence[Reject], lacking: Sequence[Reject]) -> str:
    if not refused and not lacking:
        return paragraph("Nothing was refused, and no clip lacks a modality.")
    parts = []
    if refused:
        parts.append(details(f"Refused clips ({len(refused)})", _reject_table(refused)))
    if lacking:
        parts.append(details(f"Clips kept without one of their modalities ({len(lacking)})", _reject_table(lacking)))
    return "".join(parts)


def _reject_table(rejects: Sequence[Reject]) -> str:
    rows = [[r.id, r.stage, r.reason] for r in rejects[:SHOWN_REJECTS]]
    more = len(rejects) - SHOWN_REJECTS
    rest = paragraph(f"… and {more} more, listed in rejects.csv.") if more > 0 else ""
    return table(["Clip", "By", "Why"], rows, 3) + rest
