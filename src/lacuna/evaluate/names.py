"""Plain words for the field's terms. In: keys of scores, patterns and losses. Out: what the page calls them."""

from __future__ import annotations

from collections.abc import Mapping

from lacuna.evaluate.scores import Scores

METRICS = {
    "mae": "Mean absolute error",
    "corr": "Pearson correlation",
    "acc7": "Acc-7",
    "acc5": "Acc-5",
    "acc3": "Acc-3",
    "acc2": "Acc-2",
    "f1": "F1",
    "has0_acc2": "Acc-2, negative / non-negative",
    "has0_f1": "F1, negative / non-negative",
    "non0_acc2": "Acc-2, negative / positive",
    "non0_f1": "F1, negative / positive",
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "ece": "Expected calibration error",
}
SHORT = METRICS | {  # in tables, as papers have them
    "mae": "MAE",
    "corr": "Corr",
    "has0_acc2": "Acc-2 neg / non-neg",
    "has0_f1": "F1 neg / non-neg",
    "non0_acc2": "Acc-2 neg / pos",
    "non0_f1": "F1 neg / pos",
    "ece": "ECE",
}
MAIN = {
    "mosi": ("mae", "corr", "has0_acc2", "acc7"),
    "sims": ("mae", "corr", "acc2", "acc5"),
    "classes": ("accuracy", "macro_f1", "weighted_f1"),
}
PATTERNS = {
    "frames": "single frames and words are lost at random",
    "span": "whole stretches of time are lost",
    "modality": "whole modalities are lost",
    "modality_dataset": "whole modalities are lost, the same for all clips",
    "conflict": "one modality of some clips is another clip's, of another class",
    "noise": "frames and words are disturbed, and nothing says which",
    "legacy": "frames are lost by the exact masks of the published loaders",
    "mixed": "a mixture of patterns, as in training",
}
NO_RATE = ("none", "mixed")  # what is learnt under without a rate: no loss, and a mixture that draws its own
SPLITS = {"train": "train", "valid": "validation", "test": "test", "unlabelled": "unlabelled"}
TASKS = {
    "regression": "Models that tell a score",
    "polarity": "Models that tell a class",
    "class": "Models that tell a class",
}
BASELINES = {"majority": "always the same answer", "text_linear": "linear model of the words"}
TERMS = {
    "loss": "on train the weighted sum of all terms; on validation what the best epoch is chosen by, in some "
    "models the task alone",
    "sp": "sentiment prediction: squared error of the score",
    "cc": "completeness: how well the share of surviving text is guessed",
    "adv": "adversarial: telling the corrected text features from complete ones",
    "rec": "reconstruction: rebuilding the features of the complete clip",
    "task": "the sentiment task itself",
    "sim": "similarity: the modalities' shared vectors are drawn together",
    "diff": "difference: private and shared vectors are kept apart",
    "recon": "reconstruction from private and shared vectors",
    "final": "error of the final answer",
    "cycle": "rebuilt features, encoded again, meet the private ones",
    "orthogonality": "private and shared parts are kept apart",
    "margin": "shared parts of like clips lie nearer than those of unlike ones",
    "homo_reg": "distillation of shared parts: edges near what was expected of them",
    "homo_logit": "distillation of shared parts: answers drawn together",
    "homo_repr": "distillation of shared parts: representations drawn together",
    "hetero_reg": "distillation of private parts: edges near what was expected of them",
    "hetero_logit": "distillation of private parts: answers drawn together",
    "hetero_repr": "distillation of private parts: representations drawn together",
    "evidential": "evidence for the right class, and none for the others",
    "conflict": "how much the views contradict each other",
}


def metric(key: str, names: Mapping[str, str] = METRICS) -> str:
    """The name of a metric, as it stands above a plot; `names=SHORT`: in a table."""
    mark = key.removeprefix("mmsa_")
    return names.get(mark, mark) + (" (as MMSA counts)" if mark != key else "")


def label(record: Scores) -> str:
    """The name of a model beside its scores, with the mark that they must never be shown without."""
    return f"{record.model}{'' if record.protocol == 'validation' else ' (selected on test)'}"


def pattern(key: str) -> str:
    return PATTERNS.get(key, f"pattern {key}")


def main_metrics(task: str, scale: str) -> tuple[str, ...]:
    """The metrics that are drawn, the first one before all others."""
    return MAIN["classes"] if task != "regression" else MAIN.get(scale, MAIN["mosi"])


def subset(level: str) -> str:
    """A level such as "audio+text", or "text=0.2+audio=0.6", as words."""
    if not is_by_modality(level):
        return level.replace("+", " + ")
    parts = (part.partition("=") for part in level.split("+"))
    return ", ".join(f"{name} {percent(float(rate))} lost" for name, _, rate in parts)


def is_by_modality(level: str) -> bool:
    """Whether a level gives each modality a missing rate of its own."""
    return "=" in level


def is_rate(level: str) -> bool:
    """Whether a level is a missing rate (else it names the modalities that are left)."""
    return level.replace(".", "", 1).isdigit()


def percent(share: float) -> str:
    """A share as a whole percentage, or with one decimal where that matters."""
    return f"{share:.0%}" if share in (0, 1) or 0.01 <= share <= 0.99 else f"{share:.1%}"
