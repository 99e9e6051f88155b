"""Hidden states of any language model of transformers, encoder or decoder. In: a clip's text. Out: (T, D) float32.

All tokens keep their place, special ones too. `bert` is the same of the last layer of a BERT-like encoder in float32,
with a model that is installed with Lacuna.
"""

from __future__ import annotations

from dataclasses import dataclass

from lacuna.extractors import _encoders, _language, _text

MODALITY = "text"
VERSION = 1


@dataclass(frozen=True)
class Settings(_encoders.EncoderSettings):
    """max_length: tokens kept; clean: what is taken out of the text first, any of retweets, links, mentions, hashtags,
    hashes, case.
    """

    max_length: int = 50
    clean: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _encoders.require_named(self.source)
        _text.check_length(self.max_length)
        _text.check_cleaning(self.clean)


class Extractor(_language.Extractor):
    """A clip's text as the model's hidden states (T, D) float32."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings)
