"""A dataset's YAML is read strictly, identified by its content, and made into a series."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from dehazing.data.dataset import digest, make_series, read_dataset, with_scale
from dehazing.data.pinhole_series import PinholeSeriesConfig
from dehazing.data.simulator import NumFields, SimulatedConfig
from dehazing.data.synthetic import SyntheticConfig

DATASETS = Path(__file__).resolve().parents[1] / "studies" / "datasets"


def written(tmp_path, text, name="d.yaml"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_the_kind_alone_is_a_complete_simulated_dataset(tmp_path):
    assert read_dataset(written(tmp_path, "kind: simulated\n")) == SimulatedConfig()


def test_the_shipped_yaml_states_the_defaults():
    assert read_dataset(DATASETS / "lines.yaml") == SimulatedConfig()
    assert SimulatedConfig().num_fields == NumFields(60, 8, 16)


def test_the_template_is_a_pinhole_series_relative_to_itself():
    config = read_dataset(DATASETS / "own_series.yaml")
    assert isinstance(config, PinholeSeriesConfig)
    assert config.path == str(DATASETS / "data" / "*.tif")
    assert config.pinholes[-1] == float("inf")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kind: simulated\npinholse_au: [1, 2]", "unknown key `pinholse_au`; the nearest valid key is `pinholes_au`"),
        ("kind: simulated\noptics: {numerical_apertur: 1}", "nearest valid key is `numerical_aperture`"),
        ("kind: simulatd", "nearest: simulated"),
        ("pinholes_au: [1, 2]", "`kind` must be one of"),
        ("kind: pinhole_series", "`path` is required"),
        ("kind: pinhole_series\npath: a.tif\npinhole_unit: airy", "must be one of au, um, px"),
        ("kind: pinhole_series\npath: a.tif\nsplit: {train: 1, validation: 1, test: 1}", "sum to 1"),
        ("kind: pinhole_series\npath: a.tif\ntile_px: 70", "multiple of 16"),
        ("kind: synthetic", "`source` is required"),
        ("- 1", "must be a mapping"),
        ("", "must be a mapping"),
        ("kind: [", "not valid YAML"),
        ("kind: [a]", "`kind` must be one of"),
        ("kind: {a: 1}", "`kind` must be one of"),
        ("kind: pinhole_series\npath: a.tif\npixel_size_um: .inf", "`0 < pixel_size_um < inf` must hold"),
        ("kind: simulated\ncamera: {photons: .inf}", "photons"),
        ("kind: synthetic\nsource: {kind: simulated}\nalpha: {kind: [a]}", "must be one of linear"),
        ("kind: synthetic\nsource: {kind: simulated}\nalpha: {kind: power, exponent: a}", "must be a number"),
        ("kind: synthetic\nsource: {kind: simulated}\nalpha: {kind: power, exponent: .nan}", "must be a number"),
        ("kind: synthetic\nsource: {kind: simulated}\nT: 1000000000000", "`T <= 1000`"),
    ],
)
def test_one_sentence_for_a_wrong_yaml(tmp_path, text, sentence):
    with pytest.raises(ValueError) as refusal:
        read_dataset(written(tmp_path, text))
    assert sentence in str(refusal.value) and "d.yaml" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_absent_yaml_is_refused(tmp_path):
    with pytest.raises(ValueError, match="absent"):
        read_dataset(tmp_path / "absent.yaml")


def test_a_scale_overrides_settings_as_strictly():
    config = with_scale(SimulatedConfig(), {"num_fields": {"train": 4}, "field_px": 64})
    assert config.num_fields == NumFields(4, 8, 16) and config.field_px == 64
    assert with_scale(SimulatedConfig(), {}) == SimulatedConfig()
    with pytest.raises(ValueError, match="nearest valid key is `num_fields`"):
        with_scale(SimulatedConfig(), {"num_field": {}})


def test_the_digest_follows_settings():
    assert digest(SimulatedConfig()) == digest(SimulatedConfig())
    assert digest(SimulatedConfig()) != digest(SimulatedConfig(seed=1))
    assert len(digest(SimulatedConfig())) == 16


def test_the_digest_follows_content_and_not_place(tmp_path):
    image = np.random.default_rng(0).integers(0, 99, (2, 300, 80)).astype(np.uint8)
    configs = []
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", image, photometric="minisblack")
        path = written(
            tmp_path / folder, "kind: pinhole_series\npath: a.tif\npinholes: [1, 2]\nguard_px: 8\nregister: false\n"
        )
        configs.append(read_dataset(path))
    assert digest(configs[0]) == digest(configs[1])
    tifffile.imwrite(tmp_path / "other" / "a.tif", image + 1, photometric="minisblack")
    assert digest(configs[0]) != digest(configs[1])
    assert make_series(configs[0]).T == 1


def test_an_absent_object_is_refused(tmp_path):
    config = read_dataset(written(tmp_path, "kind: simulated\nobject: stack.tif\n"))
    with pytest.raises(ValueError, match=r"stack.tif does not exist"):
        digest(config)
    with pytest.raises(ValueError, match=r"stack.tif does not exist"):
        make_series(config)


def test_a_folder_may_be_named_with_special_letters(tmp_path):
    image = np.random.default_rng(0).integers(0, 99, (2, 300, 80)).astype(np.uint8)
    folder = tmp_path / "cells [1] {a} *?"
    folder.mkdir()
    tifffile.imwrite(folder / "x_{1}[2].tif", image, photometric="minisblack")
    rest = "pinholes: [1, 2]\npinhole_unit: au\nguard_px: 8\nregister: false\n"
    for path in ("'*.tif'", "'x_{1}[2].tif'", "'{fov}.tif'"):
        config = read_dataset(written(folder, f"kind: pinhole_series\npath: {path}\n{rest}"))
        assert make_series(config).T == 1, path


def test_a_scales_source_may_be_by_kind(tmp_path):
    wanted = {"T": 2, "source": {"simulated": {"field_px": 64}}}
    config = read_dataset(written(tmp_path, "kind: synthetic\nsource: {kind: simulated}\n"))
    smaller = with_scale(config, wanted)
    assert isinstance(smaller, SyntheticConfig) and isinstance(smaller.source, SimulatedConfig)
    assert smaller.source.field_px == 64 and smaller.T == 2
    own = read_dataset(written(tmp_path, "kind: synthetic\nsource: {kind: pinhole_series, path: a.tif}\n"))
    unchanged = with_scale(own, wanted)
    assert isinstance(own, SyntheticConfig) and isinstance(unchanged, SyntheticConfig)
    assert unchanged.source == own.source
