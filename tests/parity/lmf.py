"""LMF live; the gradients of the weights that its trainer never steps are compared too."""

from parity import _subnets


def check_live(dataset: str) -> None:
    _subnets.check("lmf", dataset, rank_weights="learnt")
