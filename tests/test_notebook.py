"""The notebooks are stored without outputs and run from their own folder on a report's tables alone."""

from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from planted_experiment import plant
from test_which_setting import SPACE, planted
from test_why import add_attribution

from analysis.attribution import WHOLE
from analysis.report import write_report

ANALYSIS = Path(__file__).resolve().parent.parent / "analysis"
NOTEBOOKS = sorted(ANALYSIS.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with nothing but a report's tables."""
    root = tmp_path_factory.mktemp("results")
    name = plant(root, T=3, num_fields=4)
    add_attribution(root, name, num_fields=4)
    page = write_report(root, name)
    alone = tmp_path_factory.mktemp("alone")
    (alone / "figures").mkdir()
    for name in ("gap.csv", "trajectories.parquet", "trials.parquet", "figures/attribution.csv"):
        (page.parent / name).rename(alone / name)
    return alone


def outputs_of(name, tables, tmp_path, monkeypatch):
    """What its cells show, run from the notebooks' own folder."""
    monkeypatch.setenv("REPORT", str(tables))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(ANALYSIS / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ANALYSIS)}}).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def num_pictures(outputs):
    return sum("image/png" in output.get("data", {}) for output in outputs)


def tables_shown(outputs):
    return [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]


@pytest.mark.slow
def test_where_iteration_trails_runs_on_the_tables(tables, tmp_path, monkeypatch):
    outputs = outputs_of("where_iteration_trails", tables, tmp_path, monkeypatch)
    assert num_pictures(outputs) == 3
    assert any("the source's loop" in output.get("text", "") for output in outputs)
    gaps, shares = tables_shown(outputs)
    assert "direct" in gaps
    known = pd.read_csv(tables / "figures" / "attribution.csv")
    known = known[(known["level"] == WHOLE) & (known["part"] == "error")].set_index("module")["share"]
    assert set(known.index) == {"E", "R", "G"} and all(f">{100 * share:.0f} [" in shares for share in known)


@pytest.mark.slow
def test_where_iteration_trails_says_where_a_report_has_no_attribution(tables, tmp_path, monkeypatch):
    for name in ("gap.csv", "trajectories.parquet"):
        (tmp_path / name).symlink_to(tables / name)
    outputs = outputs_of("where_iteration_trails", tmp_path, tmp_path, monkeypatch)
    assert num_pictures(outputs) == 2
    assert any("This report has no attribution" in output.get("text", "") for output in outputs)


@pytest.mark.slow
def test_baselines_runs_on_the_tables(tables, tmp_path, monkeypatch):
    outputs = outputs_of("baselines", tables, tmp_path, monkeypatch)
    assert num_pictures(outputs) == 3
    means, apart = tables_shown(outputs)
    assert "NAFNet" in means and "control: rolling ball" in means and "control: rolling ball" not in apart
    rows = pd.read_parquet(tables / "trajectories.parquet")
    of_unet = rows[(rows["variant"] == "unet") & (rows["step"] == 0)]["psnr"].mean()
    assert f"{of_unet:.3f}" in means


@pytest.mark.slow
@pytest.mark.parametrize("num", [5, 60])
def test_degrader_sweep_runs_on_the_table_of_trials(num, tmp_path, monkeypatch):
    space = SPACE._replace(metric="val/psnr_direct")
    planted(num=num, space=space).to_parquet(tmp_path / "trials.parquet")
    outputs = outputs_of("degrader_sweep", tmp_path, tmp_path, monkeypatch)
    said = " ".join(output.get("text", "") for output in outputs)
    assert f"{num} complete trials by val/psnr_direct" in said
    assert ("PED-ANOVA: lambda_cyc" in said) == (num == 60) and ("20 are needed" in said) == (num == 5)
    assert num_pictures(outputs) == (2 if num == 60 else 1)
    assert any("params.lambda_cyc" in shown for shown in tables_shown(outputs))
