"""Task losses over the samples that have a label. In: outputs and labels, NaN where unknown. Out: a scalar.

Which samples those are is decided on the device: to pick them out would be to wait for it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from functools import reduce

from torch import Tensor
from torch.nn import functional as F


def added(terms: Iterable[Tensor]) -> Tensor:
    """The sum of one tensor or more, added in order."""
    return reduce(operator.add, terms)


def mean_of_known(errors_B: Tensor, labels_B: Tensor) -> Tensor:
    """Mean of the errors of samples with a label; 0, with a gradient of zeros, where there is none."""
    known_B = ~labels_B.isnan()
    return (errors_B * known_B).sum() / known_B.sum().clamp(min=1)


def cross_entropy(logits_BK: Tensor, labels_B: Tensor) -> Tensor:
    """Each sample's, (B,), in float32; of an unknown label anything finite."""
    return F.cross_entropy(logits_BK.float(), labels_B.nan_to_num().long(), reduction="none")


def squared_error(scores_B: Tensor, labels_B: Tensor) -> Tensor:
    """Each sample's, (B,); of an unknown label anything finite."""
    return (scores_B.float() - labels_B.nan_to_num()).square()


def absolute_error(scores_B: Tensor, labels_B: Tensor) -> Tensor:
    """Each sample's, (B,); of an unknown label anything finite."""
    return (scores_B.float() - labels_B.nan_to_num()).abs()
