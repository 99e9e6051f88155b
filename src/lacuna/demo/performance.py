"""How a line is played. In: a `Line`. Out: how long it is, how it is said, and the face and head of every frame.

The labels of voice and face decide what is done on average; each thing done has an error of its own, so that no single
measurement gives a label away, and much that moves (speech, blinks, turns of the head) says nothing of sentiment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lacuna.demo import voice
from lacuna.demo.expression import Expression
from lacuna.demo.head import Pose
from lacuna.demo.script import Line

USUAL_SYLLABLES = 9  # of a sentence that lasts as long as asked
ERROR = 0.25  # of each thing done, where the whole range from -3 to 3 is 2


@dataclass(frozen=True)
class Performance:
    """Mono samples (n,) float32 at voice.RATE, and one expression and pose per video frame."""

    samples: np.ndarray
    moments: list[tuple[Expression, Pose]]


def perform(line: Line, seconds: float, fps: int) -> Performance:
    """Play a line; `seconds` is the length of a usual sentence, longer ones take longer."""
    rng = np.random.default_rng(line.seed)
    spoken = np.clip(voice.syllables(line.text) / USUAL_SYLLABLES, 0.7, 1.4) ** 0.7 / line.speaker.rate
    tempo = 1 + 0.06 * _done(line.labels["A"], rng)
    frames = max(2, round(seconds * spoken / tempo * fps))
    samples = voice.speak(line.text, frames / fps, _delivery(line, rng), rng)
    energy = voice.loudness(samples, fps, frames)
    expressions = _expressions(line, energy, fps, rng)
    return Performance(samples, list(zip(expressions, _poses(line, energy, fps, rng))))


def _done(label: float, rng: np.random.Generator) -> float:
    """What a label in [-3, 3] makes of something done on a scale from -1 to 1: the label, and an error."""
    return label / 3 + ERROR * rng.normal()


def _delivery(line: Line, rng: np.random.Generator) -> voice.Delivery:
    meant, speaker = line.labels["A"], line.speaker
    return voice.Delivery(
        pitch=speaker.pitch * 2 ** (0.38 * _done(meant, rng)),
        liveliness=max(0.02, 0.16 + 0.1 * _done(meant, rng)),
        loudness=speaker.loudness + 4.5 * _done(meant, rng),
        brightness=float(np.clip(0.5 + 0.4 * _done(meant, rng), 0, 1)),
        tract=speaker.tract,
    )


def _expressions(line: Line, energy: np.ndarray, fps: int, rng: np.random.Generator) -> list[Expression]:
    frames = len(energy)
    meant = line.labels["V"]
    smile = _done(meant, rng) * _onset(frames, rng) + 0.06 * _drift(frames, fps, rng)
    frowned = np.clip(-_done(meant, rng) - 0.1, 0, 1) * _onset(frames, rng)
    raised = np.clip(0.25 + 0.3 * _done(meant, rng), 0, 1) * _onset(frames, rng) + 0.15 * _drift(frames, fps, rng)
    jaw = np.clip(0.75 * energy**1.3 + 0.03 * rng.normal(size=frames), 0, 1)
    tracks = {
        "smile": np.clip(smile, -1, 1),
        "brow_down": np.clip(frowned, 0, 1),
        "brow_up": np.clip(raised * (1 - frowned), 0, 1),
        "jaw": np.convolve(np.pad(jaw, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid"),
        "blink": _blinks(frames, fps, rng),
        "gaze": np.clip(0.5 * rng.normal() + 0.3 * _drift(frames, fps, rng), -1, 1),
    }
    return [Expression(**{name: float(track[k]) for name, track in tracks.items()}) for k in range(frames)]


def _poses(line: Line, energy: np.ndarray, fps: int, rng: np.random.Generator) -> list[Pose]:
    """Head turns, with a small nod on loud syllables."""
    frames, speaker = len(energy), line.speaker
    yaw = speaker.yaw + 0.05 * rng.normal() + 0.05 * _drift(frames, fps, rng)
    pitch = 0.03 * rng.normal() + 0.025 * _drift(frames, fps, rng) + 0.03 * (energy - energy.mean())
    roll = 0.03 * rng.normal() + 0.025 * _drift(frames, fps, rng)
    x, y = 2.5 * _drift(frames, fps, rng), 1.5 * _drift(frames, fps, rng)
    zoom = speaker.zoom * (1 + 0.01 * _drift(frames, fps, rng))
    limits = (np.clip(yaw, -0.25, 0.25), np.clip(pitch, -0.12, 0.12), np.clip(roll, -0.12, 0.12))
    return [Pose(*map(float, moment)) for moment in zip(*limits, x, y, zoom)]


def _onset(frames: int, rng: np.random.Generator) -> np.ndarray:
    """An action that builds up and eases off, (frames,) in [0.45, 1]."""
    time = np.linspace(0, 1, frames)
    start, end = rng.uniform(0.05, 0.3), rng.uniform(0.75, 1.1)
    return 0.45 + 0.55 / ((1 + np.exp(-(time - start) / 0.05)) * (1 + np.exp((time - end) / 0.05)))


def _drift(frames: int, fps: int, rng: np.random.Generator) -> np.ndarray:
    """An idle movement of a few slow waves, (frames,), about 1 in size."""
    time = np.arange(frames) / fps
    waves = zip((0.35, 0.8, 1.7), (0.8, 0.5, 0.2), rng.uniform(0, 2 * np.pi, 3))
    return sum(size * np.sin(2 * np.pi * rate * time + phase) for rate, size, phase in waves)


def _blinks(frames: int, fps: int, rng: np.random.Generator) -> np.ndarray:
    """Lids shut for a seventh of a second about every two seconds, (frames,) in [0, 1]."""
    time = np.arange(frames) / fps
    shut = np.zeros(frames)
    at = rng.uniform(0.1, 2.0)
    while at < frames / fps:
        shut = np.maximum(shut, np.exp(-(((time - at) / 0.07) ** 4)))
        at += rng.uniform(1.4, 3.0)
    return shut
