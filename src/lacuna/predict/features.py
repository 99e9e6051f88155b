"""Features of one new clip, made as a checkpoint's were. In: a clip and a card. Out: a sample, and what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lacuna.align.words import Settings, average
from lacuna.data.samples import Sample
from lacuna.extract.cached import Extraction
from lacuna.media import decode
from lacuna.params import plugin_names
from lacuna.predict.transcript import Transcript, token_spans
from lacuna.storage.features import Origin
from lacuna.train.checkpoint import Card, check_features
from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence

if TYPE_CHECKING:
    from lacuna.data.heard import Heard
    from lacuna.figures.overlay import Preview  # which draws with what an answer alone does not need


SHOWN = 80  # characters of words that are not read


@dataclass(frozen=True)
class Given:
    """A clip's features, unscaled; what they lack; when each frame (or token) of a modality is, s; its length, s.

    `heard`: what a recogniser told, where the words are its; `preview`: a small copy to play, where one was asked for.
    """

    sample: Sample
    notes: tuple[str, ...]
    middles: dict[str, np.ndarray]
    seconds: float
    heard: Heard | None = None
    preview: Preview | None = None


def extractions_of(card: Card, cache: Path) -> dict[str, Extraction]:
    """The extractors that make such features; MalformedInput where the model was trained on given ones.

    The card is a `trusted` one: nothing here asks who named the programs and weights in it.
    """
    extractions = {}
    for modality, origin in card.origins.items():
        if origin.extractor not in plugin_names("extractors"):
            raise MalformedInput(
                f"{modality}: expected a model of features that can be made from a video, but it was trained on given "
                f"ones ({origin.extractor}, {len(origin.columns)} columns): train one on what extract.extractors names"
            )
        values = {key: value for key, value in origin.settings.items() if key != "aligned"}
        extractions[modality] = Extraction(origin.extractor, values, cache)
    return extractions


def features_of(clip: Clip, transcript: Transcript, card: Card, extractions: Mapping[str, Extraction]) -> Given:
    """Every modality that the checkpoint reads; one that cannot be had has no frames, and a note says why."""
    origins = card.origins
    spans = _spans(clip, transcript, origins)
    features, notes = {}, [*transcript.notes]
    for modality, origin in origins.items():
        check_features(card, {modality: extractions[modality].origin})
        sequence, told = _extracted(clip, modality, origin, extractions[modality])
        if "aligned" in origin.settings and len(sequence):
            if spans is None:
                sequence, told = (
                    empty_sequence(origin.columns),
                    [f"{modality}: averaged over words, and there are none"],
                )
            else:
                sequence = average(sequence, spans)
        features[modality] = sequence
        notes += told
    if not any(sequence.seen.any() for sequence in features.values()):
        raise MalformedInput(f"{clip.path}: expected something to predict from; {'; '.join(notes)}")
    seconds = _seconds(clip, features)
    worded = {m for m in origins if m == "text" or "aligned" in origins[m].settings}
    middles = {m: _middles(sequence, m in worded, spans, seconds) for m, sequence in features.items()}
    return Given(Sample(clip, features), tuple(notes), middles, seconds, transcript.heard)


def _extracted(clip: Clip, modality: str, origin: Origin, extraction: Extraction) -> tuple[FeatureSequence, list[str]]:
    """The sequence, and what is to be told of it."""
    nothing = empty_sequence(origin.columns, np.dtype(origin.dtype).type)
    if modality == "text" and not clip.text:
        return nothing, []  # its transcript has told why
    sequence = extraction(clip)
    if isinstance(sequence, MalformedInput):
        return nothing, [f"{modality}: {sequence}"]
    rest = getattr(extraction.extractor, "unread", lambda clip: "")(clip)
    cut = f"{modality}: cut at {len(sequence)} tokens, as the model's own texts were; not read: {_shortened(rest)!r}"
    told = (_lack(modality, sequence), cut if rest else "", _changed(modality, origin, extraction.origin))
    return sequence, [note for note in told if note]


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"


def _lack(modality: str, sequence: FeatureSequence) -> str:
    if not sequence.seen.any():
        pictures = "face" if len(sequence) else "picture"
        what = {"audio": "sound", "vision": pictures, "image": pictures, "text": "words"}.get(modality, "frames")
        return f"{modality}: no {what} found"
    share = 1 - sequence.seen.mean()
    return f"{modality}: no face in {share:.0%} of the frames" if modality in ("vision", "image") and share else ""


def _changed(modality: str, wanted: Origin, made: Origin) -> str:
    changed = [k for k, v in wanted.versions.items() if made.versions.get(k) != v]
    return f"{modality}: made with other versions of {', '.join(changed)} than the model's own" if changed else ""


def _spans(clip: Clip, transcript: Transcript, origins: Mapping[str, Origin]) -> np.ndarray | None:
    """(T, 2) s of each token, None where there is no text, or none that is made of tokens."""
    if not clip.text:
        return None
    own = next((o.settings["aligned"] for o in origins.values() if "aligned" in o.settings), None)
    if own is not None:
        return token_spans(clip, transcript, Settings(**own))
    text = origins.get("text")
    if text is None or not {"source", "max_length"} <= set(text.settings):
        return None
    told = text.settings
    clean = tuple(told.get("clean", ()))
    tokens = Settings(tokenizer=str(told["source"]), max_length=int(told["max_length"]), clean=clean)
    return token_spans(clip, transcript, tokens)


def _middles(sequence: FeatureSequence, worded: bool, spans: np.ndarray | None, seconds: float) -> np.ndarray:
    """(T,) s; of text (and what is aligned to it) the middles of its tokens, -inf for those that are no words."""
    if not worded:
        return sequence.times
    if spans is not None and len(spans) == len(sequence):
        return np.nan_to_num(spans.mean(1), nan=-np.inf)
    return (np.arange(len(sequence)) + 0.5) / max(1, len(sequence)) * seconds


def _seconds(clip: Clip, features: Mapping[str, FeatureSequence]) -> float:
    """The clip's length; 0 for a picture."""
    if "image" in features:
        return 0.0
    if clip.end is not None:
        return clip.end - clip.start
    if clip.path is None:
        raise MalformedInput(f"{clip.id}: expected a media file, got none")
    said = decode.probe(clip.path).duration - clip.start
    last = [float(features[m].times[-1]) for m in ("audio", "vision") if len(features.get(m, ()))]
    return max(0.0, said, *last)  # recordings made in a browser do not say how long they are
