"""Who says what, and how it is meant. In: settings. Out: one `Line` per clip, with its speaker, words and labels.

A clip's label is a weighted sum of three parts: what the words, the voice and the face say. The parts share a mood and
differ by chance, so each modality knows something that the others do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from lacuna.demo.sentences import sentence

WEIGHTS = {"T": 0.5, "A": 0.25, "V": 0.25}
FRACTIONS = {"train": 0.6, "valid": 0.15, "test": 0.25}
CLIPS_PER_VIDEO = 8


@dataclass(frozen=True)
class Speaker:
    """What stays the same within a video and says nothing of sentiment."""

    video: str
    pitch: float  # Hz
    tract: float  # formants against an average speaker's
    rate: float  # speed of speech against an average speaker's
    loudness: float  # dB
    backdrop: tuple[float, float, float]  # RGB gains
    light: tuple[float, float, float]
    yaw: float  # rad, how the speaker sits before the camera
    zoom: float


@dataclass(frozen=True)
class Line:
    """One clip to be played. `labels` are M, T, A, V in [-3, 3]; `seed` decides its small movements."""

    speaker: Speaker
    clip: str
    text: str
    labels: dict[str, float]
    split: str
    seed: tuple[int, int]


def write_script(clips: int, seed: int) -> list[Line]:
    """`clips` lines; the same seed gives the same ones. Videos are whole within a split."""
    rng = np.random.default_rng(seed)
    lines: list[Line] = []
    said: set[str] = set()
    speaker: Speaker | None = None
    meant = np.concatenate([_meant(count, rng) for count in _counts(clips).values()])
    for number, (video, clip, split) in enumerate(_places(clips)):
        if clip == 0 or speaker is None:
            speaker = _speaker(rng, f"speaker_{video:02d}")
        text, labels = _meaning(rng, meant[number], said)
        lines.append(Line(speaker, f"{clip:04d}", text, labels, split, (seed, number)))
    return lines


def _counts(clips: int) -> dict[str, int]:
    counts = {split: round(share * clips) for split, share in FRACTIONS.items()}
    return counts | {"train": counts["train"] + clips - sum(counts.values())}


def _meant(clips: int, rng: np.random.Generator) -> np.ndarray:
    """What words, voice and face are to say in each clip of a split, (clips, 3) in [-3, 3].

    Mood and the parts' own shares are quantiles in random order: a small split is as varied as a large one.
    """
    levels = (np.arange(clips) + 0.5) / clips
    mood = rng.permutation(6 * levels - 3)
    own = np.stack([rng.permutation(ndtri(levels)) for _ in range(3)], axis=1)
    return np.clip(0.55 * mood[:, None] + 1.2 * own, -3, 3)


def _places(clips: int) -> list[tuple[int, int, str]]:
    """(video, clip within it, split) for each clip."""
    places, video = [], -1
    for split, count in _counts(clips).items():
        for k in range(count):
            video += k % CLIPS_PER_VIDEO == 0
            places.append((video, k % CLIPS_PER_VIDEO, split))
    return places


def _speaker(rng: np.random.Generator, video: str) -> Speaker:
    return Speaker(
        video=video,
        pitch=160 * 2 ** rng.uniform(-0.35, 0.35),
        tract=rng.uniform(0.94, 1.1),
        rate=rng.uniform(0.92, 1.08),
        loudness=rng.uniform(-2, 2),
        backdrop=tuple(rng.uniform(0.55, 1.1) * rng.uniform(0.78, 1.18, 3)),
        light=tuple(rng.uniform(0.75, 1.1) * rng.uniform(0.94, 1.06, 3)),
        yaw=rng.uniform(-0.1, 0.1),
        zoom=rng.uniform(0.95, 1.08),
    )


def _meaning(rng: np.random.Generator, meant: np.ndarray, said: set[str]) -> tuple[str, dict[str, float]]:
    """A sentence and the labels of what words, voice and face say; the words' label is their own score."""
    wish, voice, face = meant
    text, score = sentence(rng, wish, said)
    parts = {"T": score, "A": float(voice), "V": float(face)}
    whole = sum(weight * parts[part] for part, weight in WEIGHTS.items())
    return text, {part: round(value, 2) for part, value in {"M": whole, **parts}.items()}
