"""What a trained regressor explains, where it is known how much there is to be explained."""

import pytest
import torch

from dehazing.stages.regressor import Training, explained_by_level

CHANNELS = (1, 0, 0, 0)


def series(num, seed, middle):
    """Levels 0, 1, 2 of smooth random images; middle: (x_0, x_2, unknown) → x_1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(3, num, 1, 8, 8, generator=generator)
    x_0, x_2, unknown = (torch.nn.functional.interpolate(one, scale_factor=4, mode="bicubic") for one in coarse)
    return (torch.stack([x_0, middle(x_0, x_2, unknown), x_2], 1),)


def found(middle, num_steps=1, num_fields=12):
    training = Training(width=8, num_steps=num_steps, crop=32)
    return explained_by_level(series(num_fields, 0, middle), series(16, 1, middle), CHANNELS, training)


def test_a_series_that_is_eq_2_is_linear_in_the_fitted_alpha():
    shares = found(lambda x_0, x_2, unknown: 0.7 * x_0 + 0.3 * x_2)
    assert shares["haze_alpha"] == pytest.approx([0.3], abs=0.01)
    assert shares["alpha"] == pytest.approx([1.0], abs=1e-3)
    assert shares["gains of z_0 and z_T"] == pytest.approx([1.0], abs=1e-3)
    assert shares["gains of z_0"][0] == pytest.approx(0.49 / 0.58, abs=0.1)
    assert shares["trained on z_0 and z_T"][0] > 0.95, "it starts as the linear map"


def test_noise_on_what_is_seen_takes_from_what_can_be_explained_and_is_no_target():
    train, test = (series(40, seed, lambda x_0, x_2, unknown: x_0) for seed in (0, 1))

    def seen(z, seed):
        return tuple(group + torch.randn(group.shape, generator=torch.Generator().manual_seed(seed)) for group in z)

    training = Training(width=8, num_steps=1, crop=32)
    shares = explained_by_level(train, test, CHANNELS, training, seen(train, 2), seen(test, 3))
    power = float(test[0][:, 0].var())
    assert shares["gains of z_0"] == pytest.approx([power / (power + 1)], abs=0.03)
    assert shares["filters of z_0"][0] > shares["gains of z_0"][0] + 0.1, "these images are smooth, the noise is not"


@pytest.mark.slow
def test_what_no_input_holds_is_explained_by_nothing_and_what_is_not_linear_by_training():
    shares = found(lambda x_0, x_2, unknown: x_0.abs() + unknown, num_steps=150, num_fields=400)
    linear, trained = shares["filters of z_0"][0], shares["trained on z_0"][0]
    variance = 1 - 2 / torch.pi  # of |x_0|, beside 1 of what is unknown; both but for the interpolation
    assert linear < 0.1 and 0.15 < trained < variance / (variance + 1) + 0.1


def test_a_series_without_a_level_between_is_refused():
    flat = (series(2, 0, lambda x_0, x_2, unknown: x_0)[0][:, :2],)
    with pytest.raises(ValueError, match="T >= 2"):
        explained_by_level(flat, flat, CHANNELS, Training())
