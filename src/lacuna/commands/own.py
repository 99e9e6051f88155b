"""What the user's own params.yaml names. In: the file, where there is one. Out: {"<extractor>.<setting>": value}."""

from __future__ import annotations

from pathlib import Path

from lacuna.params import Params, load_params, merged, resolved


def own_settings(dataset: str, path: Path = Path("params.yaml")) -> dict[str, str]:
    """Programs, folders and weights that params.yaml names for a dataset, as `predict.trust` asks for them."""
    if not path.is_file():
        return {}
    params = load_params(path)
    told = {
        f"{name}.{key}": value
        for name in params.extract.model_extra or {}
        for key, value in params.extract.plain_settings(name, dataset).items()
    }
    words = params.extract.plain_settings(params.export.of(dataset).tokens, dataset)
    told |= {"align.source": params.align.of(dataset).source, "align.tokenizer": words.get("source")}
    told |= {"model.encoder": _encoder(params, dataset)}
    return {name: value for name, value in told.items() if isinstance(value, str) and value}


def _encoder(params: Params, dataset: str) -> object:
    """The one text encoder that the models of params.yaml have; None where they have several, or none."""
    sections = (params.train.model_extra or {}).values()
    named = {
        resolved(merged(merged(section, dataset).get("model", {}), dataset), dataset).get("encoder")
        for section in sections
    } - {None}
    return named.pop() if len(named) == 1 else None
