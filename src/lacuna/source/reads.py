"""What each run of a stage stands on beside data. In: params.yaml. Out: {where it is written: `Source`}.

Settings that change no result (`workers`, `compute`, `train.device`, `train.processes`, `train.track`) are left out, so
that they run nothing again.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from lacuna.params import Params, PlainSettings, Section
from lacuna.params.plugins import plugin_names
from lacuna.prepare.run import layouts, name_of
from lacuna.source.closure import digests, plugin_file, reached

NO_RESULT = ("device", "processes", "track")  # of the section train
SCRIPTS = Path("pipeline")
DEMO_LAYOUT = "labelled_videos"


@dataclass(frozen=True)
class Source:
    """A stage, the plug-ins that it runs as (room, name), and the settings that it reads by their keys."""

    stage: str
    settings: PlainSettings
    plugins: tuple[tuple[str, str], ...] = ()

    def values(self) -> dict[str, object]:
        """As it is written: digests of the script, the plug-ins and all that they import, and the settings."""
        starts = [SCRIPTS / f"{self.stage}.py", *(plugin_file(*plugin) for plugin in self.plugins)]
        return {"code": digests(starts), "settings": self.settings}


def sources(params: Params) -> Iterator[tuple[str, Source]]:
    """Of all runs; a run on a dataset is written as <dataset>/<stage>.json or <dataset>/<stage>.<item>.json."""
    demo = {"demo": _plain(params.demo), "wanted": "demo" in params.datasets}
    yield "demo", Source("demo", demo)
    yield "report", Source("report", {"report": _plain(params.report), "datasets": params.datasets})
    for dataset in params.datasets:
        for name, source in chain(_of_data(params, dataset), _of_models(params, dataset)):
            yield f"{dataset}/{name}", source


def _of_data(params: Params, dataset: str) -> Iterator[tuple[str, Source]]:
    """From raw data to features, masks and pickles."""
    align, export, mask = (getattr(params, name).of(dataset) for name in ("align", "export", "mask"))
    yield "prepare", Source("prepare", {"prepare": _plain(params.prepare.of(dataset))}, _layouts(dataset))
    settings: PlainSettings = {"transcribe": _plain(params.transcribe.of(dataset), "device")}
    yield "transcribe", Source("transcribe", settings)
    yield "finetune", Source("finetune", {"finetune": _plain(params.finetune.of(dataset))})
    extract = params.extract.of(dataset)
    others = ("extractors", *(extract.model_extra or {}))
    for name in params.extract.extractors:
        own = (("extractors", name),) if name in plugin_names("extractors") else ()
        settings = {
            f"extract.{name}": params.extract.plain_settings(name, dataset),
            "extract": _plain(extract, *others),
        }
        yield f"extract.{name}", Source("extract", settings, own)
    words = {f"extract.{export.tokens}": params.extract.plain_settings(export.tokens, dataset)}
    settings = {"align": _plain(align, "extractors"), "export.tokens": export.tokens, **words}
    yield from ((f"align.{name}", Source("align", settings)) for name in params.align.extractors)
    settings = {"mask": _plain(mask, "patterns"), "train.features": params.train.of(dataset).features}
    yield from ((f"mask.{n}", Source("mask", settings, (("patterns", n),))) for n in params.mask.patterns)
    settings = {"export": _plain(export), "align.extractors": align.extractors}
    lossy = _patterns(v.pattern for v in export.incomplete)
    yield "export", Source("export", settings, (*lossy, *encoding_after_loss(export.features)))


def _of_models(params: Params, dataset: str) -> Iterator[tuple[str, Source]]:
    """What is trained, judged and shown."""
    evaluate, prepare, train = (getattr(params, name).of(dataset) for name in ("evaluate", "prepare", "train"))
    for name in params.models:
        yield f"models.{name}", _model(params, name, dataset)
    yield "train", Source("train", {})  # a model's settings stand in its plan
    for other in params.across.datasets:
        judged = {"evaluate": _plain(params.evaluate.of(other)), "seeds": params.seeds}
        judged |= {"prepare.label_range": params.prepare.of(other).label_range}
        judged |= {f"train.{name}": trained_as(params, name, other) for name in params.models}
        yield f"across.{other}", Source("across", judged, _patterns(params.evaluate.of(other).patterns))
    settings: PlainSettings = {
        "evaluate": _plain(evaluate),
        "seeds": params.seeds,
        "export.features": params.export.of(dataset).features,
    }
    yield "evaluate", Source("evaluate", settings, _patterns(evaluate.patterns))
    trained = {f"train.{name}": trained_as(params, name, dataset) for name in params.models}
    settings = {"figures": _plain(params.figures.of(dataset)), "models": params.models, "seeds": params.seeds}
    settings |= {"train.features": train.features, "prepare.label_range": prepare.label_range, **trained}
    yield "figures", Source("figures", settings, _patterns(params.mask.of(dataset).patterns))


def _model(params: Params, name: str, dataset: str) -> Source:
    file = params.train.file_of(name)
    settings = trained_as(params, name, dataset)
    settings = {f"train.{name}": settings, "prepare.label_range": params.prepare.of(dataset).label_range}
    told, features = params.train.training_changes(name, dataset), params.train.of_model(name, dataset).features
    patterns = _patterns([told.get("pattern", usual_pattern(file)), told.get("select_pattern", "none")])
    return Source("models", settings, (("models", file), *patterns, *encoding_after_loss(features)))


def trained_as(params: Params, name: str, dataset: str) -> PlainSettings:
    """What params.yaml says of a model, as it is: `models` checks it against the model's own settings."""
    common = params.train.of_model(name, dataset).model_dump(exclude={*NO_RESULT, "per_dataset", "training"})
    own = {key for key in common if key in type(params.train).model_fields}
    told = {key: common[key] for key in sorted(own)}
    changes = params.train.training_changes(name, dataset)
    return {**told, "model": params.train.model_changes(name, dataset), "training": changes}


def usual_pattern(model: str) -> str:
    """The training pattern that a model's file says in `TRAINING`, read without importing torch."""
    tree = ast.parse(plugin_file("models", model).read_bytes())
    settings = [node.value for node in tree.body if isinstance(node, ast.Assign) and _assigns(node, "TRAINING")]
    for node in settings:
        for key, value in zip(node.keys, node.values) if isinstance(node, ast.Dict) else ():
            if isinstance(key, ast.Constant) and key.value == "pattern" and isinstance(value, ast.Constant):
                return str(value.value)
    return "none"


def _assigns(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _layouts(dataset: str) -> tuple[tuple[str, str], ...]:
    """The layout of raw/<dataset>: none where it is unknown, which stage prepare will refuse."""
    root = Path("raw", dataset)
    if not root.is_dir():  # the demo is yet to be made
        return (("datasets", DEMO_LAYOUT),) if dataset == "demo" else ()
    return tuple(("datasets", name_of(module)) for module in layouts() if module.matches(root))


def encoding_after_loss(features: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The extractors among these features that make them again from what a loss leaves (`after_loss`)."""
    own = [name for name in features if name in plugin_names("extractors")]
    files = {name: reached([plugin_file("extractors", name)]) for name in own}
    return tuple(("extractors", n) for n in own if any(b"def after_loss" in f.read_bytes() for f in files[n]))


def _patterns(names: Iterator[str] | list[str]) -> tuple[tuple[str, str], ...]:
    return tuple(("patterns", name) for name in dict.fromkeys(names) if name != "none")


def _plain(section: Section, *others: str) -> PlainSettings:
    """The values of a section for one dataset, but for the names of `others`, which are runs of their own."""
    return section.model_dump(mode="json", exclude={"per_dataset", *others})
