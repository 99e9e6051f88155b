"""Lacuna: from raw videos to reproducible features, seeded incomplete variants and robust sentiment models."""

__version__ = "0.1.0"
