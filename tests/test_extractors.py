"""Every extractor of text, sound and pictures: one family, one contract, and the values of the bare libraries."""

from __future__ import annotations

import importlib
import sys
import wave
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import librosa
import numpy as np
import pytest
import tiny_encoders
import torch
from PIL import Image

from lacuna.data.samples import TOKEN_COLUMNS, specials
from lacuna.media import decode
from lacuna.params import plugin_names
from lacuna.storage import pretrained
from lacuna.types import Clip, FeatureSequence, MalformedInput

torch.set_num_threads(1)

WORDS = [
    "the",
    "movie",
    "was",
    "great",
    "but",
    "i",
    "did",
    "not",
    "like",
    "its",
    "end",
    "at",
    "all",
    "so",
    "good",
    "bad",
]
SENTENCE = "the movie was great but I did not like its end"


@dataclass(frozen=True)
class Bench:
    """A folder of media, and each tiny model's folder."""

    folder: Path
    models: dict[str, Path]
    vectors: Path

    def clip(self, name: str = "", text: str = SENTENCE, **span: float) -> Clip:
        return Clip("v$_$1", "bench", "train", text=text, path=self.folder / name if name else None, **span)


def _sound(path: Path, samples: np.ndarray, rate: int = 22050) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def _film(path: Path, frames: int = 10, fps: int = 5) -> None:
    """A film without a face and without sound."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height = 96, 64
        for i in range(frames):
            image = np.full((64, 96, 3), 20 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _bert(folder: Path) -> None:
    transformers = pretrained.import_transformers()
    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(config).save_pretrained(folder)


def _tokenizer(folder: Path, specials: list[str], template: str, kind: str) -> int:
    """A word-level tokenizer with a family's own special tokens; its size."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: i for i, word in enumerate([*specials, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    named = [(s, vocabulary[s]) for s in specials if s in template]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=named)
    fast = pretrained.import_transformers().PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", cls_token=specials[0], sep_token=specials[2]
    )
    fast.save_pretrained(folder)
    return len(vocabulary)


def _roberta(folder: Path) -> None:
    transformers = pretrained.import_transformers()
    folder.mkdir()
    size = _tokenizer(folder, ["<s>", "<pad>", "</s>", "<unk>"], "<s>:0 $A:0 </s>:0", "roberta")
    config = transformers.RobertaConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=66,
        type_vocab_size=1,
        pad_token_id=1,
    )
    transformers.RobertaModel(config).save_pretrained(folder)


def _xlnet(folder: Path) -> None:
    transformers = pretrained.import_transformers()
    folder.mkdir()
    size = _tokenizer(folder, ["<cls>", "<pad>", "<sep>", "<unk>"], "$A:0 <sep>:0 <cls>:2", "xlnet")
    config = transformers.XLNetConfig(vocab_size=size, d_model=16, n_layer=2, n_head=2, d_inner=32, pad_token_id=1)
    transformers.XLNetModel(config).save_pretrained(folder)


def _wav2vec2(folder: Path) -> None:
    transformers = pretrained.import_transformers()
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    transformers.Wav2Vec2Model(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    torch.manual_seed(0)
    makers = {
        "bert": _bert,
        "roberta": _roberta,
        "xlnet": _xlnet,
        "wav2vec2": _wav2vec2,
        "vit": partial(tiny_encoders.make, family="vit"),
    }
    for name, make in makers.items():
        make(folder / name)
    time = np.arange(2 * 22050) / 22050
    _sound(folder / "voice.wav", 0.4 * np.sin(2 * np.pi * 180 * time) * (1 + np.sin(2 * np.pi * 3 * time)) / 2)
    _sound(folder / "silence.wav", np.zeros(22050))
    _sound(folder / "blip.wav", 0.1 * np.ones(40))
    _sound(folder / "nothing.wav", np.zeros(0))
    _film(folder / "film.mp4")
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    Image.fromarray(np.kron(noise, np.ones((4, 4, 1), np.uint8))).save(folder / "picture.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    lines = [f"{word} {i}.5 -{i} 0.25" for i, word in enumerate(WORDS)]
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n. . . 7 8 9\n", encoding="utf-8")
    return Bench(folder, {name: folder / name for name in makers}, folder / "vectors.txt")


# Every way to use an extractor: its name, its settings ({name} is a path of the bench), and the media it reads.
FAMILY = {
    "tokens": ("tokens", {"source": "{bert}", "max_length": 8}, ""),
    "tokens-embedded": ("tokens", {}, ""),
    "tokens-roberta": ("tokens", {"source": "{roberta}"}, ""),
    "bert": ("bert", {"source": "{bert}", "max_length": 8}, ""),
    "bert-embedded": ("bert", {}, ""),
    "bert-roberta": ("bert", {"source": "{roberta}"}, ""),
    "bert-xlnet": ("bert", {"source": "{xlnet}"}, ""),
    "glove": ("glove", {"file": "{vectors}"}, ""),
    "librosa-sims33": ("librosa", {}, "voice.wav"),
    "librosa-sims33_f0": ("librosa", {"recipe": "sims33_f0"}, "voice.wav"),
    "librosa-yin": ("librosa", {"recipe": "sims33_f0", "f0": "yin"}, "voice.wav"),
    "librosa-fet": ("librosa", {"recipe": "fet_default"}, "voice.wav"),
    "librosa-own-rate": ("librosa", {"features": ("rms",), "rate": None}, "voice.wav"),
    "librosa-list": (
        "librosa",
        {"features": ("rms", {"mfcc": {"n_mfcc": 5}}, {"spectral_contrast": {"n_bands": 4}}, "tonnetz")},
        "voice.wav",
    ),
    "speech": ("speech", {"source": "{wav2vec2}"}, "voice.wav"),
    "speech-utterance": ("speech", {"source": "{wav2vec2}", "level": "utterance", "layers": (0, 1)}, "voice.wav"),
    "text": ("text", {"source": "{roberta}", "layers": (-2, -1), "layer_weights": (0.25, 0.75)}, ""),
    "image": ("image", {"source": "{vit}"}, "picture.png"),
    "image-film": ("image", {"source": "{vit}", "fps": 2.0, "output": "places"}, "film.mp4"),
    "image-face": ("image", {"source": "{vit}", "crop": "face", "level": "utterance"}, "film.mp4"),
    "opensmile": ("opensmile", {}, "voice.wav"),
    "resnet50": ("resnet50", {"weights": "random", "size": 64}, "picture.png"),
    "resnet50-regions": ("resnet50", {"weights": "random", "output": "regions"}, "picture.png"),
    "resnet50-film": ("resnet50", {"weights": "random", "size": 32, "fps": 2.0}, "film.mp4"),
    "loudness": ("loudness", {}, "voice.wav"),  # the example of docs/extending.md
    "resnet50-face": ("resnet50", {"weights": "random", "size": 32, "crop": "face"}, "film.mp4"),
}


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"lacuna.extractors.{name}")


def _made(bench: Bench, way: str) -> tuple[object, Clip]:
    name, settings, source = FAMILY[way]
    if name == "opensmile":
        pytest.importorskip("opensmile")
    paths = {**{k: str(v) for k, v in bench.models.items()}, "vectors": str(bench.vectors)}
    filled = {k: v.format(**paths) if isinstance(v, str) else v for k, v in settings.items()}
    module = _module(name)
    return module.Extractor(module.Settings(**filled)), bench.clip(source)


def test_every_extractor_is_in_the_family() -> None:
    """But for those that have tests of their own: test_face*.py, test_encoders.py, test_given_tables.py."""
    elsewhere = {"face", "tables"}
    assert set(plugin_names("extractors")) - elsewhere == {name for name, _, _ in FAMILY.values()}


@pytest.mark.parametrize("way", FAMILY)
def test_keeps_the_contract(bench: Bench, way: str) -> None:
    extractor, clip = _made(bench, way)
    module = _module(FAMILY[way][0])
    sequence = extractor(clip)
    assert isinstance(sequence, FeatureSequence) and len(sequence) > 0  # finite and shaped, or it would not exist
    assert sequence.columns == tuple(extractor.columns) and len(set(extractor.columns)) == len(extractor.columns)
    assert module.MODALITY in ("text", "audio", "image") and module.VERSION >= 1
    assert sequence.values.dtype == np.dtype(getattr(module, "DTYPE", "float32"))
    assert (np.diff(sequence.times) >= 0).all() and sequence.times[0] >= 0
    assert not sequence.values[~sequence.seen].any()
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in extractor.versions().items())


@pytest.mark.parametrize("way", FAMILY)
def test_is_deterministic_and_alone(bench: Bench, way: str) -> None:
    """The same values from another extractor, and beside other clips."""
    first, clip = _made(bench, way)
    again, _ = _made(bench, way)
    expected = first(clip)
    np.testing.assert_array_equal(again(clip).values, expected.values)
    if hasattr(first, "many"):
        others = [bench.clip(FAMILY[way][2], text=t) for t in ("good", "", "bad bad " * 9)]
        together = first.many([others[0], clip, *others[1:]])
        assert len(together) == 4
        np.testing.assert_array_equal(together[1].values, expected.values)
        np.testing.assert_array_equal(together[1].times, expected.times)


@pytest.mark.parametrize("way", [way for way in FAMILY if _module(FAMILY[way][0]).MODALITY == "text"])
@pytest.mark.parametrize("text", ["", "   \n"])
def test_no_words_no_frames(bench: Bench, way: str, text: str) -> None:
    extractor, _ = _made(bench, way)
    assert len(extractor(bench.clip(text=text))) == 0


@pytest.mark.parametrize("way", [way for way in FAMILY if _module(FAMILY[way][0]).MODALITY == "audio"])
@pytest.mark.parametrize("name", ["silence.wav", "blip.wav", "nothing.wav", "film.mp4"])
def test_sound_may_be_silent_short_or_absent(bench: Bench, way: str, name: str) -> None:
    extractor, _ = _made(bench, way)
    sequence = extractor(bench.clip(name))
    assert np.isfinite(sequence.values).all()
    assert (len(sequence) == 0) == (name in ("film.mp4", "nothing.wav"))


@pytest.mark.parametrize(
    ("name", "settings", "named"),
    [
        ("tokens", {"source": ""}, "source"),
        ("tokens", {"max_length": 2}, "max_length"),
        ("bert", {"max_length": 0}, "max_length"),
        ("bert", {"batch_size": 0}, "batch_size"),
        ("glove", {}, "file"),
        ("librosa", {"recipe": "sims34"}, "recipe"),
        ("librosa", {"recipe": "sims33", "features": ("rms",)}, "features"),
        ("librosa", {"features": ("rmse",)}, "rmse"),
        ("librosa", {"features": ("tempo",)}, "tempo"),
        ("librosa", {"features": ({"rms": {"hops": 3}},)}, "hops"),
        ("librosa", {"features": ({"f0": {"hops": 3}},)}, "hops"),
        ("librosa", {"features": ({"rms": {}, "mfcc": {}},)}, "features"),
        ("librosa", {"rate": 0}, "rate"),
        ("librosa", {"hop_length": -1}, "hop_length"),
        ("librosa", {"f0": "crepe"}, "f0"),
        ("speech", {"source": "embedded"}, "source"),
        ("speech", {"source": "x", "chunk": 0.0}, "chunk"),
        ("speech", {"source": "x", "level": "clip"}, "level"),
        ("image", {}, "source"),
        ("image", {"source": "x", "output": "pixels"}, "output"),
        ("image", {"source": "x", "crop": "hand"}, "crop"),
        ("image", {"source": "x", "layers": ()}, "layers"),
        ("text", {"source": "x", "layers": (1, 2), "layer_weights": (1.0,)}, "layer_weights"),
        ("text", {"source": "x", "precision": "int8"}, "precision"),
        ("text", {"source": "x", "batch_size": 0}, "batch_size"),
        ("opensmile", {"level": "words"}, "level"),
        ("resnet50", {"output": "all"}, "output"),
        ("resnet50", {"crop": "hand"}, "crop"),
        ("resnet50", {"size": 100}, "size"),
        ("resnet50", {"fps": 0.0}, "fps"),
        ("resnet50", {"precision": "int8"}, "precision"),
        ("resnet50", {"weights": ""}, "weights"),
    ],
)
def test_refuses_nonsense_before_any_file(name: str, settings: dict[str, object], named: str) -> None:
    with pytest.raises(MalformedInput, match=named):
        _module(name).Settings(**settings)


@pytest.mark.parametrize(
    ("name", "settings", "named"),
    [
        ("bert", {"source": "no/such-model"}, "no/such-model"),
        ("bert", {"max_length": 600}, "512"),
        ("bert", {"device": "abacus"}, "abacus"),
        ("glove", {"file": "no-such-file"}, "no-such-file"),
        ("librosa", {"features": ({"mfcc": {"n_mfcc": "many"}},)}, "mfcc|arguments"),
        ("resnet50", {"weights": "no-such-file"}, "no-such-file"),
        ("image", {"source": "no/such-model"}, "no/such-model"),
        ("speech", {"source": "no/such-model"}, "no/such-model"),
    ],
)
def test_refuses_what_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, name: str, settings: dict[str, object], named: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # else it tries for most of a minute
    with pytest.raises(MalformedInput, match=named):
        _module(name).Extractor(_module(name).Settings(**settings))


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(MalformedInput, match=r"lacuna\[opensmile\]"):
        _module("opensmile").Extractor(_module("opensmile").Settings())


def test_a_broken_picture_is_named(bench: Bench) -> None:
    extractor, _ = _made(bench, "resnet50")
    with pytest.raises(MalformedInput, match=r"broken\.jpg"):
        extractor(bench.clip("broken.jpg"))


def test_tokens_are_what_mmsa_reads(bench: Bench) -> None:
    extractor, clip = _made(bench, "tokens")
    assert extractor.columns == TOKEN_COLUMNS
    rows = extractor(clip).values
    assert len(rows) == 8 and rows[0, 0] == 2 and rows[-1, 0] == 3  # [CLS] … [SEP], also where the text was cut
    assert (rows[:, 1] == 1).all() and (rows[:, 2] == 0).all()
    assert extractor(bench.clip(text="zebra good")).values[1, 0] == 1  # [UNK] keeps its place


@pytest.mark.parametrize("family", ["bert", "roberta", "xlnet"])
def test_hidden_states_equal_the_bare_encoder(bench: Bench, family: str) -> None:
    transformers = pretrained.import_transformers()
    source = str(bench.models[family])
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    model = transformers.AutoModel.from_pretrained(source).eval()
    with torch.no_grad():
        expected = model(**tokenizer(SENTENCE, return_tensors="pt", return_token_type_ids=True)).last_hidden_state[0]
    module = _module("bert")
    extractor = module.Extractor(module.Settings(source=source))
    np.testing.assert_allclose(extractor(bench.clip()).values, expected, atol=1e-6)
    # Padded batches, as on a GPU, tell the same.
    tokens = _module("tokens").Extractor(_module("tokens").Settings(source=source))
    rows = [tokens(bench.clip(text=t)).values for t in ("good", SENTENCE)]
    np.testing.assert_allclose(extractor.states(rows)[1], expected, atol=1e-6)
    np.testing.assert_allclose(extractor.states(rows)[0], extractor.states(rows[:1])[0], atol=1e-6)


@pytest.mark.parametrize(("family", "special"), [("bert", [0, -1]), ("roberta", [0, -1]), ("xlnet", [-2, -1])])
def test_special_tokens_are_where_the_tokenizer_puts_them(bench: Bench, family: str, special: list[int]) -> None:
    source = str(bench.models[family])
    tokenizer = pretrained.import_transformers().AutoTokenizer.from_pretrained(source)
    expected = np.array(tokenizer(SENTENCE, return_special_tokens_mask=True)["special_tokens_mask"], bool)
    assert expected[special].all() and expected.sum() == 2
    for name in ("tokens", "bert"):
        module = _module(name)
        found = specials(module.Extractor(module.Settings(source=source))(bench.clip()))
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_other_weights_are_another_fingerprint(bench: Bench, tmp_path: Path) -> None:
    _bert(tmp_path / "other")
    module = _module("bert")
    prints = {
        module.Extractor(module.Settings(source=str(folder))).versions()["source"]
        for folder in (bench.models["bert"], bench.models["bert"], tmp_path / "other")
    }
    assert len(prints) == 2


def test_vectors_are_the_files(bench: Bench) -> None:
    extractor, _ = _made(bench, "glove")
    sequence = extractor(bench.clip(text="Movie, zebra good"))
    assert sequence.seen.tolist() == [True, False, False, True]  # movie , zebra good
    np.testing.assert_array_equal(sequence.values[0], np.float32([1.5, -1, 0.25]))
    assert not sequence.values[2].any()


def test_librosa_values_equal_librosas_own(bench: Bench) -> None:
    samples = decode.audio(bench.folder / "voice.wav", 22050)
    extractor, clip = _made(bench, "librosa-sims33")
    expected = np.concatenate(
        [
            librosa.feature.zero_crossing_rate(samples),
            librosa.feature.mfcc(y=samples, sr=22050, n_mfcc=20, htk=True),
            librosa.feature.chroma_cqt(y=samples, sr=22050),
        ]
    )
    sequence = extractor(clip)
    np.testing.assert_array_equal(sequence.values, expected.T.astype(np.float32))
    assert sequence.columns[0] == "zero_crossing_rate" and sequence.columns[-1] == "chroma_cqt_11"
    np.testing.assert_allclose(np.diff(sequence.times), 512 / 22050)


@pytest.mark.parametrize(("level", "width"), [("lld", 25), ("functionals", 88)])
def test_opensmile_values_equal_its_own_reading_of_the_file(bench: Bench, level: str, width: int) -> None:
    library = pytest.importorskip("opensmile", reason="SKIPPED FOR WANT OF OPENSMILE: pip install 'lacuna[opensmile]'")
    module = _module("opensmile")
    found = module.Extractor(module.Settings(level=level, rate=22050))(bench.clip("voice.wav"))
    smile = library.Smile(library.FeatureSet.eGeMAPSv02, library.FeatureLevel[module.LEVELS[level]])
    table = smile.process_file(bench.folder / "voice.wav")
    assert found.columns == tuple(table.columns) and len(found.columns) == width
    np.testing.assert_allclose(found.values, np.nan_to_num(table.to_numpy(np.float32)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.times, table.index.get_level_values("start").total_seconds())


def _speechlike(rate: int, seconds: float) -> np.ndarray:
    """Glides, noise and pauses, loud and soft, none of it digital silence."""
    times, rng = np.arange(round(rate * seconds)) / rate, np.random.default_rng(0)
    voice = 0.3 * np.sin(2 * np.pi * 180 * times + 30 * np.sin(2 * times)) * (np.sin(3 * times) > -0.5)
    low = 0.2 * np.sin(2 * np.pi * 50 * times) * (np.sin(times) > 0.5)
    noise = (0.002 + 0.05 * (np.sin(times) < -0.3)) * rng.normal(size=len(times))
    return ((voice + low + noise) * (1e-3 + np.abs(np.sin(times / 7)))).astype(np.float32)


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({}, 22050),
        ({"recipe": "fet_default"}, 22050),
        ({"recipe": "fet_default", "hop_length": 160}, 16000),
        ({"features": ("rms", "spectral_bandwidth", "spectral_flatness", {"melspectrogram": {"n_mels": 20}})}, 8000),
        ({"features": ({"mfcc": {"n_mfcc": 13, "lifter": 22}}, {"chroma_cqt": {"norm": 2}})}, 22050),
    ],
    ids=["sims33", "fet_default", "another hop", "list", "arguments"],
)
def test_long_sound_in_stretches_has_librosas_values_on_the_whole(settings: dict[str, object], rate: int) -> None:
    from lacuna.extractors import _rows, _stretches
    from lacuna.extractors import librosa as extractor

    made = extractor.Extractor(extractor.Settings(**settings, rate=rate))
    samples, sound = _speechlike(rate, 47.3), _rows.Rows()
    sound.extend(samples)
    assert _stretches.are_local(made._features)
    whole, pieces = made.of_samples(samples, rate), list(made._in_stretches(sound, rate))
    assert len(pieces) == 3
    np.testing.assert_array_equal(np.concatenate([p.times for p in pieces]), whole.times)
    found = np.concatenate([p.values for p in pieces])
    for column, wanted, got in zip(whole.columns, whole.values.T, found.T):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=5e-6 * (1 + np.abs(wanted).max()), err_msg=column)


def test_what_is_not_known_to_be_local_goes_whole(bench: Bench) -> None:
    from lacuna.extractors import librosa as extractor

    tone = np.sin(2 * np.pi * 220 * np.arange(8000 * 25) / 8000).astype(np.float32)
    _sound(bench.folder / "long.wav", 0.5 * tone, 8000)
    for feature, count in (("rms", 2), ("chroma_stft", 1), ({"rms": {"center": False}}, 1), ("f0", 1)):
        made = extractor.Extractor(extractor.Settings(features=(feature,), rate=8000, f0="yin"))
        pieces = list(made.pieces(bench.clip("long.wav")))
        assert len(pieces) == count, feature
        heard = decode.audio(bench.folder / "long.wav", 8000)
        wanted = made.of_samples(heard, 8000)
        np.testing.assert_allclose(np.concatenate([p.values for p in pieces]), wanted.values, rtol=1e-5)


def test_librosa_features_take_their_arguments(bench: Bench) -> None:
    module = _module("librosa")
    settings = module.Settings(features=({"rms": {"frame_length": 1024}}, {"mfcc": {"n_mfcc": 4}}), hop_length=256)
    samples = decode.audio(bench.folder / "voice.wav", 22050)
    values = module.Extractor(settings)(bench.clip("voice.wav")).values
    rms = librosa.feature.rms(y=samples, frame_length=1024, hop_length=256)[0]
    np.testing.assert_array_equal(values[:, 0], rms)
    mfcc = librosa.feature.mfcc(y=samples, sr=22050, n_mfcc=4, hop_length=256)
    np.testing.assert_array_equal(values[:, 1:], mfcc.T)


@pytest.mark.parametrize("way", ["librosa-sims33_f0", "librosa-yin"])
def test_f0_is_the_voices(bench: Bench, way: str) -> None:
    extractor, clip = _made(bench, way)
    f0 = extractor(clip).values[:, 0]
    assert abs(np.exp(np.median(f0[f0 > 0])) - 180) < 2
    assert not extractor(bench.clip("silence.wav")).values[:, 0].any()


def test_pictures_equal_torchvisions(bench: Bench) -> None:
    """timm's network, folded, on a picture prepared by us, against torchvision's own preset and network."""
    torchvision = pretrained.import_torchvision()
    module, shared = _module("resnet50"), _module("_resnet")
    bare = torchvision.models.resnet50(weights=None)
    bare.fc = torch.nn.Identity()
    bare.load_state_dict(shared.network("random", 0).state_dict())
    with Image.open(bench.folder / "picture.png") as picture:
        pixels = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()(picture.convert("RGB"))
    with torch.no_grad():
        expected = bare.eval()(pixels[None])[0].numpy()
    for precision, most in (("float32", 1e-4), ("bfloat16", 2e-2)):
        settings = module.Settings(weights="random", precision=precision)
        values = module.Extractor(settings)(bench.clip("picture.png")).values[0]
        assert np.linalg.norm(values - expected) <= most * np.linalg.norm(expected), precision


def test_regions_average_to_the_global_vector(bench: Bench) -> None:
    module = _module("resnet50")
    whole, regions = (
        module.Extractor(module.Settings(weights="random", output=output))(bench.clip("picture.png")).values
        for output in ("global", "regions")
    )
    assert regions.shape == (49, 2048)
    np.testing.assert_allclose(regions.mean(0), whole[0], rtol=1e-3, atol=1e-3)


def test_films_give_frames_at_fps_and_no_face_is_unseen(bench: Bench) -> None:
    extractor, clip = _made(bench, "resnet50-film")
    np.testing.assert_allclose(extractor(clip).times, [0, 0.5, 1.0, 1.5])
    faces, clip = _made(bench, "resnet50-face")
    sequence = faces(clip)
    assert len(sequence) == 2 and not sequence.seen.any() and not sequence.values.any()


def test_random_weights_do_not_disturb_the_global_generator() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    _module("_resnet").network("random", 1)
    assert torch.rand(1) == expected


def test_weights_of_a_file(bench: Bench, tmp_path: Path) -> None:
    shared, module = _module("_resnet"), _module("resnet50")
    torch.save(shared.network("random", 5).state_dict(), tmp_path / "weights.pth")
    from_file = module.Extractor(module.Settings(weights=str(tmp_path / "weights.pth"), size=64))
    seeded = module.Extractor(module.Settings(weights="random", seed=5, size=64))
    clip = bench.clip("picture.png")
    np.testing.assert_array_equal(from_file(clip).values, seeded(clip).values)
    assert len(from_file.versions()["weights"]) == 64
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "foreign.pth")
    with pytest.raises(MalformedInput, match=r"foreign\.pth"):
        module.Extractor(module.Settings(weights=str(tmp_path / "foreign.pth")))


def test_a_complex_tempogram_is_kept_by_its_magnitude():
    from lacuna.extractors import librosa as extractor

    samples = np.random.default_rng(0).normal(size=22050).astype(np.float32)
    found = extractor.Extractor(extractor.Settings(features=("fourier_tempogram",))).of_samples(samples, 22050)
    expected = np.abs(librosa.feature.fourier_tempogram(y=samples, sr=22050)).T
    assert np.array_equal(found.values, expected.astype(np.float32)) and found.values.any()
