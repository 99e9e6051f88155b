"""Features of one file, without a dataset. In: a path and an extractor's settings. Out: a FeatureSequence."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from lacuna.params import plugin, plugin_settings
from lacuna.types import Clip, FeatureSequence


def extract_file(
    path: Path | str, extractor: str, text: str, span: tuple[float, float | None], settings: dict[str, Any]
) -> FeatureSequence:
    """What `lacuna.extract` gives; the extractor is kept, so that the next file does not load weights again."""
    clip = Clip(Path(path).stem or "clip", "given", "test", text, {}, Path(path), *span)
    return _extractor(extractor, json.dumps(settings, sort_keys=True, default=str))(clip)


@lru_cache(maxsize=4)
def _extractor(name: str, settings: str) -> Callable[[Clip], FeatureSequence]:
    """An extractor by its name and its settings as JSON."""
    return plugin("extractors", name).Extractor(plugin_settings("extractors", name, json.loads(settings)))
