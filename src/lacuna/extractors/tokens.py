"""Token ids of a BERT-family tokenizer, for models that fine-tune their text encoder. In: a clip's text. Out: (T, 3).

Columns are ids, attention mask (always 1: sequences carry no padding) and segment ids: `text_bert` of MMSA's pickles.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lacuna.data.samples import TOKEN_COLUMNS
from lacuna.extractors import _text
from lacuna.storage import pretrained
from lacuna.types import Clip, FeatureSequence, MalformedInput

MODALITY = "text"
VERSION = 2
DTYPE = "int64"


@dataclass(frozen=True)
class Settings:
    """source: hub id, directory or "embedded"; max_length: tokens kept, [CLS] and [SEP] among them (MMSA: 50, 39);
    clean: what is taken out of the text first, any of retweets, links, mentions, hashtags, hashes, case.
    """

    source: str = pretrained.EMBEDDED
    max_length: int = 50
    clean: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.source:
            raise MalformedInput("source: expected a hub id, a directory or 'embedded', got ''")
        _text.check_length(self.max_length)
        _text.check_cleaning(self.clean)


class Extractor:
    """A clip's text as token ids (T, 3) int64."""

    columns = TOKEN_COLUMNS

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._tokenizer = pretrained.tokenizer(settings.source)

    def versions(self) -> dict[str, str]:
        """What decides the values beside the settings."""
        return {
            "source": pretrained.fingerprint(self.settings.source),
            "tokenizers": importlib.metadata.version("tokenizers"),
        }

    def __call__(self, clip: Clip) -> FeatureSequence:
        return self.many([clip])[0]

    def unread(self, clip: Clip) -> str:
        """What of the clip's text is beyond max_length."""
        return _text.unread(self._tokenizer, _text.cleaned(clip.text, self.settings.clean), self.settings.max_length)

    def many(self, clips: Sequence[Clip]) -> list[FeatureSequence]:
        """One sequence a clip, the same as one at a time."""
        texts = [_text.cleaned(clip.text, self.settings.clean) for clip in clips]
        arrays = _text.encode(self._tokenizer, texts, self.settings.max_length)
        return [_text.positions(np.ascontiguousarray(rows), self.columns) for rows in arrays]
