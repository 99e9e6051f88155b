"""Published numbers. In: a dataset's name. Out: rows of a method, how its checkpoint was chosen, on what, and metrics.

Sources: the papers named in each row; what was selected on the test split says so, because such scores are too good.
"""

from __future__ import annotations

TEST = "test-selected, one checkpoint per metric"
VALID = "validation-selected rerun by others"
COMPLETE = "complete data; selection as in its paper"
RERUN = "complete data; a reader's rerun, epoch 38"
OVER = "mean over missing rates 0 to 0.9"
Row = tuple[str, str, str, dict[str, float]]  # method, how it was chosen, on what, {metric of ours: value}

PUBLISHED: dict[str, tuple[Row, ...]] = {
    "mosi": (
        ("LNLN (NeurIPS 2024)", TEST, OVER,
         {"acc7": 0.3426, "acc5": 0.3827, "has0_acc2": 0.7094, "non0_acc2": 0.7255, "mae": 1.046, "corr": 0.527}),
        ("LNLN", VALID, OVER, {"acc7": 0.3136, "mae": 1.145, "corr": 0.481}),
        ("DMD (CVPR 2023), aligned, BERT", COMPLETE, "nothing lost", {"acc7": 0.456, "non0_acc2": 0.860}),
        ("DMD", RERUN, "nothing lost", {"acc7": 0.4665, "non0_acc2": 0.8384, "non0_f1": 0.8383, "mae": 0.721}),
    ),
    "mosei": (
        ("LNLN (NeurIPS 2024)", TEST, OVER,
         {"acc7": 0.4542, "acc5": 0.4617, "has0_acc2": 0.7819, "non0_acc2": 0.7630, "mae": 0.692, "corr": 0.530}),
        ("LNLN", VALID, OVER, {"acc7": 0.4636, "mae": 0.670, "corr": 0.582}),
        ("DMD (CVPR 2023), aligned, BERT", COMPLETE, "nothing lost", {"acc7": 0.545, "non0_acc2": 0.866}),
    ),
    "sims": (
        ("LNLN (NeurIPS 2024), corrected by its authors", TEST, OVER,
         {"acc5": 0.3468, "acc3": 0.5732, "acc2": 0.7315, "f1": 0.6918, "mae": 0.515, "corr": 0.387}),
        ("LNLN", VALID, OVER, {"acc2": 0.7151, "mae": 0.542, "corr": 0.345}),
    ),
}  # fmt: skip
