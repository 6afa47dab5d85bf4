"""Eq. 2 on the clean images of another dataset."""

from dataclasses import replace

import numpy as np
import pytest

from dehazing.data.dataset import digest, make_series, read_dataset, with_scale
from dehazing.data.simulator import NumFields, SimulatedConfig
from dehazing.data.synthetic import SyntheticConfig

SOURCE = SimulatedConfig(num_fields=NumFields(3, 1, 1), field_px=64, depth_um=2.0)


def test_haze_endpoint_is_the_mixture_of_eq_2():
    source = make_series(SOURCE)
    series = make_series(SyntheticConfig(source=SOURCE, T=4))
    assert series.pinholes == (0.0, 0.25, 0.5, 0.75, 1.0)
    x = source.x("test")[0]
    for frame, truth, alpha in zip(series.fields[-1].frames, series.fields[-1].truth, series.pinholes, strict=True):
        np.testing.assert_allclose(frame, (1 - alpha) * x[0] + alpha * x[-1], atol=1e-5)
        clean = source.truth("test")[0]
        np.testing.assert_allclose(truth, (1 - alpha) * clean[0] + alpha * clean[-1], atol=1e-5)


def test_noise_endpoint_is_unit_noise_and_seeded():
    config = SyntheticConfig(source=SOURCE, endpoint="noise")
    one, other = make_series(config), make_series(config)
    np.testing.assert_array_equal(one.fields[0].frames, other.fields[0].frames)
    assert one.fields[0].frames[-1].std() == pytest.approx(1, abs=0.05)
    assert np.abs(one.fields[0].truth[-1]).max() == 0
    fresh = make_series(replace(config, seed=1))
    assert not np.array_equal(one.fields[0].frames, fresh.fields[0].frames)


def test_the_schedule_decides_the_levels():
    config = SyntheticConfig(source=SOURCE, T=2, alpha={"kind": "power", "exponent": 2.0}, alpha_max=0.8)
    np.testing.assert_allclose(config.haze_alpha(), (0.0, 0.2, 0.8))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"alpha": {"kind": "lineer"}}, "kind"),
        ({"alpha": {"kind": "constant"}}, "must rise from 0"),
        ({"alpha": {}}, "must name its `kind`"),
        ({"alpha_max": 0.0}, "alpha_max"),
        ({"T": 0}, "T >= 1"),
    ],
)
def test_impossible_settings_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        SyntheticConfig(source=SOURCE, **settings)


def test_its_source_is_a_yaml_or_a_mapping(tmp_path):
    (tmp_path / "source.yaml").write_text("kind: simulated\nfield_px: 64\n")
    (tmp_path / "a.yaml").write_text("kind: synthetic\nsource: source.yaml\n")
    (tmp_path / "b.yaml").write_text("kind: synthetic\nsource: {kind: simulated, field_px: 64}\n")
    one, other = read_dataset(tmp_path / "a.yaml"), read_dataset(tmp_path / "b.yaml")
    assert one == other and digest(one) == digest(other)
    assert digest(one) != digest(replace(one, T=3))
    smaller = with_scale(one, {"T": 2, "source": {"num_fields": {"train": 2}}})
    assert smaller.T == 2 and smaller.source.num_fields.train == 2 and smaller.source.field_px == 64
