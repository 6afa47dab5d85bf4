"""What the report says of the pieces of a loop: what holds, and what falls short."""

import pandas as pd
import pytest
from planted_experiment import latent_space, plant

from analysis.facts import acceptance, groups
from analysis.trajectories import read_confirmation, read_one_step_errors, read_trajectories


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    plant(root, seeds=(1, 2, 3), num_fields=8)
    return root


def test_a_group_that_nothing_is_lost_without_is_named():
    assert groups(pd.DataFrame(latent_space(2, lost=(9.0, 0.04, -0.5)))).startswith(
        "Hardly used, below 0.1 dB at every level: z2, z3. Most"
    )
    assert groups(pd.DataFrame(latent_space(2))[:0]) == ""


def test_acceptance_knows_what_holds_and_what_falls_short(planted):
    confirmation = read_confirmation(planted, "planted-quickstart")
    table, one_step = read_trajectories(planted, confirmation), read_one_step_errors(planted, confirmation)
    facts = acceptance(table, one_step)
    assert len(facts) == 8 and all(fact.holds for fact in facts)
    assert [fact.needed for fact in facts if "NAFNet" in fact.text] == ["≥ -0.5 dB"]
    table.loc[table["variant"] == "unet", "psnr_ri"] -= 3
    one_step.loc[one_step["degrader"] == "anchored", "error"] += 1
    short = [fact.text for fact in acceptance(table, one_step) if not fact.holds]
    assert short == ["The UNet gains over the input", "One step of G from the true z₀, mean over the steps"]


def test_a_blind_degrader_that_was_chosen_is_called_blind(planted):
    confirmation = read_confirmation(planted, "planted-quickstart")
    one_step = read_one_step_errors(planted, confirmation)
    assert {"blind", "degrader"} <= set(one_step["degrader"]), "another one was chosen, and blind is a control"
    names = read_trajectories(planted, confirmation)
    for missing in ("blind", "leave", "anchored"):
        (fact,) = acceptance(names, one_step[one_step["degrader"] != missing])[-1:]
        assert not fact.holds and f"no {missing}" in fact.value
    (fact,) = acceptance(names, one_step)[-1:]
    assert (
        fact.holds and fact.value.startswith("anchored 0.") and len(fact.value.split(",")[0]) == len("anchored 0.123")
    )
