"""Lacuna: from raw videos to reproducible features, seeded incomplete variants and robust sentiment models.

import lacuna
answer = lacuna.predict("clip.mp4", "processed/demo/models/lnln/1111", text="what a day")
"""

__version__ = "0.1.0"
__all__ = ["load", "predict"]


def __getattr__(name: str) -> object:
    """`predict` and `load`, imported on first use: a plain `import lacuna` stays fast."""
    if name in __all__:
        from lacuna.answering import predicting

        return getattr(predicting, name)
    raise AttributeError(f"module 'lacuna' has no attribute {name!r}")
