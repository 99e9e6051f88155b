"""Files of strangers: none runs anything, none takes more than its size allows, and each is refused in one line."""

import json
import pickle
import pickletools
import resource
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
from damage import KINDS
from small_checkpoint import write_checkpoint

from lacuna.commands.info import describe
from lacuna.data.samples import read_clips
from lacuna.mask.variants import Variants
from lacuna.predict.run import Predictor
from lacuna.predict.trust import parse_use, trusted
from lacuna.storage import pickles
from lacuna.storage.features import FeatureFile
from lacuna.storage.files import beside
from lacuna.storage.pretrained import check_architecture
from lacuna.train.checkpoint import load, read_card
from lacuna.types import MalformedInput

SECONDS, MEGABYTES = 20, 300  # generous: an idle machine takes a hundredth of both
VALUE = {
    "array": np.arange(12, dtype=np.float32).reshape(3, 4),
    "columns": np.asfortranarray(np.ones((2, 3))),
    "objects": np.array(["q", None, 3], object),
    "words": np.array(["aa", "b"]),
    "scalar": np.float64(3),
    "text": ["x", "ä 漢"],
    "plain": (1, 2.5, None, True, 2**100, 1j),
    "bytes": [b"xx", b"", bytearray(b"yy")],
    "sets": [{1, 2}, frozenset(["a"])],
    "inner": {"a": {"b": []}},
}


# Pairs of pairs of pairs, 60 deep, each holding the one before twice: 2 ** 60 values in 360 bytes.
NESTED = b"K\x01\x94" + b"".join(b"h" + bytes([k]) + b"h" + bytes([k]) + b"\x86\x94" for k in range(60))


def huge(number):
    return b"\x8a\x05" + number.to_bytes(5, "little")


BOMBS = {
    "memo": b"Nr\xff\xff\xff\x1f.",
    "memo by text": b"Np4000000000\n.",
    "shared tuples": NESTED + b".",
    "tuples as a key": b"}" + NESTED + b"K\x01s.",
    "tuples in a set": b"\x8f(" + NESTED + b"\x90.",
    "copies": b")" + b"2\x86" * 60 + b".",
    "bytes of a size": b"cbuiltins\nbytes\n" + huge(10**10) + b"\x85R.",
    "bytearray of a size": b"cbuiltins\nbytearray\n" + huge(10**11) + b"\x85R.",
    "array of a shape": b"cnumpy\nndarray\n" + huge(10**11) + b"\x85cnumpy\ndtype\n\x8c\x02f8\x85R\x86R.",
    "wide strings": b"cnumpy\ndtype\n\x8c\x0cS99999999999\x85R.",
    "8-byte length": b"\x8e" + (2**40).to_bytes(8, "little") + b".",
    "text of a length": b"\x8d" + (2**40).to_bytes(8, "little") + b".",
    "bytearray of a length": b"\x96" + (2**40).to_bytes(8, "little") + b".",
    "frame of a length": b"\x95" + (2**40).to_bytes(8, "little") + b".",
    "number of a length": b"\x8b\xff\xff\xff\x7f.",
    "itself": b"]\x94h\x00a.",
    "a hundred thousand lists": b"]" * 100_000 + b"a" * 99_999 + b".",
    "a line without end": b"I" + b"1" * 1_000_000 + b"\n.",
    "digits": b"L" + b"9" * 100_000 + b"L\n.",
}
PROGRAMS = {
    "os.system": b"cos\nsystem\n\x8c\x02id\x85R.",
    "builtins.eval": b"cbuiltins\neval\n\x8c\x011\x85R.",
    "builtins.getattr": b"\x8c\x08builtins\x8c\x07getattr\x93.",
    "builtins.object": b"cbuiltins\nobject\n)\x81.",
    "an instance": b"(ios\nsystem\n.",
    "an object": b"(cbuiltins\nlist\no.",
    "a class's instance": b"cnumpy\nndarray\n)\x81.",
    "a persistent id": b"Pabc\n.",
    "an extension": b"\x82\x01.",
    "a function's defaults": b"c_codecs\nencode\n}\x8c\x0c__defaults__\x8c\x01xsb.",
    "a function's slots": b"c_codecs\nencode\nN}\x8c\x0c__defaults__)s\x86b.",
    "another codec": b"c_codecs\nencode\n\x8c\x01a\x8c\x0bunicode_esc\x86R.",
    "a dtype's state": b"cnumpy\ndtype\n\x8c\x02O8\x85R(K\x03\x8c\x01|\x8c\x01a}NNtb.",
    "array of functions": b"cnumpy.core.multiarray\n_reconstruct\ncbuiltins\nlist\nK\x00\x85\x8c\x01b\x87R.",
}


def refused(path, seconds=SECONDS):
    """The one line in which the pickle at `path` is refused, in bounded time and memory; its value where it is not."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        value = pickles.load(path)
    except MalformedInput as error:
        assert path.name in str(error) and "\n" not in str(error) and len(str(error)) < 600
        value = error
    assert time.process_time() - start < seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024
    return value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_plain_values_is_read(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(VALUE, protocol))
    assert same(pickles.load(tmp_path / "a.pkl"), VALUE)


def same(a, b):
    if isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
    if isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in b)
    if isinstance(b, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_what_stands_twice_is_read_once(tmp_path):
    shared = np.ones(1000)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([shared, shared, {"x": shared}]))
    value = pickles.load(tmp_path / "a.pkl")
    assert value[0] is value[1] is value[2]["x"]


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_pickle_takes_little(tmp_path, name):
    (tmp_path / "bomb.pkl").write_bytes(b"\x80\x04" + BOMBS[name])
    value = refused(tmp_path / "bomb.pkl")
    assert isinstance(value, MalformedInput) or value is None


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_pickle_runs_anything(tmp_path, name):
    (tmp_path / "evil.pkl").write_bytes(b"\x80\x04" + PROGRAMS[name])
    assert isinstance(refused(tmp_path / "evil.pkl"), MalformedInput)
    assert pickles._encode("é") == b"\xe9" and pickles._encode.__defaults__ == ("latin1",)


def mutated(rng, content):
    """A pickle with some of its bytes changed, cut, doubled or taken from another's operations."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        place, kind = int(rng.integers(2, max(3, len(data)))), int(rng.integers(4))
        if place >= len(data):
            data += b"."
        if kind == 0:
            data[place] = int(rng.integers(256))
        elif kind == 1:
            data[place:place] = bytes(rng.integers(0, 256, int(rng.integers(1, 9)), dtype=np.uint8))
        elif kind == 2:
            del data[place : place + int(rng.integers(1, 9))]
        else:
            codes = [ord(op.code) for op in pickletools.opcodes]
            data[place] = codes[int(rng.integers(len(codes)))]
    return bytes(data)


def fuzzed(folder, count, seed):
    """How many mutated pickles were refused, of `count`; the others are plain values and arrays."""
    rng, refusals = np.random.default_rng(seed), 0
    seeds = [pickle.dumps(VALUE, protocol) for protocol in range(6)]
    seeds += [b"\x80\x04" + content for content in (*BOMBS.values(), *PROGRAMS.values()) if len(content) < 5000]
    for k in range(count):
        (folder / "a.pkl").write_bytes(mutated(rng, seeds[k % len(seeds)]))
        refusals += isinstance(refused(folder / "a.pkl"), MalformedInput)
    return refusals


def test_mutated_pickles_are_refused_or_plain(tmp_path):
    assert 100 < fuzzed(tmp_path, 300, 1) <= 300


def external_link(file):
    del file["values"]
    file["values"] = h5py.ExternalLink("secret.h5", "values")


def soft_link(file):
    del file["seen"]
    file["seen"] = h5py.SoftLink("/times")


def external_storage(file):
    shape = file["times"].shape
    del file["times"]
    file.create_dataset("times", shape, "f8", external=[("secret.bin", 0, 8 * shape[0])])


def virtual(file):
    layout = h5py.VirtualLayout(file["times"].shape, "f8")
    layout[:] = h5py.VirtualSource("secret.h5", "times", file["times"].shape)
    del file["times"]
    file.create_virtual_dataset("times", layout)


def petabyte(file):
    del file["seen"]
    file.create_dataset("seen", (10**15,), bool, chunks=(1 << 20,), compression="gzip")


def others_rows(file):
    offsets = file["offsets"][:]
    offsets[1] = 10**9
    file["offsets"][:] = offsets


def backwards(file):
    offsets = file["offsets"][:]
    offsets[[1, 2]] = offsets[[2, 1]]
    file["offsets"][:] = offsets


def a_group(file):
    del file["seen"]
    file.create_group("seen/deep/deeper/deepest")


def bad_json(file):
    file.attrs["settings"] = "[" * 5000


def no_text(file):
    file.attrs["columns"] = np.arange(3)


HARMS = [
    external_link,
    soft_link,
    external_storage,
    virtual,
    petabyte,
    others_rows,
    backwards,
    a_group,
    bad_json,
    no_text,
]


@pytest.mark.parametrize("harm", HARMS)
def test_features_that_point_elsewhere_or_lie_are_refused(tmp_path, harm):
    path = KINDS["features"](tmp_path).path
    beside(path).unlink()  # a stranger would give the right one along
    with h5py.File(path, "r+") as file:
        harm(file)
    for read in (lambda: list(FeatureFile(path).each(FeatureFile(path).ids)), lambda: list(describe(path))):
        with pytest.raises(MalformedInput, match=path.name) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("harm", [external_link, petabyte, backwards])
def test_variants_are_read_with_the_same_care(tmp_path, harm):
    path = KINDS["variants"](tmp_path).path
    beside(path).unlink()
    with h5py.File(path, "r+") as file:
        parts = {"values": "survives/audio", "seen": "survives/audio", "offsets": "offsets/audio"}

        class Renamed:
            def __getitem__(self, name):
                return file[parts[name]]

            def __setitem__(self, name, value):
                file[parts[name]] = value

            def __delitem__(self, name):
                del file[parts[name]]

            def create_dataset(self, name, *args, **kwargs):
                return file.create_dataset(parts[name], *args, **kwargs)

        harm(Renamed())
    with pytest.raises(MalformedInput, match=r"frames\.h5"):
        Variants(path)


def test_info_tells_of_each_kind(tmp_path):
    for name in ("features", "variants", "pickle"):
        assert len(list(describe(KINDS[name](tmp_path / name.split()[0]).path))) >= 3
    assert dict(describe(KINDS["model.json"](tmp_path).path.parent))["model"].startswith("lnln")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("hostile") / "model")


def changed(checkpoint, folder, *keys, value):
    """The checkpoint with one value of its card changed, by someone who leaves the digest out."""
    record = json.loads((checkpoint / "model.json").read_text())
    record.pop("digest")
    place = record
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(record))
    (folder / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes())
    return folder


SIZES = (
    ("spec", "widths", "audio"),
    ("spec", "lengths", "audio"),
    ("spec", "classes"),
    ("settings", "width"),
    ("settings", "hidden"),
    ("settings", "heads"),
)


@pytest.mark.parametrize("size", [10**5, 10**9, 10**18, -1, 0])
@pytest.mark.parametrize("keys", SIZES)
def test_sizes_are_checked_before_anything_is_allocated(checkpoint, tmp_path, keys, size):
    folder = changed(checkpoint, tmp_path / "x", *keys, value=size)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    if keys == ("spec", "classes") and size == 0:
        load(folder)  # as it is
    else:
        with pytest.raises(MalformedInput, match=r"model\.json|settings|lnln") as caught:
            load(folder)
        assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("spec",), []),
        (("spec", "widths"), {"audio": "wide"}),
        (("origins", "audio", "columns"), "all"),
        (("origins", "audio", "columns"), ["one"]),
        (("scaler", "mean", "audio"), [0.0]),
        (("scaler",), {"mean": 3}),
        (("label_range",), "wide"),
        (("model",), "../../lnln"),
        (("model",), "none"),
        (("settings", "unknown"), 3),
        (("seed",), "x"),
        (("extra",), 1),
    ],
)
def test_a_card_that_says_what_none_says_is_refused_in_one_line(checkpoint, tmp_path, keys, value):
    with pytest.raises(MalformedInput) as caught:
        load(changed(checkpoint, tmp_path / "x", *keys, value=value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("modality", "extractor", "settings", "name"),
    [
        ("vision", "face", {"backend": "openface", "openface": "/tmp/evil", "csv": None}, "face.openface"),
        ("vision", "face", {"backend": "openface", "openface": None, "csv": "secrets"}, "face.csv"),
        ("vision", "face", {"backend": "blendshapes", "task": "x.task"}, "face.task"),
        ("text", "bert", {"source": "evil/hub"}, "bert.source"),
        ("text", "bert", {"source": "folder"}, "bert.source"),
        ("text", "glove", {"file": "/etc/passwd"}, "glove.file"),
        ("image", "resnet50", {"weights": "x.pth"}, "resnet50.weights"),
        ("audio", "librosa", {"recipe": "../x"}, "librosa.recipe"),
        ("audio", "librosa", {"aligned": {"words": "ctc", "source": "evil/ctc"}}, "align.source"),
        ("audio", "librosa", {"aligned": {"words": "files", "source": "secrets"}}, "align.source"),
        ("audio", "librosa", {"aligned": {"tokenizer": "evil/words"}}, "align.tokenizer"),
    ],
)  # fmt: skip
def test_a_checkpoint_names_no_program_folder_or_weights(checkpoint, modality, extractor, settings, name):
    card = read_card(checkpoint)
    origin = replace(card.origins["audio"], extractor=extractor, modality=modality, settings=settings)
    card = replace(card, origins={modality: origin})
    asked = settings.get("aligned", settings)[name.split(".")[1]]
    with pytest.raises(MalformedInput, match=rf"^{name}: .*your own settings.*{asked}.*--use {name}=") as caught:
        trusted(card, {})
    assert "\n" not in str(caught.value)
    kept = trusted(card, {name: "mine"}).origins[modality].settings
    assert kept.get("aligned", kept)[name.split(".")[1]] == "mine"


def test_what_comes_with_lacuna_needs_no_leave(checkpoint):
    card = read_card(checkpoint)
    assert trusted(card, {}) == card  # the embedded encoder, a recipe by its name
    assert Predictor(checkpoint, "cpu").card == card


def test_a_text_encoder_of_a_stranger_needs_leave_too(checkpoint):
    card = read_card(checkpoint)
    card = replace(card, spec=replace(card.spec, tokens=True), settings=card.settings | {"encoder": "evil/hub"})
    with pytest.raises(MalformedInput, match=r"model.encoder: .*evil/hub.*--use model.encoder="):
        trusted(card, {})
    assert trusted(card, {"model.encoder": "embedded"}).settings["encoder"] == "embedded"


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "timm_wrapper"},
        {"model_type": "bert", "auto_map": {"AutoModel": "x--y.z"}},
        {"model_type": "bert", "attn_implementation": "evil/kernels"},
        {"model_type": "bert", "_attn_implementation": "evil/kernels"},
        {"model_type": "bert", "quantization_config": {}},
        3,
    ],
)
def test_an_encoders_config_fetches_nothing(config):
    with pytest.raises(MalformedInput, match="encoder: expected"):
        check_architecture({"source": "x", "config": config, "unknown": 0, "padding": 0})


@pytest.mark.parametrize("words", ["bert", "bert.source", "bert.source=", "=x", "source=x"])
def test_what_is_no_setting_cannot_be_used(words):
    with pytest.raises(MalformedInput, match="use: expected <name>=<value>"):
        parse_use([words])
    assert parse_use(["bert.source=a=b"]) == {"bert.source": "a=b"}


@pytest.mark.parametrize(
    "line",
    [
        '{"id": 1}',
        '{"id": "a", "dataset": "d", "split": "train", "path": 3}',
        '{"id": "a", "dataset": "d", "split": "other", "path": null}',
        *("[]", "null", "{", "\udcff"),
    ],
)
def test_a_line_that_is_no_clip_is_named(tmp_path, line):
    made = KINDS["clips.jsonl"](tmp_path).path
    beside(made).unlink()
    made.write_bytes(made.read_bytes() + line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(MalformedInput) as caught:
        read_clips(made)
    assert "\n" not in str(caught.value)
