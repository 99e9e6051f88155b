"""docs/params.md from the code: every key of params.yaml. In: the settings' classes. Out: Markdown.

A section's keys are told by the descriptions in params.py, a plug-in's by the comments beside the fields of its
`Settings`, or by its docstring where that reads `field: meaning; other: meaning`. `lacuna docs params` prints the page,
and tests/test_docs.py holds the file to it.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import json
import re
import textwrap
import tokenize
from collections.abc import Iterable, Iterator
from types import ModuleType, NoneType, UnionType
from typing import Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from lacuna.finetune import networks
from lacuna.params import Incomplete, Params, Section, plugin
from lacuna.params.plugins import package_names
from lacuna.train import trainer

HEAD = """# Every key of params.yaml

Written by `lacuna docs params` from the code, and held to it by a test. A key that no one reads stops the run with
its name.

In any section, and in the settings of any plug-in, `per_dataset` changes keys for single datasets:

    prepare:
      label_range: [-3, 3]
      per_dataset:
        sims: {label_range: [-1, 1]}
"""
_FINETUNED = """
Text + image posts in full: both networks are tuned, `finetuned` names what came out, and the posts have their own task
and features:

    datasets: [posts]
    models: [concat, gated, dual_stream, text_only, image_only]
    finetune:
      per_dataset:
        posts: {networks: [resnet50, bert], balance: true}
    extract:
      extractors: [tokens, bert, librosa, face, resnet50]   # sound and video are passed over: posts have none
      tokens: {per_dataset: {posts: {source: finetuned}}}
      resnet50: {output: regions, per_dataset: {posts: {weights: finetuned}}}
    train:
      per_dataset:
        posts: {task: polarity, features: [tokens, resnet50]}
      dual_stream:
        model: {per_dataset: {posts: {encoder: finetuned, finetune: false}}}"""
TABLE = "| key | type | default | meaning |\n|---|---|---|---|"
REQUIRED = "required"
Row = tuple[str, str, str, str]


def params_page() -> str:
    """The whole page."""
    sections = {n: f.annotation for n, f in Params.model_fields.items() if _is_model(f.annotation)}
    plain = [row for row in _model_rows(Params) if row[0] not in sections]
    parts = [HEAD, "## At the top\n", _table(plain)]
    for name, section in sections.items():
        parts += [f"\n## {name}\n", *_section(name, section)]
    return "\n".join(parts) + "\n"


def _is_model(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _section(name: str, section: type[BaseModel]) -> Iterator[str]:
    if section.__doc__ and section.__doc__ not in (Section.__doc__, BaseModel.__doc__):
        yield section.__doc__.strip() + "\n"
    yield _table(_model_rows(section))
    if name == "extract":
        yield "\nEach extractor has its own settings, under `extract.<name>`."
        yield from _plugins("extractors", "extract")
    elif name == "mask":
        yield "\nPatterns have no settings:\n"
        yield from (f"- `{n}`: {_first_sentence(plugin('patterns', n))}" for n in package_names("patterns"))
    elif name == "prepare":
        yield "\nThe layout of `raw/<dataset>/` is recognised; these are known:\n"
        yield from (
            f"- `{m.__name__.rpartition('.')[2]}`: {m.LOOKED_FOR}"
            for m in (plugin("datasets", name) for name in package_names("datasets"))
        )
    elif name == "export":
        yield "\nEach entry of `export.incomplete`:\n"
        yield _table(_model_rows(Incomplete))
    elif name == "finetune":
        yield "\nThe other keys are those of `lacuna.finetune.networks` (`parts` follows from `networks`):\n"
        yield _table(row for row in _dataclass_rows(networks.Settings) if row[0] != "parts")
        yield _FINETUNED
    elif name == "train":
        yield from _training()


def _training() -> Iterator[str]:
    yield "\n`train.training` for all models, and `train.<model>.training` for one, change how it is trained:\n"
    yield _table(_dataclass_rows(trainer.Settings))
    yield (
        "\n`train.<model>` also takes the model's own features, task, standardize, lengths and protocol. A new name in "
        "`models` with `train.<name>.like: <model>` is that model under other settings (extending.md)."
    )
    yield "\nEach model has its own settings, under `train.<name>.model`; its paper's training is the default for it."
    yield from _plugins("models", "train")


def _plugins(room: str, section: str) -> Iterator[str]:
    for name in package_names(room):
        module = plugin(room, name)
        where = f"{section}.{name}" + (".model" if room == "models" else "")
        yield f"\n### {where}\n\n{_first_sentence(module)}\n"
        _, rest = _docstring(module.Settings)
        if rest:
            yield rest + "\n"
        yield _table(_dataclass_rows(module.Settings))
        if getattr(module, "TRAINING", None):
            pairs = ", ".join(f"{key}: {_plain(value)}" for key, value in module.TRAINING.items())
            yield f"\nTrained with `{{{pairs}}}`."
        published = _published(module)
        if published:
            yield f"\nAs published: `{{{published}}}`."


def _published(module: ModuleType) -> str:
    """What PUBLISHED changes of the defaults."""
    if not hasattr(module, "PUBLISHED"):
        return ""
    usual = module.Settings()
    names = [f.name for f in dataclasses.fields(usual)]
    changed = {n: getattr(module.PUBLISHED, n) for n in names if getattr(module.PUBLISHED, n) != getattr(usual, n)}
    return ", ".join(f"{name}: {_plain(value)}" for name, value in changed.items())


def _first_sentence(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")


def _model_rows(model: type[BaseModel]) -> Iterator[Row]:
    kinds = get_type_hints(model)
    for name, field in model.model_fields.items():
        if name == "per_dataset":
            continue
        default = REQUIRED if field.is_required() else _plain(field.get_default(call_default_factory=True))
        yield name, _kind(kinds[name]), default, field.description or ""


def _dataclass_rows(settings: type) -> Iterator[Row]:
    comments, kinds = _docstring(settings)[0] | _comments(settings), get_type_hints(settings)
    for field in dataclasses.fields(settings):
        default = REQUIRED
        if field.default is not dataclasses.MISSING:
            default = _plain(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            default = _plain(field.default_factory())
        yield field.name, _kind(kinds[field.name]), default, comments.get(field.name, "")


def _kind(hint: object) -> str:
    """A type as readers know it: the words it may be, or Python's name."""
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " | ".join("null" if kind is NoneType else _kind(kind) for kind in get_args(hint))
    name = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    return re.sub(r"typing\.|Literal\b|lacuna\.[a-z_.]+\.", "", name)


def _docstring(settings: type) -> tuple[dict[str, str], str]:
    """{field: meaning} of a docstring like `size: columns; low, high: limits`, and what else it says."""
    names = {f.name for f in dataclasses.fields(settings)}
    meanings: dict[str, str] = {}
    rest: list[str] = []
    for part in (inspect.getdoc(settings) or "").replace("\n", " ").removesuffix(".").split("; "):
        head, colon, told = part.partition(": ")
        fields = re.findall(r"\w+", head.replace(" and ", ", "))
        if colon and fields and names.issuperset(fields):
            meanings |= dict.fromkeys(fields, told)
        else:
            rest.append(part)
    return meanings, "; ".join(rest) + "." * bool(rest)


def _comments(settings: type) -> dict[str, str]:
    """{field: the comment on its lines} of a dataclass and those that it extends, read from their source."""
    kinds = [kind for kind in reversed(settings.__mro__) if dataclasses.is_dataclass(kind)]
    return {name: told for kind in kinds for name, told in _own_comments(kind).items()}


def _own_comments(settings: type) -> dict[str, str]:
    source = textwrap.dedent(inspect.getsource(settings))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    (body,) = (node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    spans = {
        node.target.id: range(node.lineno, (node.end_lineno or node.lineno) + 1)
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    told = {name: " ".join(lines[n] for n in span if n in lines) for name, span in spans.items()}
    return {name: words for name, words in told.items() if words}


def _plain(value: object) -> str:
    """A value as params.yaml writes it."""
    return json.dumps(value, default=list, ensure_ascii=False)


def _table(rows: Iterable[Row]) -> str:
    lines = []
    for name, kind, default, told in rows:
        shown = default if default == REQUIRED else f"`{default}`"
        cells = (f"`{name}`", f"`{kind}`", shown, told)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([TABLE, *lines])
