"""A voice by formant synthesis. In: a sentence, how it is meant, whose voice. Out: samples and where the mouth opens.

Spelling is read as phones by rough rules; a train of glottal pulses and noise passes four resonators whose frequencies
glide from phone to phone (a cascade synthesiser after Klatt, 1980). It babbles more than it speaks, with the rhythm of
the sentence. Sentiment raises pitch, its range, loudness and brightness.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter, sosfilt

RATE = 22050  # Hz
STEP = 110  # samples for which the resonators stand still: 5 ms
BANDWIDTHS = (70.0, 100.0, 150.0, 250.0)
# First three formants, Hz (after Peterson and Barney, 1952).
VOWELS = {
    "a": (730, 1090, 2440), "e": (530, 1840, 2480), "i": (400, 1990, 2550), "o": (570, 840, 2410),
    "u": (440, 1020, 2240), "y": (300, 2250, 3000), "ee": (270, 2290, 3010), "ea": (300, 2250, 2980),
    "oo": (310, 900, 2240), "ou": (640, 1000, 2400), "ai": (560, 1750, 2500), "er": (490, 1350, 1690),
}  # fmt: skip
# Voicing, noise, centre of the noise in Hz, length in ms, of each class of consonant.
CONSONANTS = {
    "sz": (0.0, 0.5, 5500.0, 90), "cx": (0.0, 0.4, 4200.0, 85), "fh": (0.0, 0.22, 2600.0, 75),
    "vj": (0.4, 0.15, 3200.0, 65), "ptk": (0.0, 0.12, 3000.0, 70), "qbdg": (0.12, 0.06, 1500.0, 60),
    "mn": (0.5, 0.0, 0.0, 70), "lrw": (0.6, 0.0, 0.0, 60),
}  # fmt: skip
NEUTRAL_TRACT = (450, 1400, 2500)


@dataclass(frozen=True)
class Delivery:
    """How a sentence is said. pitch Hz; liveliness: pitch range in octaves; loudness dB; brightness in [0, 1]."""

    pitch: float
    liveliness: float
    loudness: float
    brightness: float
    tract: float = 1.0


@dataclass(frozen=True)
class Phone:
    """One sound: formants Hz, voicing and noise amplitude, centre of the noise Hz, relative length ms."""

    formants: tuple[float, float, float]
    voiced: float
    noise: float
    centre: float
    length: float
    vowel: bool = False


def phones(text: str) -> list[Phone]:
    """The sounds of a sentence, words parted by a short hush."""
    hush = Phone(NEUTRAL_TRACT, 0.0, 0.0, 0.0, 35)
    sounds: list[Phone] = []
    for word in re.findall(r"[a-z]+", text.lower()):
        spelling = re.sub(r"(?<=[^aeiou])e$", "", word) or word
        for group in re.findall(r"[aeiouy]+|[^aeiouy]", spelling):
            sounds.append(_vowel(group) if group[0] in "aeiouy" else _consonant(group))
        sounds.append(hush)
    return sounds or [hush]


def syllables(text: str) -> int:
    """How many vowels will sound."""
    return sum(phone.vowel for phone in phones(text))


def _vowel(group: str) -> Phone:
    formants = VOWELS.get(group[:2], VOWELS[group[0]])
    return Phone(formants, 1.0, 0.015, 3000.0, 135 if len(group) > 1 else 110, vowel=True)


def _consonant(letter: str) -> Phone:
    kind = next((kind for kind in CONSONANTS if letter in kind), "ptk")
    voiced, noise, centre, length = CONSONANTS[kind]
    formants = (280, 1300, 2300) if kind in ("mn", "lrw") else NEUTRAL_TRACT
    return Phone(formants, voiced, noise, centre, length)


def speak(text: str, seconds: float, delivery: Delivery, rng: np.random.Generator) -> np.ndarray:
    """Mono samples (round(seconds · RATE),) float32 in [-1, 1]; a moment of silence at either end."""
    count = round(seconds * RATE / STEP)
    tracks = _tracks(phones(text), count, rng)
    pitch = _pitch(count, tracks, delivery, rng)
    voiced = _pulses(np.repeat(pitch, STEP), delivery.brightness) * _smooth(tracks["voiced"])
    noise = rng.normal(0, 1, count * STEP)
    formants = tracks["formants"] * delivery.tract
    breath = 0.012 * noise * _smooth(tracks["voiced"])
    sound = _resonate(voiced + breath, formants) + _hiss(noise * _smooth(tracks["noise"]), tracks["centre"])
    sound *= 0.08 / (np.sqrt(np.mean(sound**2)) + 1e-9)  # the same level for every sentence, before its loudness
    sound = sound * 10 ** (delivery.loudness / 20) + rng.normal(0, 6e-4, len(sound))
    whole = np.zeros(round(seconds * RATE), np.float32)
    kept = min(len(whole), len(sound))
    whole[:kept] = np.tanh(sound[:kept])
    return whole


def _tracks(sounds: list[Phone], count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Formants (count, 3), voicing, noise and its centre (count,), one value every STEP samples, gliding."""
    lengths = np.array([phone.length * rng.uniform(0.85, 1.15) for phone in sounds])
    margin = 0.06 * count
    ends = margin + np.cumsum(lengths) / lengths.sum() * (count - 2 * margin)
    which = np.searchsorted(ends, np.arange(count), side="right")
    silent = (which >= len(sounds)) | (np.arange(count) < margin)
    which = np.minimum(which, len(sounds) - 1)

    def track(name: str, glide: int) -> np.ndarray:
        values = np.array([getattr(phone, name) for phone in sounds], float)[which]
        if name in ("voiced", "noise"):
            values[silent] = 0
        window = np.hanning(glide + 2)[1:-1]
        padded = np.pad(values, [(glide // 2, glide - 1 - glide // 2)] + [(0, 0)] * (values.ndim - 1), mode="edge")
        return np.apply_along_axis(np.convolve, 0, padded, window / window.sum(), mode="valid")

    return {"formants": track("formants", 13), "voiced": track("voiced", 7), "noise": track("noise", 5),
            "centre": track("centre", 5)}  # fmt: skip


def _pitch(count: int, tracks: dict[str, np.ndarray], delivery: Delivery, rng: np.random.Generator) -> np.ndarray:
    """f0 (count,) Hz: falls towards the end, rises on sounded syllables, trembles a little."""
    time = np.linspace(0, 1, count)
    stress = np.convolve(tracks["voiced"], np.hanning(25) / np.hanning(25).sum(), mode="same")
    phases = rng.uniform(0, 2 * np.pi, 2)
    melody = 0.6 * np.sin(2 * np.pi * 1.3 * time + phases[0]) + 0.4 * np.sin(2 * np.pi * 2.9 * time + phases[1])
    octaves = delivery.liveliness * (melody + stress - 0.5) - 0.12 * time + rng.normal(0, 0.004, count)
    return delivery.pitch * 2**octaves


def _pulses(pitch: np.ndarray, brightness: float) -> np.ndarray:
    """The flow of air through the glottis, differentiated (Rosenberg's pulse); brighter voices close faster."""
    phase = np.cumsum(pitch / RATE) % 1
    opened, closing = 0.6 - 0.2 * brightness, 0.2 - 0.12 * brightness
    rise = 0.5 * (1 - np.cos(np.pi * phase / opened))
    fall = np.cos(np.pi / 2 * (phase - opened) / closing)
    flow = np.where(phase < opened, rise, np.where(phase < opened + closing, fall, 0))
    return np.diff(flow, prepend=0) * RATE / pitch / 4


def _smooth(track: np.ndarray) -> np.ndarray:
    """A track with a value for every sample."""
    at = np.arange(len(track)) * STEP + STEP / 2
    return np.interp(np.arange(len(track) * STEP), at, track)


def _resonate(excitation: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """The excitation through a cascade of four resonators, their state kept from step to step."""
    frequencies = np.column_stack([formants, np.full(len(formants), 3500.0)])
    radius = np.exp(-np.pi * np.array(BANDWIDTHS) / RATE)
    cosine = -2 * radius * np.cos(2 * np.pi * frequencies / RATE)
    sections = np.zeros((len(formants), 4, 6))
    sections[..., 3], sections[..., 4], sections[..., 5] = 1, cosine, radius**2
    sections[..., 0] = 1 + cosine + radius**2  # gain 1 at 0 Hz
    return _filtered(excitation, sections)


def _hiss(noise: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Noise through one wide resonator at its centre."""
    radius = np.exp(-np.pi * 1800 / RATE)
    sections = np.zeros((len(centre), 1, 6))
    sections[:, 0, 3], sections[:, 0, 5] = 1, radius**2
    sections[:, 0, 4] = -2 * radius * np.cos(2 * np.pi * np.clip(centre, 800, 9000) / RATE)
    sections[:, 0, 0], sections[:, 0, 2] = 0.3, -0.3
    return _filtered(noise, sections)


def _filtered(sound: np.ndarray, sections: np.ndarray) -> np.ndarray:
    """Second-order sections that change every STEP samples, (steps, n, 6)."""
    state = np.zeros((sections.shape[1], 2))
    pieces = []
    for block, sos in zip(sound.reshape(-1, STEP), sections):
        piece, state = sosfilt(sos, block, zi=state)
        pieces.append(piece)
    return np.concatenate(pieces)


def loudness(samples: np.ndarray, fps: float, frames: int) -> np.ndarray:
    """How loud each video frame is, (frames,) in [0, 1]: 1 is this clip's own loudest syllables."""
    power = lfilter(np.ones(400) / 400, 1, samples.astype(float) ** 2)
    at = np.clip(((np.arange(frames) + 0.5) / fps * RATE).astype(int), 0, len(power) - 1)
    level = np.sqrt(power[at])
    return np.clip(level / (np.percentile(level, 95) + 1e-9), 0, 1)
