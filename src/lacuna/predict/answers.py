"""A question about one clip and the answer to it. In: plain values. Out: records, and lines for a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lacuna.data.heard import Heard
from lacuna.types import MalformedInput


@dataclass(frozen=True)
class Question:
    """What is known of a clip beside its file, and what the model shall do without.

    text: the words; transcript: a .srt, .vtt or .txt file of them; encoding: of that file, if it is not utf-8; asr: a
    speech recognition model to hear them with; start, end: seconds within the file; drop: modalities to leave out;
    missing: {modality: share of frames to lose}; seed: decides which.
    """

    text: str | None = None
    transcript: Path | str | None = None
    encoding: str = ""
    asr: str = ""
    start: float = 0.0
    end: float | None = None
    drop: Sequence[str] = ()
    missing: Mapping[str, float] = field(default_factory=dict)
    seed: int = 1

    def check(self, modalities: Sequence[str]) -> None:
        """Refuse losses of what the model does not read, shares that are none, and words given twice."""
        words = {"text": self.text is not None, "transcript": self.transcript is not None, "asr": bool(self.asr)}
        if sum(words.values()) > 1:
            named = " and ".join(name for name, given in words.items() if given)
            raise MalformedInput(f"text, transcript, asr: expected one of them, got {named}")
        if self.encoding and self.transcript is None:
            raise MalformedInput(f"encoding: expected the transcript that is in {self.encoding!r}, got none")
        for name in (*self.drop, *self.missing):
            if name not in modalities:
                expected = ", ".join(modalities)
                raise MalformedInput(f"drop, missing: expected modalities of the model ({expected}), got {name!r}")
        for name, rate in self.missing.items():
            if not 0 <= rate <= 1:
                raise MalformedInput(f"missing {name}: expected a share from 0 to 1, got {rate}")

    def losses(self) -> list[str]:
        """What was asked to be lost, in words."""
        told = [f"{modality}: left out, as asked" for modality in self.drop]
        return told + [f"{m}: {rate:.0%} of it lost, as asked" for m, rate in self.missing.items() if rate]


@dataclass(frozen=True)
class Moment:
    """One point of the curve: what the model says of the clip around these seconds."""

    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Answer:
    """What the model says of a clip.

    text: the words that were used; heard: what the recogniser told, where they are its; score: the sentiment, or the
    probability of the named class for classifiers; sentiment: that class; probabilities: of all classes (empty for
    scores); uncertainty: where the model tells one; contributions: by how much the score would be lower without the
    modality; seen: share of frames of each modality that it saw; notes: what was missing.
    """

    file: str
    model: str
    text: str
    heard: Heard | None
    score: float
    sentiment: str
    probabilities: dict[str, float]
    uncertainty: float | None
    contributions: dict[str, float]
    curve: tuple[Moment, ...]
    seen: dict[str, float]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)

    @property
    def source(self) -> str:
        """Where its words come from."""
        return "text" if self.heard is None else "heard"

    def lines(self) -> list[tuple[str, str]]:
        """(name, value) lines for a screen."""
        told = [("file", self.file), ("model", self.model)]
        told += [(self.source, self.text)] if self.text else []
        told += [("", self.heard.sure)] if self.text and self.heard is not None and self.heard.sure else []
        number = ".2f" if self.probabilities else "+.2f"
        told += [("sentiment", f"{self.sentiment} ({self.score:{number}})")]
        told += [(f"  {name}", f"{share:.0%}") for name, share in self.probabilities.items()]
        if self.uncertainty is not None:
            told.append(("uncertainty", f"{self.uncertainty:.2f}"))
        for modality, share in self.seen.items():
            part = self.contributions.get(modality)
            told.append((modality, f"{share:.0%} seen" + ("" if part is None else f", contributes {part:+.2f}")))
        if self.curve:
            told.append(("by second", "  ".join(f"{moment.score:{number}}" for moment in self.curve)))
        return told + [("missing", note) for note in self.notes]


def parse_missing(words: Sequence[str]) -> dict[str, float]:
    """{"text": 0.3} of ["text=0.3"], as a command line has it."""
    rates = {}
    for word in words:
        name, _, rate = word.partition("=")
        try:
            rates[name] = float(rate)
        except ValueError:
            raise MalformedInput(f"missing: expected <modality>=<share>, such as text=0.3, got {word!r}") from None
    return rates
