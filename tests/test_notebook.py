"""The notebooks are stored without outputs and run from their own folder on a report's tables alone."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from planted_experiment import plant

from analysis.report import write_report

ANALYSIS = Path(__file__).resolve().parent.parent / "analysis"
NOTEBOOKS = sorted(ANALYSIS.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")


@pytest.mark.slow
def test_where_iteration_trails_runs_on_the_tables(tmp_path, monkeypatch):
    page = write_report(tmp_path, plant(tmp_path, T=3, num_fields=4))
    alone = tmp_path / "alone"  # nothing but the tables
    alone.mkdir()
    for name in ("gap.csv", "trajectories.parquet"):
        (page.parent / name).rename(alone / name)
    monkeypatch.setenv("REPORT", str(alone))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(ANALYSIS / "where_iteration_trails.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ANALYSIS)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert any("the source's loop" in output.get("text", "") for output in outputs)
    assert any("direct" in output.get("data", {}).get("text/html", "") for output in outputs)
