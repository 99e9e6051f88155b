"""What a model is judged by while it learns. In: outputs (B, K) and labels (B,). Out: predictions, and one mean loss.

Also which frames are there to be rebuilt. Nothing here asks a device for a value, so a loss can be captured in a graph,
or run on torch's `meta` device.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from lacuna.compute.distributed import all_rows
from lacuna.data.batches import InputSpec, Padded
from lacuna.models.parts.terms import absolute_error, cross_entropy, mean_of_known, squared_error
from lacuna.types import MODALITIES

Distance = Literal["l1", "mse"]


def ordered(spec: InputSpec) -> list[str]:
    """The modalities of `spec`: text, audio, vision, image, then others by name, however the spec lists them."""
    return [m for m in MODALITIES if m in spec.widths] + sorted(set(spec.widths) - set(MODALITIES))


def prediction(output_BK: Tensor, classes: int) -> Tensor:
    """Class probabilities (B, K), or scores (B,)."""
    return output_BK.softmax(-1) if classes else output_BK[:, 0]


def task_loss(output_BK: Tensor, labels_B: Tensor, classes: int, distance: Distance) -> Tensor:
    """Mean absolute or squared error of scores, or cross-entropy, over the labelled samples of all processes.

    A label that is not known is NaN; where none is known, the loss is 0.
    """
    output_BK, labels_B = all_rows(output_BK), all_rows(labels_B)
    if classes:
        error_B = cross_entropy(output_BK, labels_B)
    else:
        error_B = (absolute_error if distance == "l1" else squared_error)(output_BK[:, 0], labels_B)
    return mean_of_known(error_B, labels_B)


def dropped(lossy: Padded, complete: Padded) -> Tensor:
    """(B, T) bool: real frames that are seen in the complete sequence and not in the lossy one."""
    return complete.real & complete.seen & ~lossy.seen
