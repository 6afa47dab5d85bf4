"""The level of held-out frames is named as often as the estimator says, at any gain, and strangers are known."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from dehazing.data.simulator import NumFields, SimulatedConfig, simulate
from dehazing.estimation import OCTAVES, _fitted, fit, statistics

FULL = {"num_fields": NumFields(16, 1, 8), "field_px": 64, "depth_um": 3.0, "dz_um": 0.5, "pad_px": 32}


@pytest.fixture(scope="module")
def series():
    return simulate(SimulatedConfig(pinholes_au=(1.0, 4.0, 20.0), **FULL), progress=False)


def frames(series, split):
    return [field.frames for field in series.fields if field.split == split]


def share_right(estimate, held_out):
    """Over fields (T + 1, Y, X)."""
    return np.mean([estimate([frame]).level == level for field in held_out for level, frame in enumerate(field)])


def test_the_level_of_held_out_frames_is_named(series):
    estimate = fit(frames(series, "train"))
    assert estimate.side_px == 64
    right = share_right(estimate, frames(series, "test"))
    assert right >= 0.85
    assert abs(right - estimate.share_right) < 0.15, "as often as it says of itself"


def test_without_intensities_gain_and_offset_change_nothing(series):
    estimate = fit(frames(series, "train"), with_intensities=False)
    assert share_right(estimate, frames(series, "test")) >= 0.8
    for field in frames(series, "test")[:3]:
        one, other = estimate([field[1]]), estimate([0.01 * field[1] + 7])
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


def test_it_is_about_as_sure_as_it_is_right(series):
    estimate = fit(frames(series, "train"))
    sure = [max(estimate([frame]).probabilities) for field in frames(series, "test") for frame in field]
    assert np.mean(sure) == pytest.approx(share_right(estimate, frames(series, "test")), abs=0.1)


def test_several_planes_vote_and_their_shares_add_up(series):
    estimate, held_out = fit(frames(series, "train")), frames(series, "test")
    brightest = max(field[1].std() for field in held_out)
    held_out = [field for field in held_out if field[1].std() > brightest / 2]
    votes = [estimate([field[1]]).probabilities for field in held_out]
    together = estimate([field[1] for field in held_out])
    assert len(votes) > 2 and together.level == 1 and sum(together.probabilities) == pytest.approx(1)
    np.testing.assert_allclose(together.probabilities, np.mean(votes, axis=0))


def test_a_plane_of_background_does_not_outvote_the_object(series):
    estimate, field = fit(frames(series, "train")), frames(series, "test")[0]
    noise = np.random.default_rng(0).normal(field[2].min(), 0.02 * field[2].std(), (64, 512))
    alone = estimate([field[2]])
    assert estimate([field[2], noise]) == alone


def test_what_is_like_none_of_the_levels_is_known(series):
    estimate = fit(frames(series, "train"))
    assert all(estimate([frame]).is_like_training for field in frames(series, "test") for frame in field)
    y, x = np.mgrid[:64, :64]
    assert not estimate([100 + 50 * np.sin(x / 2) * np.sin(y / 3)]).is_like_training
    assert not estimate([1e4 * frames(series, "test")[0][2]]).is_like_training


def test_it_is_a_linear_discriminant_of_its_statistics(series):
    """scikit-learn's, with the same share of shrinkage, which is towards the diagonal there, too."""
    told = np.array([[statistics(frame, True) for frame in field] for field in frames(series, "train")])
    seen = np.array([[statistics(frame, True) for frame in field] for field in frames(series, "test")])
    num, levels, width = told.shape
    theirs = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=width / (width + num * levels), priors=np.full(levels, 1 / levels)
    )
    theirs.fit(told.reshape(-1, width), np.tile(np.arange(levels), num))
    means, _ = _fitted(told)
    np.testing.assert_allclose(means, theirs.means_, atol=1e-9)
    wanted = theirs.predict(seen.reshape(-1, width))
    ours = fit(frames(series, "train"))
    named = ours.distances(seen.reshape(-1, width)).argmin(1)
    np.testing.assert_array_equal(named, wanted)


def test_power_stands_in_the_octave_of_its_frequency():
    """A wave of 0.18 cycles per px lies between 1/8 and 1/4."""
    _, x = np.mgrid[:64, :64]
    shares = np.exp(statistics(np.sin(2 * np.pi * 0.18 * x), False)[: len(OCTAVES) - 1])
    assert shares.argmax() == 2 and shares[2] > 0.99


def test_one_field_is_cut_into_tiles_and_too_small_ones_are_refused(series):
    whole = np.concatenate(frames(series, "train")[:8], axis=2)
    estimate = fit([whole])
    assert estimate.side_px == 64 and 0 < estimate.share_right <= 1
    assert fit([whole[:, :, :128]]).side_px == 32, "two tiles of 64 px are too few"
    with pytest.raises(ValueError, match="at least 32 px wide"):
        fit([whole], largest_px=20)
    with pytest.raises(ValueError, match="at least 64 px wide"):
        estimate([whole[0, :, :40]])
