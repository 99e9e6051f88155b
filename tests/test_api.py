"""What `import lacuna` offers: quick to import, typed, and the same as the parts it stands for."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.metrics import accuracy_score, mean_absolute_error
from small_checkpoint import write_checkpoint

import lacuna
from lacuna.types import MalformedInput

HEAVY = ("torch", "numpy", "transformers", "pandas", "pydantic")


def test_a_plain_import_is_light_and_functions_are_no_rooms() -> None:
    code = f"import lacuna, sys; before = [m for m in {HEAVY} if m in sys.modules];"
    code += "import lacuna.mask.mask, lacuna.extract.run;"
    code += "print(before, all(callable(getattr(lacuna, name)) for name in lacuna.__all__))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[] True"


@pytest.mark.parametrize(
    ("given", "then"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_threads_wait_for_a_short_while_unless_told_otherwise(given, then):
    code = "import lacuna, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    env = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")} | given
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [then, "False"]  # in time: torch reads it when it comes


@pytest.mark.parametrize("name", lacuna.__all__)
def test_every_function_is_typed_and_told(name: str) -> None:
    function = getattr(lacuna, name)
    signature = inspect.signature(function)
    assert function.__doc__ and signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
    assert (Path(lacuna.__file__).parent / "py.typed").is_file()


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(np.arange(32000) * 0.1), 16000)
    return tmp_path / "tone.wav"


def test_extract(tone: Path) -> None:
    whole = lacuna.extract(tone, "librosa", features=["rms"], rate=16000)
    part = lacuna.extract(tone, "librosa", features=["rms"], rate=16000, span=(1.0, 2.0))
    assert whole.columns == ("rms",) and len(whole) == 1 + 32000 // 512 and len(part) == 1 + 16000 // 512
    np.testing.assert_allclose(whole.values[10:-10], 0.3 / np.sqrt(2), rtol=0.02)
    words = lacuna.extract("", "tokens", text="what a day")
    assert words.values[0, 0] == 101 and words.values[-1, 0] == 102 and len(words) == 5  # BERT's [CLS] and [SEP]
    with pytest.raises(MalformedInput, match=r"extractors.librosa.raet: expected one of recipe, .*rate"):
        lacuna.extract(tone, "librosa", raet=3)


@pytest.mark.parametrize("pattern", ["frames", "span", "modality", "noise"])
def test_mask(tone: Path, pattern: str) -> None:
    sequence = lacuna.extract(tone, "librosa", features=["rms"], rate=16000)
    assert lacuna.mask(sequence, 0.0, pattern).seen.all()
    lost = lacuna.mask(sequence, 1.0, pattern)
    assert lost.seen.all() == (pattern == "noise") and not np.array_equal(lost.values, sequence.values)
    half = [lacuna.mask(sequence, 0.5, pattern, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(half[0].values, half[1].values)
    with pytest.raises(MalformedInput, match="missing rate"):
        lacuna.mask(sequence, 1.5, pattern)


def test_a_named_subset_of_modalities(tone: Path) -> None:
    sequence = lacuna.extract(tone, "librosa", features=["rms"], rate=16000)
    assert lacuna.mask(sequence, "text+audio", "modality", modality="audio").seen.all()
    assert not lacuna.mask(sequence, "text", "modality", modality="audio").seen.any()


def test_metrics_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    told, known = rng.uniform(-3, 3, 50), rng.uniform(-3, 3, 50)
    assert lacuna.metrics(told, known)["mae"] == pytest.approx(mean_absolute_error(known, told))
    chances, classes = rng.dirichlet(np.ones(3), 50), rng.integers(0, 3, 50)
    expected = accuracy_score(classes, chances.argmax(1))
    assert lacuna.metrics(chances, classes)["accuracy"] == pytest.approx(expected)


def test_load_and_predict(tone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACUNA_CACHE", str(tmp_path / "cache"))
    checkpoint = write_checkpoint(tmp_path / "model")
    assert lacuna.predict(tone, checkpoint, text="good") == lacuna.load(checkpoint)(tone, text="good")
