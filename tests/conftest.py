"""First of all, each test process has a temporary folder of its own, and the examples as plug-ins.

It also sees librosa compiled: two processes that compile at once spoil what is kept on disk.
"""

import importlib
import os
import shutil
import tempfile

import numpy as np
import pytest
from small_project import build

from lacuna.extractors.librosa import compiling


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """What tests, and processes that they start, leave in the temporary folder goes with them."""
    folder = tempfile.mkdtemp(prefix="t")  # a short name: Ray puts sockets there, whose paths may not be long
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    importlib.import_module("examples")  # adds them to the rooms, before tests are collected


def compile_librosa() -> None:
    """What of librosa Numba compiles when it is first called."""
    import librosa

    tone = np.sin(2 * np.pi * 220 / 22050 * np.arange(22050)).astype(np.float32)
    with compiling():
        librosa.feature.chroma_cqt(y=tone)
        librosa.feature.zero_crossing_rate(y=tone)
        librosa.pyin(tone, fmin=65, fmax=1000)
        librosa.yin(tone, fmin=65, fmax=1000)
        librosa.onset.onset_detect(y=tone)
        librosa.phase_vocoder(librosa.stft(tone), rate=1.5)


@pytest.fixture(scope="session", autouse=True)
def librosa_is_compiled():
    compile_librosa()


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A folder in which every stage has run once, with its cache; not to be changed."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LACUNA_CACHE", str(folder / ".cache" / "lacuna"))
        build(folder)
    return folder
