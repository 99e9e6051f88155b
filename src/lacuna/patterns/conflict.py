"""Clips contradict themselves: each modality is, with probability `level`, that of another clip, of another class.

After RCML's conflictive test set (Xu et al., AAAI 2024: one view of 40 % of the rows, so a level of .4 / views), for
any modalities; scores contradict each other by their sign. Nothing tells a model which modality was taken.
"""

from __future__ import annotations

import numpy as np

from lacuna.data.samples import Sample, specials
from lacuna.mask.mask import Draw
from lacuna.types import FeatureSequence


def survivors(sequence: FeatureSequence, draw: Draw) -> np.ndarray:
    """(T,) bool, all alike but for [CLS] and [SEP]: false where this modality is another clip's."""
    return np.full(len(sequence), draw.generator().uniform() >= float(draw.level)) | specials(sequence)


def swap(sample: Sample, modality: str, draw: Draw) -> FeatureSequence:
    """The modality of a random clip that contradicts this one; the clip's own where there is none."""
    others = [other for other in sample.others if len(other.features.get(modality, ()))]
    if not others:
        return sample.features[modality]
    return others[int(draw.generator("donor").integers(len(others)))].features[modality]
