"""Adapters of the parity test: one file a model, named like it, that maps its fixtures to our types.

Each has `CHECKS`, a tuple of functions `(case) -> None` that build the model from the case's JSON and published weights
and compare what it computes through `harness` (`close`, `close_losses`, `close_gradients`). Adding a file is all.
"""
