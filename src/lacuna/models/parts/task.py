"""What a model is judged by while it learns. In: outputs (B, K) and labels (B,). Out: predictions, and one mean loss.

Nothing here asks a device for a value, so a loss can be captured in a graph, or run on torch's `meta` device.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from lacuna.compute.distributed import all_rows

Distance = Literal["l1", "mse"]


def prediction(output_BK: Tensor, classes: int) -> Tensor:
    """Class probabilities (B, K), or scores (B,)."""
    return output_BK.softmax(-1) if classes else output_BK[:, 0]


def task_loss(output_BK: Tensor, labels_B: Tensor, classes: int, distance: Distance) -> Tensor:
    """Mean absolute or squared error of scores, or cross-entropy, over the labelled samples of all processes.

    A label that is not known is NaN; where none is known, the loss is 0.
    """
    output_BK, labels_B = all_rows(output_BK).float(), all_rows(labels_B)
    known_B, labels_B = ~labels_B.isnan(), labels_B.nan_to_num()
    if classes:
        error_B = F.cross_entropy(output_BK, labels_B.long(), reduction="none")
    elif distance == "l1":
        error_B = (output_BK[:, 0] - labels_B).abs()
    else:
        error_B = (output_BK[:, 0] - labels_B).square()
    return (error_B * known_B).sum() / known_B.sum().clamp(min=1)
