"""What a clip becomes: one file an extractor, each with `MODALITY`, `VERSION`, `Settings` and `Extractor`."""
