"""Last hidden states of a BERT, RoBERTa or XLNet encoder. In: a clip's text. Out: (T, hidden) float32, all tokens.

[CLS] and [SEP] are among the positions, as in MMSA's `text`. The weights' fingerprint is part of `versions()`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lacuna.extractors import _encoders, _language, _text
from lacuna.storage import pretrained

MODALITY = "text"
VERSION = 2


@dataclass(frozen=True)
class Settings:
    """source: hub id, directory or "embedded"; max_length: tokens kept; clean: what is taken out of the text first,
    any of retweets, links, mentions, hashtags, hashes, case; batch_size: texts at once on a GPU.
    """

    source: str = pretrained.EMBEDDED
    max_length: int = 50
    clean: tuple[str, ...] = ()
    batch_size: int = 64
    device: str = "auto"

    def __post_init__(self) -> None:
        _encoders.require_named(self.source)
        _text.check_length(self.max_length)
        _text.check_cleaning(self.clean)
        _encoders.require_batch(self.batch_size)


class Extractor(_language.Extractor):
    """A clip's text as the encoder's last hidden states (T, hidden) float32."""

    def __init__(self, settings: Settings) -> None:
        encoding = _encoders.EncoderSettings(
            settings.source, precision="float32", batch_size=settings.batch_size, device=settings.device
        )
        super().__init__(settings, encoding)
