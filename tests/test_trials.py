"""Trials become rows that parquet keeps, with what their stages published."""

import pandas as pd
from planted_experiment import plant

from analysis.trials import read_trials


def test_one_row_per_trial_with_params_and_metrics(tmp_path):
    table = read_trials(tmp_path, plant(tmp_path))
    assert list(table["study"]) == ["degrader", "unet", "unet", "unet"]
    unet = table[table["study"] == "unet"].set_index("number")
    assert unet.loc[1, "metrics.val/psnr"] == 31.9 and unet.loc[1, "params.width"] == "16"
    assert "metrics.config/width" not in table
    assert unet.loc[2, "state"] == "PRUNED" and unet.loc[2, "reason"] == "stopped early"
    assert unet["mlflow_run_id"].tolist() == ["run0", "run1", "run2"]


def test_what_a_record_lacks_comes_from_the_store(tmp_path):
    table = read_trials(tmp_path, plant(tmp_path))
    degrader = table[table["study"] == "degrader"].iloc[0]
    assert degrader["metrics.val/psnr_direct"] == 25.5
    assert degrader["seconds"] == 9.0 and degrader["device"] == "cpu"
    assert degrader["upstreams"] == '{"hvae": "hvae/1f"}'


def test_parquet_keeps_it_though_one_name_holds_numbers_and_words(tmp_path):
    table = read_trials(tmp_path, plant(tmp_path))
    assert set(table["params.width"]) == {"8", "16", "24", "wide"}
    table.to_parquet(tmp_path / "trials.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "trials.parquet"), table)


def test_an_experiment_without_trials_is_an_empty_table(tmp_path):
    table = read_trials(tmp_path, "nothing")
    assert len(table) == 0 and {"study", "number", "fingerprint"} <= set(table.columns)
