"""The sections of params.yaml. In: plain values. Out: `Params`, checked and typed.

A key that no one reads stops the run. `per_dataset: {<dataset>: {…}}` inside any settings changes them for one dataset.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lacuna.params.plugins import (
    PlainSettings,
    merged,
    plugin,
    plugin_names,
    plugin_settings,
    refuse_unknown,
    require_names,
)
from lacuna.types import MODALITIES, MalformedInput

Rate = Annotated[float, Field(ge=0, le=1)]
FINETUNED = "finetuned"  # the word for a dataset's own weights, and their folder in processed/<dataset>
VIEW = re.compile(r"view\d+")  # features that a multi-view file gives, by the name of the view
NAME = re.compile(r"(?![.-])[\w.-]{1,100}")  # it becomes a file's name and a word on a command line
SYSTEMS_OWN = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*\.", re.IGNORECASE)  # what Windows calls no file
OUTPUTS = ("source", "figures", "report")  # folders of processed/ that are of all datasets
TUNED_FILES = {"weights": "resnet50.safetensors", "source": "bert", "encoder": "bert"}  # by the setting that says it


def _names(names: list[str]) -> list[str]:
    for i, name in enumerate(names):
        if not NAME.fullmatch(name):
            raise ValueError(f"expected letters, digits, _, - and . (not first), at most 100 of them, in {name[:80]!r}")
        if SYSTEMS_OWN.fullmatch(name):
            raise ValueError(f"expected a name that every system can give a file, got {name!r}")
        alike = [other for other in names[:i] if other != name and other.casefold() == name.casefold()]
        if alike:
            raise ValueError(
                f"expected names that differ in more than the case of letters, got {alike[0]!r} and {name!r}"
            )
    return _unique(names)


def _datasets(names: list[str]) -> list[str]:
    for name in names:
        if name.casefold() in OUTPUTS:
            raise ValueError(f"expected a name other than {', '.join(OUTPUTS)}, which processed/ has for all datasets")
    return names


def check_dataset(name: str) -> None:
    """MalformedInput unless params.yaml may name such a data set."""
    try:
        _datasets(_names([name]))
    except ValueError as error:
        raise MalformedInput(f"dataset: {error}") from error


def _unique(values: list[Any]) -> list[Any]:
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice:
        raise ValueError(f"expected each once, found {twice[0]!r} twice")
    return values


Names = Annotated[list[str], AfterValidator(_names)]
Datasets = Annotated[Names, AfterValidator(_datasets)]
Workers = Annotated[int, Field(ge=1, le=4096)] | Literal["auto"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_unique)]


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
    seed: Seed = Field(7, description="decides every clip")
    seconds: float = Field(2.0, gt=0.5, description="length of a clip")
    fps: int = Field(25, gt=0, description="frames a second")
    size: int = Field(256, ge=128, description="width and height, px")


class Prepare(Section):
    label_range: tuple[float, float] = Field((-3.0, 3.0), description="lowest and highest label; others are refused")
    max_rejects: float = Field(0.1, ge=0, le=1, description="the stage fails when a larger share is refused")
    seed: Seed = Field(7, description="decides splits that the raw data do not name")
    fractions: tuple[float, float, float] = Field((0.7, 0.15, 0.15), description="train, valid, test of such splits")
    encoding: str = Field("", description="of tables and texts: cp1252, big5 …; empty: utf-8, or evident gb18030")
    target: Literal["emotion", "sentiment"] = Field(
        "emotion", description="which label of data sets that have both: MELD, IEMOCAP, MER2023"
    )
    speakers_apart: bool = Field(False, description="such splits part speakers too (MUStARD: test is Friends)")


class Finetune(Section):
    """Networks that are tuned on a dataset's own train split before features are extracted with them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    networks: list[Literal["resnet50", "bert"]] = Field([], description="networks to tune; none: nothing is done")

    @property
    def settings(self) -> PlainSettings:
        """What stands in this section for `lacuna.finetune.networks.Settings`."""
        return dict(self.model_extra or {})


class Extract(Section):
    model_config = ConfigDict(extra="allow", frozen=True)

    extractors: Names = Field(description="names of files in lacuna/extractors")
    max_rejects: float = Field(0.1, ge=0, le=1, description="the stage fails when a larger share ends in an error")
    max_seconds: float = Field(1800.0, gt=0, description="s one clip may take before it is refused")

    @model_validator(mode="after")
    def _known(self) -> Extract:
        known = plugin_names("extractors")
        require_names("extract.extractors", (n for n in self.extractors if not VIEW.fullmatch(n)), known)
        refuse_unknown(self.model_extra or {}, ["extractors", "per_dataset", *known], "extract")
        return self

    def plain_settings(self, name: str, dataset: str) -> PlainSettings:
        """The settings of one extractor for one dataset, as they stand in the file; `finetuned` as a path."""
        return resolved(merged((self.model_extra or {}).get(name, {}), dataset), dataset)


class Align(Section):
    extractors: Names = Field([], description="features to average over words, into aligned_<extractor>.h5")
    words: Literal["proportional", "files", "ctc", "sphinx", "heard"] = Field(
        "proportional",
        description="where word times come from; sphinx: English, lacuna[speech]; heard: from stage transcribe",
    )
    source: str = Field("", description="wav2vec2 CTC model (hub id or directory), or folder of word-time files")


class Transcribe(Section):
    """Words of clips that come without them, heard in their sound."""

    engine: Literal["none", "faster-whisper", "transformers", "sphinx"] = Field(
        "none", description="faster-whisper: any language, with word times, lacuna[transcribe]; sphinx: English"
    )
    model: str = Field("", description="a folder or hub id; for faster-whisper also a size: tiny, base, small …")
    language: str = Field("auto", description="its code (en, zh, es …), or auto: told by faster-whisper, clip by clip")
    clips: Literal["wordless", "all"] = Field(
        "wordless", description="which are heard; all: given words are kept, and align can use the times (words: heard)"
    )
    device: str = Field("auto", description="auto, cpu, cuda")


class Mask(Section):
    patterns: Names = Field(["frames", "modality"], description="names of files in lacuna/patterns")
    rates: list[Rate] = Field([i / 10 for i in range(10)], description="missing rates")
    imbalanced: list[dict[str, Rate]] = Field(
        [], description="rates by modality, as {text: 0.2, audio: 0.6, vision: 0.8}"
    )
    grid: dict[str, list[Rate]] = Field({}, description="rates of each modality, all combinations of which are drawn")
    subsets: bool = Field(True, description="pattern modality: also each subset of modalities by name")
    seeds: Seeds = Field([1, 2, 3], description="each level is drawn once per seed")

    @model_validator(mode="after")
    def _known(self) -> Mask:
        require_names("mask.patterns", self.patterns, plugin_names("patterns"))
        for key, names in (("imbalanced", itertools.chain(*self.imbalanced)), ("grid", self.grid)):
            require_names(f"mask.{key}", [n for n in names if not VIEW.fullmatch(n)], MODALITIES)
        return self

    @property
    def by_modality(self) -> list[dict[str, float]]:
        """Every combination of rates by modality that is drawn."""
        combined = [dict(zip(self.grid, rates)) for rates in itertools.product(*self.grid.values())]
        return [*self.imbalanced, *(combined if self.grid else [])]


class Incomplete(Section):
    pattern: str = Field(description="name of a file in lacuna/patterns")
    level: float | str = Field(description='missing rate, or the modalities left: "text+audio"')
    seed: Seed = Field(1, description="decides what is lost")


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
    track: list[Literal["tensorboard", "wandb", "mlflow", "dvclive"]] = Field(
        [],
        description="trackers that are told each epoch's metrics; files go to live/<dataset>/<model>/<seed>, those of "
        "MLflow to live/mlflow.db",
    )
    protocol: Literal["validation", "paper"] = Field(
        "validation", description="what checkpoints are chosen by: validation loss; paper: one a metric, best on test"
    )
    training: PlainSettings = Field({}, description="changes to training.Settings for every model")

    @model_validator(mode="after")
    def _known(self) -> Train:
        for name, settings in (self.model_extra or {}).items():
            require_names(f"train.{name}", [self.file_of(name)], plugin_names("models"))
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
        return plugin_settings("models", self.file_of(name), self.model_changes(name, dataset), dataset)

    def training_settings(self, name: str, dataset: str) -> PlainSettings:
        """What a model's own TRAINING, the common changes and its own changes make of training.Settings."""
        return {**plugin("models", self.file_of(name)).TRAINING, **self.training_changes(name, dataset)}

    def training_changes(self, name: str, dataset: str) -> PlainSettings:
        """What params.yaml says of a model's training: for every model, and on top of it for this one."""
        return {**merged(self.training, dataset), **self._plugin(name, dataset)["training"]}

    def model_changes(self, name: str, dataset: str) -> PlainSettings:
        """What params.yaml says of a model's architecture."""
        return resolved(self._plugin(name, dataset)["model"], dataset)

    def _plugin(self, name: str, dataset: str) -> PlainSettings:
        """What stands under `train.<name>`, key by key on top of what stands under the model that it is like."""
        own = merged((self.model_extra or {}).get(name, {}), dataset)
        refuse_unknown(own, ("like", "model", "training", *_COMMON), f"train.{name}")
        own |= {part: merged(own.get(part, {}), dataset) for part in ("model", "training")}
        if self.file_of(name) == name:
            return own
        base = self._plugin(self.file_of(name), dataset)
        return base | own | {part: base[part] | own[part] for part in ("model", "training")}


class Evaluate(Section):
    patterns: Names = Field(["frames", "modality"], description="patterns to judge under")
    calibrate: Literal["none", "shift", "shrink", "both"] = Field(
        "both", description="move answers toward validation's mean by the share lost; scores are told with and without"
    )
    bootstrap: int = Field(1000, ge=0, description="resamples behind each 95 % interval")


class Across(Section):
    """Cross-corpus evaluation."""

    datasets: Datasets = Field([], description="data sets with the same columns whose test split judges all models too")


class Figures(Section):
    clip: str = Field("", description="id of the clip to show; empty: the first of the test split")
    frames: int = Field(6, gt=0, description="how many of its frames")
    asked: int = Field(500, gt=0, description="most test clips whose inner outputs are drawn")


class Report(Section):
    title: str = Field("Lacuna", description="heading of the page")


class Params(BaseModel):
    """The whole of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    datasets: Datasets = Field(description="folders of raw/")
    models: Names = Field(description="names of files in lacuna/models, or new names that are `like` one")
    seeds: Seeds = Field(description="each model is trained once per seed")
    workers: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = Field(
        "auto", description="processes; auto: one per core"
    )
    compute: Compute = Field(default_factory=Compute)
    demo: Demo = Field(default_factory=Demo)
    prepare: Prepare = Field(default_factory=Prepare)
    finetune: Finetune = Field(default_factory=Finetune)
    transcribe: Transcribe = Field(default_factory=Transcribe)
    extract: Extract
    align: Align = Field(default_factory=Align)
    mask: Mask = Field(default_factory=Mask)
    export: Export
    train: Train
    evaluate: Evaluate = Field(default_factory=Evaluate)
    across: Across = Field(default_factory=Across)
    figures: Figures = Field(default_factory=Figures)
    report: Report = Field(default_factory=Report)

    @model_validator(mode="after")
    def _known(self) -> Params:
        require_names("models", [self.train.file_of(name) for name in self.models], plugin_names("models"))
        for dataset in self.datasets:
            self._check_lists(dataset)
        return self

    def _check_lists(self, dataset: str) -> None:
        """Every name in a list is one that an earlier section, or a room, has."""
        extracted, aligned = self.extract.of(dataset).extractors, self.align.of(dataset).extractors
        features = [*extracted, *(f"aligned_{name}" for name in aligned)]
        export, evaluate, train = self.export.of(dataset), self.evaluate.of(dataset), self.train.of(dataset)
        require_names("align.extractors", aligned, extracted)
        require_names("train.features", train.features, features)
        for name in self.models:
            require_names(f"train.{name}.features", self.train.of_model(name, dataset).features, features)
            pattern = self.train.training_changes(name, dataset).get("pattern", "none")
            require_names(f"train.{name}.training.pattern", [pattern], ["none", *plugin_names("patterns")])
        require_names("export.features", export.features, features)
        require_names("export.tokens", [export.tokens] if export.features else [], extracted)
        require_names("export.incomplete", [v.pattern for v in export.incomplete], plugin_names("patterns"))
        require_names("evaluate.patterns", evaluate.patterns, self.mask.of(dataset).patterns)


def resolved(values: Mapping[str, Any], dataset: str) -> PlainSettings:
    """Settings in which weights called `finetuned` are the file or folder that stage finetune left for the dataset."""
    folder = Path("processed", dataset, FINETUNED)
    own = {k: (folder / name).as_posix() for k, name in TUNED_FILES.items() if values.get(k) == FINETUNED}
    return {**values, **own}
