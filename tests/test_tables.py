"""`table` and `compare` on a planted experiment."""

import json

import pandas as pd
import pytest
from planted_experiment import ENDS, EXPERIMENT, plant

from analysis.report import write_report
from studies.__main__ import main


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    plant(root, seeds=(1, 2, 3), num_fields=8)
    return root


def ask(root, *words):
    return main([*words, "--storage", str(root)])


@pytest.mark.parametrize(("name", "num"), [("trials", None), ("gap", len(ENDS) * 6 * 2 * 3), ("trajectories", None)])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_is_written_in_both_forms_with_the_same_rows(planted, tmp_path, capsys, name, num, kind):
    path = tmp_path / "deep" / f"x.{kind}"
    assert ask(planted, "table", name, "--format", kind, "--out", str(path)) == 0
    rows = pd.read_csv(path) if kind == "csv" else pd.read_parquet(path)
    assert len(rows) == (num or len(rows)) > 0
    assert f"{len(rows)} rows  {path}" in capsys.readouterr().out


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    root = tmp_path_factory.mktemp("reported")
    return root, write_report(root, plant(root, seeds=(1, 2, 3), num_fields=4)).parent


def test_every_table_of_the_report_has_its_name_in_both_forms(reported, tmp_path):
    root, folder = reported
    beside, behind = ({path.stem: path for path in folder.glob(f"{where}*.csv")} for where in ("", "figures/"))
    assert {"verdicts", "blur", "place", "promised", "importance"} <= set(beside) and "plane" in behind
    anew = {"gap", "measures"}
    for name, path in {name: path for name, path in (behind | beside).items() if name not in anew}.items():
        out = tmp_path / name
        assert ask(root, "table", name, "--out", str(out)) == 0
        assert out.read_text() == path.read_text(), name
        assert ask(root, "table", name, "--format", "parquet", "--out", str(out)) == 0
        pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_csv(path), check_dtype=False)


def test_a_table_that_the_report_lacks_is_refused_by_naming_the_nearest_of_all(reported, planted, capsys):
    root, _ = reported
    assert ask(root, "table", "verdict") == 2
    error = capsys.readouterr().err
    assert "gap" in error and "the nearest is `verdicts`" in error and error.count("\n") == 1
    assert ask(planted, "table", "verdicts") == 2
    assert "`python -m studies report` writes more, but got 'verdicts'" in capsys.readouterr().err


def test_measures_are_of_the_loops_from_the_top_and_of_nothing_that_begins_lower(tmp_path):
    lower = tmp_path / "results"
    lower.mkdir()
    plant(lower, seeds=(1, 2, 3), num_fields=8, variants={"direct": ENDS["direct"]}, lower={"direct": {3: -3, 1: 2.0}})
    out = tmp_path / "measures.csv"
    assert ask(lower, "table", "measures", "--out", str(out)) == 0
    methods = set(pd.read_csv(out)["method"])
    assert {"direct", "unet", "input"} <= methods and not [name for name in methods if "_from_" in name]
    assert ask(lower, "table", "trajectories", "--out", str(out)) == 0
    assert "direct_from_3" in set(pd.read_csv(out)["variant"]), "they are there to be left out"


def test_a_table_can_be_printed_and_has_a_name_of_its_own_else(planted, tmp_path, capsys, monkeypatch):
    assert ask(planted, "table", "--out", "-") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("study,stage,number,state")
    monkeypatch.chdir(tmp_path)
    assert ask(planted, "table") == 0
    assert (tmp_path / f"{EXPERIMENT}-trials.csv").read_text() == printed


def test_mistakes_are_one_sentence(planted, tmp_path, capsys):
    for words, said in (
        (("table", "gaps"), "the nearest is `gap`"),
        (("table", "--format", "parquet", "--out", "-"), "Parquet is not for a terminal"),
        (("table", "--experiment", "planted-quickstar"), f"the nearest is `{EXPERIMENT}`"),
        (("compare", EXPERIMENT, "planted"), f"the nearest is `{EXPERIMENT}`"),
        (("compare", EXPERIMENT, "0" * 32), "No trial in"),
    ):
        assert ask(planted, *words) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert ask(tmp_path, "table") == 2 and "holds no experiment with trials" in capsys.readouterr().err


def test_two_experiments_are_compared_by_their_choices_and_every_way_to_iterate(planted, capsys):
    other = planted / "another"
    other.mkdir()
    confirmation = json.loads((planted / EXPERIMENT / "confirm.json").read_text())
    confirmation["chosen"]["degrader"]["params"]["lambda_cyc"] = 33.0
    (other / "confirm.json").write_text(json.dumps(confirmation))
    assert ask(planted, "compare", EXPERIMENT, "another") == 0
    text = capsys.readouterr().out
    assert "degrader/lambda_cyc  10" in text and "33" in text
    assert text.count("+0.00 [+0.00, +0.00]  +0.00 [+0.00, +0.00]") == len(ENDS)
