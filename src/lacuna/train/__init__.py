"""Stage train: a model is fitted, chosen on validation, and written as a checkpoint."""
