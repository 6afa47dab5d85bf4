"""Blur: power that is missing in the upper half of the passband, detail that agrees, and what is said of both."""

import json

import numpy as np
import pandas as pd
import pytest
from planted_experiment import ENDS, evaluation, plant

from analysis.blur import blur_gaps, read_passband, upper_bands, upper_range, with_blur
from analysis.gap import COLUMNS, gaps
from analysis.trajectories import read_confirmation
from analysis.verdicts import blur_sentence, headlines, overall, verdicts
from dehazing.pipeline.store import Store


def table(power=(0.9, 0.8), frc_px=(2.5, 4.0), num_seeds=3, noise=0.001):
    """UNet and `direct`, one step; power in the upper half and FRC of each, a little different from field to field."""
    rng, rows = np.random.default_rng(0), []
    for seed in range(num_seeds):
        for field in "abcd":
            for k, name in enumerate(("unet", "direct")):
                row = {"seed": seed, "variant": name, "field": field, "step": 0, "level": 1, "psnr": 30.0 - k}
                row |= {f"power_{band}": 1.0 for band in (0, 1)}
                row |= {f"power_{band}": power[k] + rng.normal(0, noise) for band in (2, 3)}
                rows.append(row | {"frc_px": frc_px[k] + rng.normal(0, noise)})
    frame = pd.DataFrame(rows)
    return frame.assign(psnr=frame["psnr"] + rng.normal(0, noise, len(frame)), psnr_ri=frame["psnr"])


def said(trajectories):
    blur = with_blur(trajectories)
    found = verdicts(gaps(trajectories), trajectories, blur_gaps(blur), blur, blind=True)
    return found, headlines(found, "0.25–0.5")


def test_the_upper_half_is_that_of_the_passband_and_not_of_what_pixels_could_show():
    assert upper_bands(0.5) == [2, 3] and upper_range(0.5) == "0.25–0.5"
    assert upper_bands(0.305) == [1]  # NA 0.8 at 0.1 um: 0.153 to 0.305, where only 0.1875 has its middle
    assert upper_bands(0.4) == [2] and upper_bands(0.05) == [0]


@pytest.mark.parametrize(("na", "pixel_um", "expected"), [(1.4, 0.1, 0.5), (0.8, 0.1, 0.3048), (0.8, None, 0.5)])
def test_the_passband_is_that_of_the_emitted_light_within_what_the_pixels_show(tmp_path, na, pixel_um, expected):
    confirmation = read_confirmation(tmp_path, plant(tmp_path, T=1, num_fields=2))
    assert read_passband(tmp_path, confirmation) == 0.5  # nobody knows the series
    record = {"pixel_size_um": pixel_um, "simulated": {"optics": {"numerical_aperture": na, "emission_nm": 525.0}}}
    Store(tmp_path).publish("series/0123456789abcdef", {"series.json": json.dumps(record).encode()})
    assert read_passband(tmp_path, confirmation) == pytest.approx(expected, abs=1e-4)  # 2 NA / wavelength


def test_power_that_is_missing_counts_and_an_excess_does_not():
    blur = with_blur(table(power=(0.9, 3.0), noise=0)).groupby("variant")["power_kept"].mean()
    assert blur["unet"] == pytest.approx(0.9) and blur["direct"] == 1
    # one band with too much does not make up for the other one
    odd = table().assign(power_2=5.0, power_3=0.4)
    assert with_blur(odd)["power_kept"].to_numpy() == pytest.approx(0.7)


def test_frc_is_the_highest_frequency_that_agrees_and_0_where_none_does():
    odd = table(noise=0)
    odd.loc[odd["variant"] == "direct", "frc_px"] = np.inf
    blur = with_blur(odd).groupby("variant")["frc"].mean()
    assert blur.to_dict() == {"unet": pytest.approx(0.4), "direct": 0.0}


def test_gaps_are_positive_where_there_is_less_blur():
    found = blur_gaps(with_blur(table())).set_index("metric")
    assert tuple(found.reset_index()[list(COLUMNS)].columns) == COLUMNS
    assert found.loc["power_kept", "gap"] == pytest.approx(-0.1, abs=0.002)
    assert found.loc["frc", "gap"] == pytest.approx(0.25 - 0.4, abs=0.001)
    assert set(found["verdict"]) == {"trails"}
    near = blur_gaps(with_blur(table(power=(0.9, 0.91), frc_px=(2.5, 2.51)))).set_index("metric")
    assert set(near["verdict"]) == {"ties"}, "within 2 points of power and 0.01 cycles/px"


def test_both_questions_are_answered_with_their_intervals():
    found, (fidelity, power, detail) = said(table())
    assert fidelity.question == "fidelity" and fidelity.verdict == power.verdict == detail.verdict == "trails"
    assert (
        fidelity.text == "direct ends at 29.0 dB, 1.0 dB lower [1.0, 1.0] than the UNet, the baseline of highest PSNR."
    )
    assert (
        power.text.startswith("direct misses 20 % of the power at 0.25–0.5 cycles/px")
        and "10 points less" in power.text
    )
    assert "up to 0.250 cycles/px, the UNet up to 0.400: 0.150 lower [0.1" in detail.text
    assert "nothing here shows that iterating is sharper" in overall([fidelity, power, detail])
    assert found["ci_low"].le(found["gap"]).all() and found["gap"].le(found["ci_high"]).all()


def test_what_is_sharper_but_less_faithful_is_said_to_be_so():
    _, three = said(table(power=(0.6, 0.9), frc_px=(4.0, 3.0)))
    assert [one.verdict for one in three] == ["trails", "beats", "beats"]
    assert overall(three) == "So iterating is sharper than every baseline here."
    _, mixed = said(table(power=(0.6, 0.9), frc_px=(3.0, 4.0)))
    assert "more power is there than agrees" in overall(mixed)
    both = blur_sentence(mixed)
    assert both.startswith("And blur: direct misses 10 % of the power at") and "(beats); so some of the detail" in both


def test_a_series_without_the_truth_has_no_frc_and_one_without_spectra_no_verdict_on_blur():
    blur = with_blur(table().assign(frc_px=np.nan))
    assert "frc" not in blur and set(blur_gaps(blur)["metric"]) == {"power_kept"}
    bare = table().drop(columns=["frc_px", "power_2"])
    assert not len(blur_gaps(with_blur(bare)))
    _, only = said(bare)
    assert [one.question for one in only] == ["fidelity"] and overall(only) == "" == blur_sentence(only)


def test_a_loop_that_diverged_is_undecided():
    odd = table()
    odd.loc[(odd["variant"] == "direct") & (odd["field"] == "a"), ["power_2", "frc_px"]] = np.nan
    assert set(blur_gaps(with_blur(odd))["verdict"]) == {"undecided"}


def test_every_variant_step_and_baseline_has_its_blur():
    trajectories = pd.concat([evaluation(seed, 3, 4, ENDS).assign(seed=seed) for seed in (1, 2, 3)])
    found = blur_gaps(with_blur(trajectories))
    assert len(found) == len(ENDS) * 3 * 2 * 3  # steps, numbers, baselines
