"""Features whose frames read each other, made again after a loss. In: an origin. Out: sequences of what was left.

A hidden state of an encoder tells of its neighbours: masked after encoding, lost words show through the words beside
them. So words are lost first and encoded then, by the extractor that made the features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from lacuna.data.scaler import Scaler
from lacuna.params import checked, plugin, plugin_names
from lacuna.storage.features import Origin
from lacuna.types import SPECIALS, Clip, FeatureSequence

CONTEXTUAL = ("wav2vec2", "speech")  # extractors of sound whose frames read each other


class AfterLoss:
    """Called with clips and which frames of each survive, (T,) bool: their sequences, scaled as the features were."""

    def __init__(self, origin: Origin, scaler: Scaler) -> None:
        self._origin, self._scaler = origin, scaler

    @cached_property
    def _extractor(self) -> Any:  # noqa: ANN401 (a plug-in's class)
        module = plugin("extractors", self._origin.extractor)
        return module.Extractor(checked(module.Settings, self._origin.settings, f"extract.{self._origin.extractor}"))

    def __call__(self, clips: Sequence[Clip], survives: Sequence[np.ndarray]) -> list[FeatureSequence]:
        made = self._extractor.after_loss(clips, survives)
        return [self._scaler(self._origin.modality, sequence) for sequence in made]


def made_again(origins: Mapping[str, Origin], scaler: Scaler) -> dict[str, AfterLoss]:
    """By modality, what makes its features again after a loss; modalities that need no such thing are left out."""
    return {m: AfterLoss(origin, scaler) for m, origin in origins.items() if _can_be_made_again(origin)}


def _can_be_made_again(origin: Origin) -> bool:
    known = origin.extractor in plugin_names("extractors")
    return known and hasattr(getattr(plugin("extractors", origin.extractor), "Extractor", None), "after_loss")


def leaks(origins: Mapping[str, Origin]) -> list[str]:
    """A sentence for each modality in which what is lost shows through what is left."""
    told = []
    for modality, origin in origins.items():
        hidden = origin.columns[0] in SPECIALS or origin.extractor in CONTEXTUAL
        if hidden and not _can_be_made_again(origin):
            told.append(
                f"{modality}: hidden states ({origin.extractor}) that were made before the loss; what is lost still "
                "shows through the states beside it"
            )
    return told
