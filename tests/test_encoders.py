"""`image`, `speech` and `text`: each family of encoders tells what its own library tells of the same input."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_encoders
import torch
from PIL import Image

from lacuna.data.samples import specials
from lacuna.extract.run import Job
from lacuna.storage import pretrained
from lacuna.types import Clip, FeatureSequence, MalformedInput

torch.set_num_threads(1)

RATE = 16000
SENTENCE = "the movie was great but i did not like its end"
CONVOLUTIONAL = ("resnet", "timm")  # whose layers have different shapes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every family's tiny model, a picture and a second of sound that needs no filling up (50 whole frames)."""
    root, rng = tmp_path_factory.mktemp("encoders"), np.random.default_rng(0)
    torch.manual_seed(0)
    for family in (*tiny_encoders.VISION, *tiny_encoders.SPEECH, *tiny_encoders.TEXT):
        tiny_encoders.make(root / family, family)
    Image.fromarray(rng.integers(0, 255, (60, 90, 3), np.uint8)).save(root / "picture.png")
    soundfile.write(root / "sound.wav", 0.1 * rng.normal(size=RATE + 80), RATE)
    soundfile.write(root / "long.wav", 0.1 * rng.normal(size=5 * RATE), RATE)
    return root


def _made(folder: Path, room: str, family: str, file: str = "", **settings: object) -> FeatureSequence:
    module = import_module(f"lacuna.extractors.{room}")
    extractor = module.Extractor(module.Settings(source=str(folder / family), **settings))
    return extractor(Clip("v$_$1", "made", "train", SENTENCE, path=folder / file if file else None))


def _bare(folder: Path, family: str) -> torch.nn.Module:
    return pretrained.import_transformers().AutoModel.from_pretrained(folder / family).eval()


def _mixed(states: tuple[torch.Tensor, ...]) -> np.ndarray:
    return _rows((0.25 * states[-2] + 0.75 * states[-1])[0])


def _rows(states: torch.Tensor) -> np.ndarray:
    """(T, D), also of a map (D, H, W)."""
    return (states.flatten(1).T if states.ndim == 3 else states).numpy()


MIX = {"layers": (-2, -1), "layer_weights": (0.25, 0.75)}


@pytest.mark.parametrize("family", tiny_encoders.VISION)
def test_pictures(folder: Path, family: str) -> None:
    processor = pretrained.import_transformers().AutoImageProcessor.from_pretrained(folder / family)
    with Image.open(folder / "picture.png") as picture:
        pixels = processor(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"]
    whole = _bare(folder, family)
    network = getattr(whole, "vision_model", whole)
    with torch.inference_mode():
        told = network(pixel_values=pixels, output_hidden_states=family not in CONVOLUTIONAL)
        pooled = whole.get_image_features(pixels) if network is not whole else told
    pooled = pooled if isinstance(pooled, torch.Tensor) else pooled.pooler_output
    found = _made(folder, "image", family, "picture.png")
    np.testing.assert_allclose(found.values, pooled.flatten(1).numpy(), atol=1e-5)
    places = _made(folder, "image", family, "picture.png", output="places").values
    np.testing.assert_allclose(places, _rows(told.last_hidden_state[0]), atol=1e-5)
    if family not in CONVOLUTIONAL:
        mixed = _made(folder, "image", family, "picture.png", output="places", **MIX).values
        np.testing.assert_allclose(mixed, _mixed(told.hidden_states), atol=1e-5)


@pytest.mark.parametrize("family", tiny_encoders.SPEECH)
def test_sound(folder: Path, family: str) -> None:
    processor = pretrained.import_transformers().AutoFeatureExtractor.from_pretrained(folder / family)
    sound, _ = soundfile.read(folder / "sound.wav", dtype="float32")
    inputs = processor(sound, sampling_rate=RATE, return_tensors="pt")
    network = _bare(folder, family)
    network = network.get_encoder() if family == "whisper" else network
    with torch.inference_mode():
        told = network(**inputs, output_hidden_states=True)
    found = _made(folder, "speech", family, "sound.wav")
    np.testing.assert_allclose(found.values, told.last_hidden_state[0, :50].numpy(), atol=1e-4)
    np.testing.assert_allclose(found.times, np.arange(50) * 0.02)
    mixed = _made(folder, "speech", family, "sound.wav", **MIX).values
    np.testing.assert_allclose(mixed, _mixed(told.hidden_states)[:50], atol=1e-4)
    mean = _made(folder, "speech", family, "sound.wav", level="utterance")
    np.testing.assert_allclose(mean.values[0], found.values.mean(0), atol=1e-6)


@pytest.mark.parametrize("family", tiny_encoders.TEXT)
def test_words(folder: Path, family: str) -> None:
    tokenizer = pretrained.import_transformers().AutoTokenizer.from_pretrained(folder / family)
    inputs = tokenizer(SENTENCE, return_tensors="pt")
    network = _bare(folder, family)
    network = network.get_encoder() if family == "t5" else network
    with torch.inference_mode():
        told = network(**inputs, output_hidden_states=True)
    found = _made(folder, "text", family)
    np.testing.assert_allclose(found.values, told.last_hidden_state[0].numpy(), atol=1e-5)
    mixed = _made(folder, "text", family, **MIX).values
    np.testing.assert_allclose(mixed, _mixed(told.hidden_states), atol=1e-5)
    mask = tokenizer(SENTENCE, return_special_tokens_mask=True)["special_tokens_mask"]
    np.testing.assert_array_equal(specials(found), np.array(mask, bool))


@pytest.mark.parametrize("family", ["wav2vec2_layer_norm", "whisper"])
def test_padded_batches_of_sound_tell_the_same(folder: Path, family: str) -> None:
    """As on a GPU, where chunks of unlike lengths share a batch if the encoder heeds a mask."""
    module = import_module("lacuna.extractors.speech")
    extractor = module.Extractor(module.Settings(source=str(folder / family)))
    long, _ = soundfile.read(folder / "long.wav", dtype="float32")
    short = long[: RATE + 80]
    together = extractor._states([long, short])
    for chunk, found in zip((long, short), together):
        np.testing.assert_allclose(found, extractor._states([chunk])[0], atol=1e-4)


def test_chunks_go_on_without_a_gap(folder: Path) -> None:
    found = _made(folder, "speech", "wav2vec2", "long.wav", chunk=2.0)
    np.testing.assert_allclose(found.times, np.arange(250) * 0.02)


def test_bfloat16_is_near_float32(folder: Path) -> None:
    exact, rounded = (
        _made(folder, "image", "vit", "picture.png", precision=precision).values
        for precision in ("float32", "bfloat16")
    )
    assert 0 < np.abs(rounded - exact).max() < 0.05


@pytest.mark.parametrize(
    ("files", "told", "expected"),
    [
        (("a.mp4", "b.mkv"), "auto", "vision"),
        (("a.png", "b.webp"), "auto", "image"),
        (("a.jpg", None), "auto", "image"),  # a post that has lost its picture
        (("a.mp4", "b.jpg"), "auto", "vision"),  # a still among videos
        (("a.mp4", None), "auto", "vision"),
        (("a.mp4",), "image", "image"),
        (("a.png",), "vision", "vision"),
    ],
)
@pytest.mark.parametrize("room", ["image", "resnet50"])
def test_frames_of_videos_are_vision_and_pictures_are_images(
    folder: Path, tmp_path: Path, room: str, files: tuple[str | None, ...], told: str, expected: str
) -> None:
    """As MMSA and MMSA-FET name them: pickles have what comes of frames under `vision`."""
    weights = {"image": {"source": str(folder / "vit")}, "resnet50": {"weights": "random", "size": 32}}[room]
    clips = [Clip(f"v$_${i}", "made", "train", "", path=Path(file) if file else None) for i, file in enumerate(files)]
    job = Job("made", tmp_path, clips, room, weights | {"modality": told}, tmp_path)
    assert job.extraction.origin.modality == expected == job.extraction.origin.settings["modality"]


@pytest.mark.parametrize(
    ("room", "family", "settings"),
    [
        ("image", "vit", {"layers": (7,), "output": "places"}),
        ("image", "resnet", {"layers": (1, 2), "output": "places"}),
        ("speech", "whisper", {"layers": (-9,)}),
        ("text", "gpt2", {"layers": (4,)}),
    ],
)
def test_layers_that_are_not_there_are_refused_at_once(folder: Path, room: str, family: str, settings: dict) -> None:
    module = import_module(f"lacuna.extractors.{room}")
    with pytest.raises(MalformedInput, match="layers"):
        module.Extractor(module.Settings(source=str(folder / family), **settings))


def test_no_speech_encoder_is_refused(folder: Path) -> None:
    module = import_module("lacuna.extractors.speech")
    with pytest.raises(MalformedInput, match="speech encoder"):
        module.Extractor(module.Settings(source=str(folder / "vit")))
