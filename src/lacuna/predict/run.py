"""An answer for one video. In: a file, its words if they are known, and a checkpoint. Out: an `Answer`.

    import lacuna
    model = lacuna.load("processed/demo/models/lnln/1111")
    print(model("clip.mp4", text="what a day"))

Features are made as the checkpoint says that its own were. Whatever cannot be had counts as missing: no text given, no
sound track, no face.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lacuna.data.samples import Sample, Samples, specials
from lacuna.extract.cached import Extraction
from lacuna.mask.mask import Draw, lose
from lacuna.media import decode
from lacuna.params import plugin
from lacuna.predict.answers import Answer, Moment, Question
from lacuna.predict.features import Given, extractions_of, features_of
from lacuna.predict.transcript import Cue, Transcript, read_transcript
from lacuna.predict.trust import trusted
from lacuna.storage.cache import default_root
from lacuna.train import checkpoint as checkpoints
from lacuna.train.trainer import choose_device
from lacuna.train.trainer import predict as predict_samples
from lacuna.transcribe import engines
from lacuna.types import MODALITIES, Clip, FeatureSequence, MalformedInput

STEP, REACH = 1.0, 0.5  # s: one point of the curve a second, and how far it looks to both sides of its second
REST = 0.3  # of a step: sound often ends a little after the pictures
SEVEN = ("highly negative", "negative", "weakly negative", "neutral", "weakly positive", "positive", "highly positive")
FIVE = ("negative", "weakly negative", "neutral", "weakly positive", "positive")
SIMS_EDGES = (-0.7, -0.1, 0.1, 0.7)  # of the five classes of scores in [-1, 1]


class Predictor:
    """A trained model that answers for files."""

    def __init__(
        self,
        checkpoint: Path | str,
        device: str = "auto",
        cache: Path | None = None,
        use: Mapping[str, str] | None = None,
    ) -> None:
        folder = Path(checkpoint)
        self.card = trusted(checkpoints.read_card(folder), use or {})  # before anything that it names is read
        encoder = self.card.settings.get("encoder") if self.card.spec.tokens else None
        self.network, _ = checkpoints.load(folder, encoder if isinstance(encoder, str) else "")
        self.spec = self.card.spec
        self.device = choose_device(device)
        self.cache = default_root() if cache is None else cache
        self._scaler = checkpoints.scaler_of(self.card)

    @cached_property
    def extractions(self) -> dict[str, Extraction]:
        """What makes the model's features; kept, so that a second file does not load weights again."""
        return extractions_of(self.card, self.cache)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model reads."""
        return tuple(sorted(self.spec.widths, key=lambda m: (MODALITIES.index(m) if m in MODALITIES else 9, m)))

    def __call__(self, path: Path | str, question: Question | None = None, **options: Any) -> Answer:  # noqa: ANN401
        """The answer for one file; `options` are fields of `Question`."""
        question = question or Question(**options)
        question.check(self.modalities)
        return self.answer(self.read(path, question), question)

    def read(self, path: Path | str, question: Question) -> Given:
        """Features of the file: what takes time, and is the same whatever is dropped afterwards."""
        path = Path(path)
        if decode.is_picture(path):
            decode.image(path)  # a file that cannot be read is refused here, before anything is made of it
        else:
            _check_span(path, question, decode.probe(path).duration)
        transcript = self._transcript(path, question)
        clip = Clip(path.stem, "given", "test", transcript.text, {}, path, question.start, question.end)
        return features_of(clip, transcript, self.card, self.extractions)

    def _transcript(self, path: Path, question: Question) -> Transcript:
        """The words of the file, from wherever the question says; they tell why where there are none."""
        given = question.text or question.transcript is not None or question.asr
        if not self._worded:
            read = ", ".join(self.modalities)
            return Transcript("", (), (f"text: not used, the model reads {read}",) if given else ())
        if not given:
            return Transcript("", (), ("text: none was given",))
        if question.transcript is not None:
            return read_transcript(Path(question.transcript), question.start, question.end, question.encoding)
        return _heard(path, question) if question.asr else _typed(question.text or "")

    @property
    def _worded(self) -> bool:
        """Whether the model reads words, or what was averaged over words."""
        return "text" in self.modalities or any("aligned" in o.settings for o in self.card.origins.values())

    def answer(self, given: Given, question: Question) -> Answer:
        """What the model says of these features under this question: one pass for all that is asked."""
        question.check(self.modalities)
        lossy = _lossy(given.sample, question)
        seen = {m: float(s.seen.mean()) if len(s) else 0.0 for m, s in lossy.features.items()}
        present, windows = [m for m in self.modalities if seen[m]], _windows(given.seconds)
        asked = [lossy, *(_without(lossy, m) for m in present), *(_window(lossy, given, w) for w in windows)]
        outputs = predict_samples(self.network, Samples.of(asked).scaled(self._scaler), self.spec, self.device)
        told = outputs["prediction"]
        names = self.card.class_names()
        chosen = int(told[0].argmax()) if names else 0
        scores = told[:, chosen] if names else told
        uncertainty = outputs.get("uncertainty")
        return Answer(
            file=str(given.sample.clip.path),
            model=self.card.model,
            text=given.sample.clip.text,
            heard=given.heard,
            score=float(scores[0]),
            sentiment=names[chosen] if names else self._named(float(scores[0])),
            probabilities=dict(zip(names, told[0].tolist())) if names else {},
            uncertainty=None if uncertainty is None else float(uncertainty[0]),
            contributions={m: float(scores[0] - s) for m, s in zip(present, scores[1:])},
            curve=tuple(Moment(*w, float(s)) for w, s in zip(windows, scores[1 + len(present) :])),
            seen=seen,
            notes=(*given.notes, *question.losses()),
        )

    def _named(self, score: float) -> str:
        """A score as the field's class of it: of seven in [-3, 3], of five in [-1, 1], else its sign."""
        most = float(self.card.label_range[1])
        if most == 3:
            return SEVEN[int(np.round(np.clip(score, -3, 3))) + 3]
        if most == 1:
            return FIVE[int(np.searchsorted(SIMS_EDGES, score))]
        return "negative" if score < 0 else "positive" if score > 0 else "neutral"


def _check_span(path: Path, question: Question, length: float) -> None:
    """MalformedInput where the span is not within the file, as `prepare` refuses it."""
    end = question.start if question.end is None else question.end
    if length and max(question.start, end - decode.TOLERANCE) >= length:
        raise MalformedInput(f"{path}: expected a span within its {length:.2f} s, got {question.start} to {end} s")


def _typed(text: str) -> Transcript:
    return Transcript(text.strip(), (), () if text.strip() else ("text: none was given",))


def _heard(path: Path, question: Question) -> Transcript:
    """What is said in the file, with the times of words where the recogniser tells them."""
    recogniser = engines.engine(engines.engine_for(question.asr), question.asr)
    heard = engines.hear(path, recogniser, question.start, question.end)
    cues = tuple(Cue(word.text, word.start, word.end) for word in heard.words)
    return Transcript(heard.text, cues, () if heard.text else ("text: no words were heard",), heard)


def _lossy(sample: Sample, question: Question) -> Sample:
    """The sample after the losses that were asked for."""
    features = dict(sample.features)
    for modality, rate in question.missing.items():
        draw = Draw("given", sample.clip.id, modality, "frames", float(rate), question.seed)
        survives = plugin("patterns", "frames").survivors(features[modality], draw)
        features[modality] = lose(features[modality], survives)
    sample = replace(sample, features=features)
    for modality in question.drop:
        sample = _without(sample, modality)
    return sample


def _without(sample: Sample, modality: str) -> Sample:
    """The sample as if it had nothing of a modality."""
    sequence = sample.features[modality]
    nothing = FeatureSequence(sequence.values[:0], sequence.times[:0], sequence.seen[:0], sequence.columns)
    return replace(sample, features=sample.features | {modality: nothing})


def _windows(seconds: float) -> list[tuple[float, float]]:
    """(start, end) s of each second of the clip; a short rest at its end joins the last whole one."""
    if not seconds:
        return []
    count = max(1, int(np.ceil(seconds / STEP - REST)))
    return [(k * STEP, seconds if k + 1 == count else (k + 1) * STEP) for k in range(count)]


def _window(sample: Sample, given: Given, window: Sequence[float]) -> Sample:
    """The clip cut to a second and half a second around it: what a model would see of a shorter clip."""
    low, high = window[0] - REACH, window[1] + REACH
    features = {}
    for modality, sequence in sample.features.items():
        times = given.middles[modality][: len(sequence)]  # a modality that was left out has no frames
        kept = (times >= low) & (times < high)
        special = specials(sequence)
        if kept[~special].any():
            kept |= special
        features[modality] = FeatureSequence(
            sequence.values[kept], sequence.times[kept], sequence.seen[kept], sequence.columns
        )
    return replace(sample, features=features)
