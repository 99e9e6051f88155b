"""ResNet50 for extraction and fine-tuning: weights, folding, preparing pictures. In: a weights name. Out: a module."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.error import URLError

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from lacuna.extractors._openface.networks import Detector
from lacuna.extractors._openface.weights import networks
from lacuna.pretrained import import_torchvision
from lacuna.types import MalformedInput

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures, in [0, 1] RGB
IMAGENET = "IMAGENET1K_V1"
SHORT_SIDE = 256 / 224  # torchvision's preset: the shorter side to 256, the middle 224


def network(weights: str, seed: int = 0) -> nn.Module:
    """torchvision's ResNet50 without its head, with "imagenet", "random" (seeded) weights or those of a file."""
    resnet50 = import_torchvision().models.resnet50
    if weights == "imagenet":
        try:
            model = resnet50(weights=IMAGENET, progress=False)
        except (URLError, TimeoutError, ConnectionError, RuntimeError) as error:
            raise MalformedInput(
                "weights 'imagenet': expected torchvision's ResNet50 weights in its cache or a network to fetch them; "
                "a file of weights (torchvision's, or finetune's) or 'random' need none; "
                f"torchvision said: {error}"
            ) from error
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = resnet50(weights=None)
        if weights != "random":
            _load(model, Path(weights))
    model.fc = nn.Identity()
    return model.eval()


def _load(model: nn.Module, path: Path) -> None:
    """Weights of a .safetensors file, or a tensor-only .pth; the classifier's rows are not wanted."""
    if not path.is_file():
        raise MalformedInput(f"weights: expected imagenet, random or a file, found none at {path}")
    if path.suffix == ".safetensors":
        state = safetensors.torch.load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    expected = {name for name in model.state_dict() if not name.startswith("fc.")}
    odd = sorted(expected.symmetric_difference(state))
    if odd:
        raise MalformedInput(f"{path}: expected the parameters of ResNet50, these are missing or foreign: {odd[:3]}")
    model.load_state_dict(state, strict=False)


def fingerprint(weights: str) -> str:
    """What identifies the weights: a file's SHA-256, torchvision's name for ImageNet's, or "random"."""
    if weights in ("imagenet", "random"):
        return {"imagenet": IMAGENET, "random": "random: never trained"}[weights]
    return hashlib.sha256(Path(weights).read_bytes()).hexdigest()


def for_inference(model: nn.Module, precision: str) -> nn.Module:
    """(B, 3, S, S) → (B, 2048, S/32, S/32): batch norms folded into their convolutions, channels last."""
    fuse = torch.nn.utils.fusion.fuse_conv_bn_eval
    blocks = [block for layer in (model.layer1, model.layer2, model.layer3, model.layer4) for block in layer]
    with torch.no_grad():
        model.conv1, model.bn1 = fuse(model.conv1, model.bn1), nn.Identity()
        for block in blocks:
            for i in (1, 2, 3):
                setattr(block, f"conv{i}", fuse(getattr(block, f"conv{i}"), getattr(block, f"bn{i}")))
                setattr(block, f"bn{i}", nn.Identity())
            if block.downsample is not None:
                block.downsample = fuse(block.downsample[0], block.downsample[1])
    trunk = nn.Sequential(model.conv1, model.relu, model.maxpool, *blocks)
    return trunk.to(getattr(torch, precision)).to(memory_format=torch.channels_last).eval()


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """(H, W, 3) uint8 → (size, size, 3): shorter side to size · 256 / 224, then the middle (torchvision's preset)."""
    height, width = image.shape[:2]
    short = round(size * SHORT_SIDE)
    # As torchvision: the longer side is cut to whole pixels, the middle is found by rounding.
    new = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    picture = Image.fromarray(image).resize(new, Image.Resampling.BILINEAR)
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def normalized(pixels_BHWC: Tensor, precision: str) -> Tensor:
    """(B, S, S, 3) uint8 → (B, 3, S, S) with ImageNet's mean 0 and deviation 1, channels last in memory."""
    mean, deviation = (torch.tensor(v, device=pixels_BHWC.device) for v in (MEAN, DEVIATION))
    scaled = (pixels_BHWC.float() / 255 - mean) / deviation
    return scaled.permute(0, 3, 1, 2).to(getattr(torch, precision))


class FaceFinder:
    """The largest face of a picture, by the detector of Google's face landmarker, with a margin; None without one."""

    LEAST = 0.5  # how sure the detector must be

    def __init__(self) -> None:
        self._detect = Detector(networks(), self.LEAST)

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        found = self._detect(image)
        if not found:
            return None
        crop = max(found, key=lambda crop: crop.width)  # already wider than the inner face that detectors box
        left, top = max(0, int(crop.x - crop.width / 2)), max(0, int(crop.y - crop.width / 2))
        face = image[top : int(crop.y + crop.width / 2) + 1, left : int(crop.x + crop.width / 2) + 1]
        return face if face.size else None
