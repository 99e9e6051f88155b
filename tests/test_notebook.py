"""The notebook runs from its first cell to its plot, as someone who has just installed Lacuna would run it."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_draws(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="SKIPPED FOR WANT OF NBCLIENT: pip install 'lacuna[test]'")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "a notebook is committed without outputs"
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()  # raises where a cell does
    shown = [output["data"] for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert any("image/png" in data for data in shown)


def test_there_is_a_notebook() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["quickstart"]
