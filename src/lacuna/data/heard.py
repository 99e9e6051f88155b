"""What was heard in clips that came without words. In: processed/<dataset>/heard.jsonl. Out: records by clip."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from lacuna.storage.files import reading, replacing

FILE = "heard.jsonl"  # beside clips.jsonl


@dataclass(frozen=True)
class HeardWord:
    """A word, from when to when it is said (s from the clip's start), and how sure the engine is of it, 0 to 1."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Heard:
    """The words of a clip as an engine heard them; confidence: the mean over the words, 0 where there are none.

    words: empty where the engine does not tell times.
    """

    text: str = ""
    language: str = ""
    confidence: float = 0.0
    words: tuple[HeardWord, ...] = ()

    @property
    def sure(self) -> str:
        """The language, and how sure the engine is, as far as it tells them: "(en, confidence 93%)"."""
        told = [self.language, f"confidence {self.confidence:.0%}" if self.confidence else ""]
        return f"({', '.join(filter(None, told))})" if any(told) else ""

    @classmethod
    def of(cls, record: dict) -> Heard:
        """From plain values."""
        return cls(**record | {"words": tuple(HeardWord(**word) for word in record["words"])})


def write_heard(path: Path, heard: Iterable[tuple[str, Heard]]) -> None:
    """One JSON object a clip, in order; a blank line where there is none, for DVC warns of empty files at every run."""
    lines = [json.dumps({"id": name} | asdict(one), ensure_ascii=False) for name, one in heard]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_heard(path: Path) -> dict[str, Heard]:
    """{clip id: what was heard}; empty where nothing was to be heard."""
    if not path.is_file():
        return {}
    with reading(path, "what was heard in a clip in each line", "delete it and run `dvc repro transcribe`"):
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        return {record.pop("id"): Heard.of(record) for record in records}
