"""Builder of synthetic samples for MMSA pickles. In: counts, lengths and widths. Out: samples, tokens, origins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lacuna.data.samples import Sample, Samples
from lacuna.storage.features import Origin
from lacuna.types import SPLITS, TOKEN_COLUMNS, Clip, FeatureSequence


class DictOfTokens:
    """Token sequences by clip id, as a FeatureFile would give them."""

    origin = Origin("tokens", "text", TOKEN_COLUMNS, {"source": "random"}, {"lacuna_extractor": "1"}, "int64")

    def __init__(self, sequences: dict[str, FeatureSequence]) -> None:
        self.sequences = sequences

    def __getitem__(self, clip_id: str) -> FeatureSequence:
        return self.sequences[clip_id]


@dataclass
class Made:
    """What `mmsa.dump` takes."""

    samples: list[Sample]
    tokens: DictOfTokens
    origins: dict[str, Origin]

    @property
    def whole(self) -> Samples:
        """The samples with their tokens."""
        words = [self.tokens[s.clip.id] for s in self.samples]
        return Samples.of([Sample(s.clip, s.features | {"tokens": t}) for s, t in zip(self.samples, words)])

    @property
    def all_origins(self) -> dict[str, Origin]:
        return self.origins | {"tokens": self.tokens.origin}


def origin(modality: str, width: int) -> Origin:
    """An origin with columns of the usual names."""
    prefix = "hidden" if modality == "text" else modality
    return Origin(modality, modality, tuple(f"{prefix}_{i}" for i in range(width)), {"a": 1}, {"b": "2"})


def samples_of(
    counts: tuple[int, int, int] = (6, 3, 3),
    longest: tuple[int, int, int] = (9, 12, 10),
    widths: tuple[int, int, int] = (8, 5, 4),
    labels: str = "M",
    aligned: bool = False,
    interleaved: bool = False,
    vocabulary: int = 20000,
    limit: float = 3.0,
    seed: int = 0,
) -> Made:
    """Samples by split with text, audio and vision of random lengths (the first clip has the longest)."""
    rng = np.random.default_rng(seed)
    origins = {m: origin(m, width) for m, width in zip(("text", "audio", "vision"), widths)}
    splits = [split for split, count in zip(SPLITS, counts) for _ in range(count)]
    splits = splits[::2] + splits[1::2] if interleaved else splits
    samples, tokens = [], {}
    for i, split in enumerate(splits):
        scores = {name: float(np.round(rng.uniform(-limit, limit), 3)) for name in labels}
        clip = Clip(f"video{i // 3}$_${i}", "synthetic", split, f"sentence {i}", scores)
        lengths = longest if i == 0 else [int(rng.integers(4, most + 1)) for most in longest]
        lengths = (lengths[0],) * 3 if aligned else lengths
        tokens[clip.id] = _tokens(rng, lengths[0], vocabulary)
        features = {m: _features(rng, o.columns, n, aligned) for (m, o), n in zip(origins.items(), lengths)}
        samples.append(Sample(clip, features))
    return Made(samples, DictOfTokens(tokens), origins)


def other_words(made: Made) -> Made:
    """The same with text in tokens of another kind, one more a clip, as a language model of its own has them."""

    def longer(sample: Sample) -> Sample:
        text = sample.features["text"]
        more = FeatureSequence(
            text.values[[0, *range(len(text))]],
            np.arange(len(text) + 1) / 7,
            text.seen[[0, *range(len(text))]],
            text.columns,
        )
        return Sample(sample.clip, sample.features | {"text": more})

    return Made([longer(sample) for sample in made.samples], made.tokens, made.origins)


def _tokens(rng: np.random.Generator, length: int, vocabulary: int) -> FeatureSequence:
    values = np.stack([rng.integers(1000, vocabulary, length), np.ones(length, int), np.zeros(length, int)], 1)
    values[[0, -1], 0] = 101, 102
    return FeatureSequence(values.astype(np.int64), np.arange(length) / 3, np.ones(length, bool), TOKEN_COLUMNS)


def _features(rng: np.random.Generator, columns: tuple[str, ...], length: int, aligned: bool) -> FeatureSequence:
    seen = rng.uniform(size=length) < 0.9
    if aligned:
        seen[[0, -1]] = columns[0] == "hidden_0"
    values = rng.normal(size=(length, len(columns))).astype(np.float32) * seen[:, None]
    return FeatureSequence(values, np.arange(length) / 7, seen, columns)
