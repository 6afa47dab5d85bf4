"""What the confirmation wrote is read whole, from the store, or refused with a sentence."""

import pytest
from planted_experiment import CLASSICAL, ENDS, EXPERIMENT, START, plant

from analysis.trajectories import read_confirmation, read_examples, read_one_step_errors, read_trajectories


def test_every_seed_variant_field_and_step_is_there(tmp_path):
    confirmation = read_confirmation(tmp_path, plant(tmp_path, seeds=(1, 2, 3), T=4, num_fields=5))
    table = read_trajectories(tmp_path, confirmation)
    assert len(table) == 3 * 5 * (4 * (len(ENDS) + 5) + 2 + len(CLASSICAL))
    assert set(table["seed"]) == {1, 2, 3}
    assert (table["level"] == 4 - table["step"]).all()
    ends = table[table["step"] == 3].groupby("variant")["psnr"].mean()
    assert ends["stop"] - ends["direct"] == pytest.approx(START - ENDS["direct"], abs=0.3)


def test_one_step_errors_and_examples(tmp_path):
    confirmation = read_confirmation(tmp_path, plant(tmp_path, T=4))
    errors = read_one_step_errors(tmp_path, confirmation)
    assert len(errors) == 2 * 5 * 3  # seeds, degraders, levels 1 … T - 1
    assert errors.groupby("degrader")["error"].mean().idxmin() == "anchored"
    examples = read_examples(tmp_path, confirmation)
    assert examples["truth"].shape == examples["direct"].shape == (3, 48, 48)
    assert examples["direct/steps"].shape == (4, 3, 48, 48)


def test_an_experiment_that_was_not_confirmed_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"needs a confirmed experiment.*confirm\.json"):
        read_confirmation(tmp_path, EXPERIMENT)


def test_a_damaged_table_is_refused(tmp_path):
    confirmation = read_confirmation(tmp_path, plant(tmp_path))
    path = tmp_path / "stages" / confirmation["iterative"]["101"] / "evaluation.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"evaluation\.parquet must have"):
        read_trajectories(tmp_path, confirmation)
