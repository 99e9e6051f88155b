"""ResNet50 for extraction and fine-tuning, by timm. In: a weights name, pictures. Out: a module, and what it reads."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from lacuna.storage.pretrained import import_timm, import_torchvision
from lacuna.types import MalformedInput

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures, in [0, 1] RGB
IMAGENET = "IMAGENET1K_V1"  # torchvision's name for the weights that timm calls tv_in1k
SHORT_SIDE = 256 / 224  # torchvision's preset: the shorter side to 256, the middle 224


def network(weights: str, seed: int = 0) -> nn.Module:
    """ResNet50 without its head, with "imagenet", "random" (seeded) weights, or those of a file: .safetensors, or a
    .pth of tensors alone, with torchvision's names."""
    timm, path = import_timm(), Path(weights)
    options: dict[str, object] = {"pretrained": weights != "random"}
    if weights not in ("imagenet", "random"):
        if not path.is_file():
            raise MalformedInput(f"weights: expected imagenet, random or a file, found none at {path}")
        options["pretrained_cfg_overlay"] = {"file": weights}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return timm.create_model("resnet50.tv_in1k", num_classes=0, **options).eval()
    except (OSError, RuntimeError) as error:
        raise MalformedInput(
            f"weights {weights!r}: expected the parameters of ResNet50, from a file or (imagenet) from the hub's cache "
            f"or a network; 'random' needs none; timm said: {str(error).splitlines()[0]}"
        ) from error


def fingerprint(weights: str) -> str:
    """What identifies the weights: a file's SHA-256, torchvision's name for ImageNet's, or "random"."""
    if weights in ("imagenet", "random"):
        return {"imagenet": IMAGENET, "random": "random: never trained"}[weights]
    return hashlib.sha256(Path(weights).read_bytes()).hexdigest()


def for_inference(model: Any, precision: str) -> nn.Module:  # noqa: ANN401 (timm's network)
    """(B, 3, S, S) → (B, 2048, S/32, S/32): batch norms folded into their convolutions, channels last."""
    model.reset_classifier(0, "")  # neither a head nor a pool
    folded: Any = fuse(model)
    return folded.to(getattr(torch, precision)).to(memory_format=torch.channels_last).eval()


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """(H, W, 3) uint8 → (size, size, 3): shorter side to size · 256 / 224, then the middle (torchvision's preset)."""
    F = import_torchvision().transforms.functional
    return np.asarray(F.center_crop(F.resize(Image.fromarray(image), round(size * SHORT_SIDE)), [size, size]))


def normalized(pixels_BHWC: Tensor, precision: str) -> Tensor:
    """(B, S, S, 3) uint8 → (B, 3, S, S) with ImageNet's mean 0 and deviation 1, channels last in memory."""
    mean, deviation = (torch.tensor(v, device=pixels_BHWC.device) for v in (MEAN, DEVIATION))
    scaled = (pixels_BHWC.float() / 255 - mean) / deviation
    return scaled.permute(0, 3, 1, 2).to(getattr(torch, precision))
