"""What is written is known when it is read: a damaged file is named in one line, or made anew, and never believed."""

import shutil

import pytest
from damage import KINDS, MADE_ANEW, flips

from lacuna.storage.files import beside, check_digest, digest_of_file, replacing
from lacuna.types import MalformedInput

FLIPS = 60
WITH_DIGEST = ("features", "variants", "clips.jsonl", "pickle")


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    return KINDS[request.param](tmp_path)


def judged(kind, whole):
    """What became of a damaged file: "same" where nothing that is read changed, "noticed", or what was believed."""
    try:
        told = kind.read()
    except MalformedInput as error:
        assert kind.path.name in str(error) or kind.path.parent.name in str(error), error
        assert "\n" not in str(error) and len(str(error)) < 1000
        return "noticed"
    return "noticed" if told == MADE_ANEW else "same" if told == whole else "BELIEVED"


def test_a_flipped_bit_is_never_believed(kind):
    content, whole = kind.path.read_bytes(), kind.read()
    verdicts = []
    for _, damaged in flips(content, FLIPS):
        kind.path.write_bytes(damaged)
        verdicts.append(judged(kind, whole))
    assert "BELIEVED" not in verdicts and verdicts.count("noticed") > 20
    kind.path.write_bytes(content)
    assert kind.read() == whole  # and the file itself is as good as before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_half_a_file_is_never_believed(kind, share):
    content, whole = kind.path.read_bytes(), kind.read()
    kind.path.write_bytes(content[: int(len(content) * share)])
    assert judged(kind, whole) in ("noticed", "same")


def test_another_kind_of_file_in_its_place_is_named(kind, tmp_path):
    whole = kind.read()
    beside(kind.path).unlink(missing_ok=True)
    for content in (b"", b"\0" * 5000, b"no such file\n", b"[]", b"{}", b"null\n", b'{"a": NaN}', b"[" * 100_000):
        kind.path.write_bytes(content)
        told = judged(kind, whole) if content or kind.path.name != "clips.jsonl" else "noticed"
        assert told == "noticed", content[:20]


@pytest.mark.parametrize("name", WITH_DIGEST)
def test_a_damaged_digest_is_told_and_a_missing_one_passes(tmp_path, name):
    kind = KINDS[name](tmp_path)
    whole = kind.read()
    beside(kind.path).write_text("0" * 64 + "\n")
    with pytest.raises(MalformedInput, match=r"SHA-256 0+… as .*\.sha256.*delete it"):
        kind.read()
    beside(kind.path).unlink()
    assert kind.read() == whole


@pytest.mark.parametrize("name", WITH_DIGEST)
def test_a_digest_is_what_sha256sum_reads(tmp_path, name):
    path = KINDS[name](tmp_path).path
    assert beside(path).read_text() == f"{digest_of_file(path)}  {path.name}\n"


def test_a_checkpoint_with_weights_of_another_is_refused(tmp_path):
    for name in ("a", "b"):
        KINDS["model.json"](tmp_path / name)
    kind = KINDS["model.json"](tmp_path / "a")
    assert kind.read()
    weights = (tmp_path / "b/model/model.safetensors").read_bytes()
    (tmp_path / "a/model/model.safetensors").write_bytes(weights)
    assert kind.read()  # the same seed: the same weights
    shutil.copy(KINDS["training state"](tmp_path).path, tmp_path / "a/model/model.safetensors")
    with pytest.raises(MalformedInput, match=r"model\.(safetensors|json)"):
        kind.read()


def test_a_digest_never_stands_beside_another_file(tmp_path, monkeypatch):
    """A kill between the file and its digest leaves a whole file without one, and not a false alarm."""
    path = tmp_path / "a"
    for content in ("old", "new"):
        with replacing(path, digest=True) as temporary:
            temporary.write_text(content)
        check_digest(path, "")
    monkeypatch.setattr("lacuna.storage.files.os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt), replacing(path, digest=True) as temporary:
        temporary.write_text("newer")
    assert path.read_text() == "new" and not beside(path).exists()
    check_digest(path, "")
