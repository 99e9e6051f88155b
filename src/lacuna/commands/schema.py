"""The JSON schema of params.yaml, for editors. In: the settings' classes. Out: a schema with every plug-in's settings.

`lacuna docs schema` prints it. An editor that knows YAML schemas completes keys, tells what they mean and underlines
misspelt ones; params.yaml names docs/params.schema.json in its first line.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from lacuna.params import Params, Train, plugin, plugin_names
from lacuna.train import trainer

Schema = dict[str, Any]
PER_DATASET = {"type": "object", "description": "changes for single datasets"}
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def params_schema() -> Schema:
    """The schema of the whole file."""
    schema = Params.model_json_schema(ref_template="#/$defs/{model}")
    definitions: Schema = schema["$defs"]
    extract = {name: _settings("extractors", name, definitions) for name in plugin_names("extractors")}
    definitions["Extract"]["properties"] |= extract
    training = _closed(TypeAdapter(trainer.Settings).json_schema())
    definitions["TrainingSettings"] = training
    definitions["Train"]["properties"] |= {
        "training": {"$ref": "#/$defs/TrainingSettings"},
        **{name: _model(name, definitions) for name in plugin_names("models")},
    }
    definitions["Train"]["additionalProperties"] = _model("", definitions)  # a name that is `like` one of these
    return {"$schema": DRAFT, "title": "params.yaml of Lacuna"} | schema


def _settings(room: str, name: str, definitions: Schema) -> Schema:
    """A plug-in's own settings; what they refer to goes among `definitions`, under the plug-in's name."""
    module = plugin(room, name)
    template = f"#/$defs/{room}.{name}.{{model}}"
    schema = TypeAdapter(module.Settings).json_schema(ref_template=template)
    definitions |= {f"{room}.{name}.{key}": value for key, value in schema.pop("$defs", {}).items()}
    told = (module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    return _closed(schema) | {"description": told}


def _model(name: str, definitions: Schema) -> Schema:
    """What may stand under `train.<name>`."""
    own = _settings("models", name, definitions) if name else {"type": "object"}
    common = {
        key: Train.model_json_schema()["properties"][key] for key in ("task", "standardize", "lengths", "protocol")
    }
    features = {"type": "array", "items": {"type": "string"}}
    parts = {"like": {"type": "string"}, "model": own, "training": {"$ref": "#/$defs/TrainingSettings"}}
    return _closed({"type": "object", "properties": {**parts, "features": features, **common}})


def _closed(schema: Schema) -> Schema:
    """The schema with `per_dataset`, and no other key than those that it names."""
    properties = schema.get("properties", {}) | {"per_dataset": PER_DATASET}
    return {key: value for key, value in schema.items() if key != "required"} | {
        "properties": properties,
        "additionalProperties": False,
    }
