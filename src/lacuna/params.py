"""params.yaml as checked, typed values. In: the file. Out: `Params`, and plug-ins with their settings.

A name in params.yaml is a file of that name in a room (`datasets`, `extractors`, `patterns`, `models`). A key that no
one reads stops the run. `per_dataset: {<dataset>: {…}}` inside any settings changes them for one dataset.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from lacuna.types import MalformedInput

Plugin = dict[str, Any]  # settings of one plug-in, checked by the plug-in's own dataclass
FINETUNED = "finetuned"  # the word for a dataset's own weights, and their folder in processed/<dataset>
TUNED_FILES = {"weights": "resnet50.safetensors", "source": "bert", "encoder": "bert"}  # by the setting that says it
Value = TypeVar("Value")


class Section(BaseModel):
    """A section of params.yaml: no key but those named here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_dataset: dict[str, dict[str, Any]] = Field(default={}, description="changes for single datasets")

    def of(self, dataset: str) -> Any:  # noqa: ANN401 (the section's own type)
        """This section with the changes for one dataset."""
        changes = self.per_dataset.get(dataset, {})
        return type(self)(**(self.model_dump() | {"per_dataset": {}} | changes))


class Compute(BaseModel):
    """Where clips are worked on; it changes no result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Literal["local", "ray"] = Field("local", description="processes on this machine, or a Ray cluster")
    address: str = Field("", description="of a running Ray cluster: auto, host:port; empty starts one here")
    retries: int = Field(1, ge=0, description="how often a clip whose worker died is tried again")


class Demo(Section):
    clips: int = Field(160, ge=48, description="how many synthetic clips")
    seed: int = Field(7, description="decides every clip")
    seconds: float = Field(2.0, gt=0.5, description="length of a clip")
    fps: int = Field(25, gt=0, description="frames a second")
    size: int = Field(256, ge=128, description="width and height, px")


class Prepare(Section):
    label_range: tuple[float, float] = Field((-3.0, 3.0), description="lowest and highest label; others are refused")
    max_rejects: float = Field(0.1, ge=0, le=1, description="the stage fails when a larger share is refused")
    seed: int = Field(7, description="decides splits that the raw data do not name")
    fractions: tuple[float, float, float] = Field((0.7, 0.15, 0.15), description="train, valid, test of such splits")
    speakers_apart: bool = Field(False, description="such splits part speakers too (MUStARD: test is Friends)")


class Finetune(Section):
    """Networks that are tuned on a dataset's own train split before features are extracted with them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    networks: list[Literal["resnet50", "bert"]] = Field([], description="networks to tune; none: nothing is done")

    @property
    def settings(self) -> Plugin:
        """What stands in this section for `lacuna.finetune.networks.Settings`."""
        return dict(self.model_extra or {})


class Extract(Section):
    model_config = ConfigDict(extra="allow", frozen=True)

    extractors: list[str] = Field(description="names of files in lacuna/extractors")
    max_rejects: float = Field(0.1, ge=0, le=1, description="the stage fails when a larger share ends in an error")
    max_seconds: float = Field(1800.0, gt=0, description="s one clip may take before it is refused")

    @model_validator(mode="after")
    def _known(self) -> Extract:
        _check_names("extractors", [*self.extractors, *(self.model_extra or {})])
        return self

    def plain_settings(self, name: str, dataset: str) -> Plugin:
        """The settings of one extractor for one dataset, as they stand in the file; `finetuned` as a path."""
        return resolved(merged((self.model_extra or {}).get(name, {}), dataset), dataset)


class Align(Section):
    extractors: list[str] = Field([], description="features to average over words, into aligned_<extractor>.h5")
    words: Literal["proportional", "files", "ctc", "sphinx"] = Field(
        "proportional", description="where word times come from; sphinx: English forced alignment, lacuna[speech]"
    )
    source: str = Field("", description="wav2vec2 CTC model (hub id or directory), or folder of word-time files")


class Mask(Section):
    patterns: list[str] = Field(["frames", "modality"], description="names of files in lacuna/patterns")
    rates: list[float] = Field([i / 10 for i in range(10)], description="missing rates")
    subsets: bool = Field(True, description="pattern modality: also each subset of modalities by name")
    seeds: list[int] = Field([1, 2, 3], description="each level is drawn once per seed")

    @model_validator(mode="after")
    def _known(self) -> Mask:
        _check_names("patterns", self.patterns)
        return self


class Incomplete(Section):
    pattern: str = Field(description="name of a file in lacuna/patterns")
    level: float | str = Field(description='missing rate, or the modalities left: "text+audio"')
    seed: int = Field(1, description="decides what is lost")


class Export(Section):
    tokens: str = Field("tokens", description="features that become text_bert")
    features: list[str] = Field(description="features that become text, audio and vision")
    lengths: dict[str, int | Literal["auto"]] = Field({}, description="frames kept; auto: mean + 3 std on train")
    incomplete: list[Incomplete] = Field([], description="incomplete variants to write")


_COMMON = ("features", "task", "standardize", "lengths", "protocol")  # what a model may change of the section train


class Train(Section):
    model_config = ConfigDict(extra="allow", frozen=True)

    features: list[str] = Field(description="one features file per modality that models read")
    task: Literal["regression", "polarity", "class"] = Field("regression", description="score, its sign, class index")
    standardize: bool = Field(True, description="scale columns by the train split's mean and deviation")
    lengths: dict[str, int] = Field({}, description="most frames of a modality; others keep their longest")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 …")
    processes: int = Field(1, ge=1, description="that share each batch (one GPU each)")
    live: bool = Field(False, description="metrics of each epoch, as they come, in live/<dataset>/<model>/<seed>")
    protocol: Literal["validation", "paper"] = Field(
        "validation", description="what checkpoints are chosen by: validation loss; paper: one a metric, best on test"
    )
    training: Plugin = Field({}, description="changes to training.Settings for every model")

    @model_validator(mode="after")
    def _known(self) -> Train:
        for name, settings in (self.model_extra or {}).items():
            _check_names("models", [self.file_of(name)])
            if "like" in settings and (name in plugin_names("models") or not name.isidentifier()):
                raise MalformedInput(
                    f"train.{name}.like: expected a new name of letters, digits and _ for a model that is like "
                    f"{settings['like']!r}, got {name!r}"
                )
        return self

    def file_of(self, name: str) -> str:
        """The file of lacuna/models that a model's name stands for: its own, or the one that it says it is like."""
        return str((self.model_extra or {}).get(name, {}).get("like", name))

    def of_model(self, name: str, dataset: str) -> Train:
        """This section for one dataset, with what one model changes of it: its own features, task or lengths."""
        own = {k: v for k, v in self._plugin(name, dataset).items() if k in _COMMON}
        return type(self)(**(self.of(dataset).model_dump() | own))

    def model_settings(self, name: str, dataset: str) -> object:
        """The architecture's settings of one model."""
        values = resolved(self._plugin(name, dataset)["model"], dataset)
        return plugin_settings("models", self.file_of(name), values, dataset)

    def training_settings(self, name: str, dataset: str) -> Plugin:
        """What a model's own TRAINING, the common changes and its own changes make of training.Settings."""
        usual = plugin("models", self.file_of(name)).TRAINING
        return {**usual, **merged(self.training, dataset), **self._plugin(name, dataset)["training"]}

    def _plugin(self, name: str, dataset: str) -> Plugin:
        """What stands under `train.<name>`, key by key on top of what stands under the model that it is like."""
        own = merged((self.model_extra or {}).get(name, {}), dataset)
        _refuse_unknown(own, ("like", "model", "training", *_COMMON), f"train.{name}")
        own |= {part: merged(own.get(part, {}), dataset) for part in ("model", "training")}
        if self.file_of(name) == name:
            return own
        base = self._plugin(self.file_of(name), dataset)
        return base | own | {part: base[part] | own[part] for part in ("model", "training")}


class Evaluate(Section):
    patterns: list[str] = Field(["frames", "modality"], description="patterns to judge under")
    bootstrap: int = Field(1000, ge=0, description="resamples behind each 95 % interval")


class Figures(Section):
    clip: str = Field("", description="id of the clip to show; empty: the first of the test split")
    frames: int = Field(6, gt=0, description="how many of its frames")
    asked: int = Field(500, gt=0, description="most test clips whose inner outputs are drawn")


class Report(Section):
    title: str = Field("Lacuna", description="heading of the page")


class Params(BaseModel):
    """The whole of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    datasets: list[str] = Field(description="folders of raw/")
    models: list[str] = Field(description="names of files in lacuna/models, or new names that are `like` one")
    seeds: list[int] = Field(description="each model is trained once per seed")
    workers: int | Literal["auto"] = Field("auto", description="processes; auto: one per core")
    compute: Compute = Field(default_factory=Compute)
    demo: Demo = Field(default_factory=Demo)
    prepare: Prepare = Field(default_factory=Prepare)
    finetune: Finetune = Field(default_factory=Finetune)
    extract: Extract
    align: Align = Field(default_factory=Align)
    mask: Mask = Field(default_factory=Mask)
    export: Export
    train: Train
    evaluate: Evaluate = Field(default_factory=Evaluate)
    figures: Figures = Field(default_factory=Figures)
    report: Report = Field(default_factory=Report)

    @model_validator(mode="after")
    def _known(self) -> Params:
        _check_names("models", [self.train.file_of(name) for name in self.models])
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml; MalformedInput names the key, what was expected and what came."""
    if not Path(path).is_file():
        raise MalformedInput(f"{path}: expected the settings of the pipeline, found none (run from the project's root)")
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise MalformedInput(f"{path}: expected YAML: {error}") from error
    return _validated(lambda: Params.model_validate(raw), str(path))


def plugin(room: str, name: str) -> ModuleType:
    """The module `lacuna.<room>.<name>`."""
    _check_names(room, [name])
    return importlib.import_module(f"lacuna.{room}.{name}")


def plugin_names(room: str) -> list[str]:
    """The names a room offers."""
    package = importlib.import_module(f"lacuna.{room}")
    modules = (m for m in pkgutil.iter_modules(package.__path__) if not m.ispkg)
    return sorted(m.name for m in modules if not m.name.startswith("_"))


def plugin_settings(room: str, name: str, values: Plugin, dataset: str = "") -> object:
    """`values` as the plug-in's own `Settings`."""
    return checked(plugin(room, name).Settings, merged(values, dataset), f"{room}.{name}")


def checked(settings: type[Value], values: Mapping[str, Any], where: str) -> Value:
    """A settings dataclass from plain values, types checked and unknown keys refused."""
    _refuse_unknown(values, [f.name for f in fields(settings)], where)
    return _validated(lambda: TypeAdapter(settings).validate_python(dict(values)), where)


def merged(values: Mapping[str, Any], dataset: str) -> Plugin:
    """Settings with their `per_dataset` changes for one dataset put in."""
    own = {key: value for key, value in values.items() if key != "per_dataset"}
    return own | values.get("per_dataset", {}).get(dataset, {})


def resolved(values: Mapping[str, Any], dataset: str) -> Plugin:
    """Settings in which weights called `finetuned` are the file or folder that stage finetune left for the dataset."""
    folder = Path("processed", dataset, FINETUNED)
    own = {k: (folder / name).as_posix() for k, name in TUNED_FILES.items() if values.get(k) == FINETUNED}
    return {**values, **own}


def _check_names(room: str, names: list[str]) -> None:
    known = plugin_names(room)
    for name in names:
        if name not in known:
            raise MalformedInput(f"{room}: expected one of {', '.join(known)}; got {name!r}{_guess(name, known)}")


def _refuse_unknown(values: Mapping[str, Any], known: list[str] | tuple[str, ...], where: str) -> None:
    for key in values:
        if key not in known:
            raise MalformedInput(f"{where}.{key}: expected one of {', '.join(known)}{_guess(key, known)}")


def _guess(word: str, known: list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _validated(make: Any, where: str) -> Any:  # noqa: ANN401
    try:
        return make()
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise MalformedInput(f"{where}: {key}: {first['msg']}; got {first['input']!r}") from error
