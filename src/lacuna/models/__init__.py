"""One file a model, each with `Settings`, `TRAINING` and `Model`; what models share is in `parts`."""
