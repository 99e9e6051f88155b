"""TFN live."""

from parity import _subnets


def check_live(dataset: str) -> None:
    _subnets.check("tfn", dataset, fusion_dropout=0.0)
