"""Settings that no stage takes, images of any size in both domains, anchors at the level that G was trained with."""

import numpy as np
import pytest
import torch

from dehazing import inference
from dehazing.data.archive import save_series
from dehazing.data.series import Field, Series
from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from dehazing.stages import degrader, stage_module
from dehazing.strict import from_mapping


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        ("unet", "base", 0),
        ("unet", "lr", -1.0),
        ("unet", "clean_target", "trtuh"),
        ("unet", "share_at_T", 7.0),
        ("nafnet", "num_middle", 0),
        ("nafnet", "window", 4),
        ("nafnet", "window", -1),
        ("nafnet", "steps_per_epoch", 0),
        ("hdn", "num_samples", 0),
        ("hdn", "latent_channels", ()),
        ("hvae", "beta", -1.0),
        ("hvae", "latent_channels", (4, 4)),
        ("hvae", "kl_ramp", 1.5),
        ("hvae", "log_var_range", (4.0, -8.0)),
        ("hvae", "clip_norm", 0.0),
        ("hdn", "skip_norm", -1.0),
        ("hdn", "log_var_range", (float("-inf"), 0.0)),
        ("restorer", "steps_per_epoch", 0),
        ("degrader", "lambda_cyc", -1.0),
        ("degrader", "anchor", "z_0"),
        ("degrader", "latent_noise", -0.1),
        ("degrader", "domain", "latent"),
        ("iterative", "split", "tset"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_its_name(kind, setting, value):
    with pytest.raises(ValueError, match=f"`.*{setting}.*`"):
        stage_module(kind).Config(**{setting: value})


@pytest.mark.parametrize("kind", ["restorer", "degrader"])
def test_a_patch_that_the_pixel_network_cannot_halve_is_refused(kind):
    with pytest.raises(ValueError, match="multiple of 8, but got 20"):
        stage_module(kind).Config(domain="pixels", patch_px=20)


def test_configurations_need_names_of_their_own():
    iterative = stage_module("iterative")
    with pytest.raises(ValueError, match="stand twice"):
        iterative.Config(configurations=(iterative.Configuration(), iterative.Configuration()))


@pytest.mark.parametrize("variant", ["direct", "residual", "refine_G"])
def test_what_G_is_anchored_on_is_one_level_above_its_target(variant):
    """As in training: G to level s sees z_{s+1}, and G to level T sees z_T."""
    T = 4

    def at(t):  # a latent that carries its level
        return (torch.full((1, 1, 1, 1), float(t)),)

    def G(z0_hat, s, z_t):
        assert int(z_t[0]) == min(s + 1, T), f"{s=}"
        return at(s)

    networks = inference.Networks(R=lambda z, t: at(0), G=G, P=lambda z: z)
    settings = inference.Settings(T, combine_alpha=[1.0] * (T + 1), num_refinements=2, haze_alpha=[0.0] * (T + 1))
    if variant == "residual":  # z_t - G(·, t) + G(·, t-1) = t-1 where G is exact
        assert [int(z[0]) for z in inference.residual(at(T), networks, settings).z] == [4, 3, 2, 1]
    else:
        inference.VARIANTS[variant](at(T), networks, settings)


def test_noise_follows_the_generator_that_is_part_of_the_state():
    X = (torch.zeros(4, 2, 32, 32), torch.zeros(4, 3, 16, 16))
    once, again = (degrader.noisy(X, 0.1, torch.Generator().manual_seed(0)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert all(float(group.std()) == pytest.approx(0.1, rel=0.05) for group in once)
    untouched = torch.Generator().manual_seed(0)
    assert degrader.noisy(X, 0.0, untouched) is X
    assert torch.equal(torch.rand(1, generator=untouched), torch.rand(1, generator=torch.Generator().manual_seed(0)))


BRIEF = {"num_epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "patch_px": 32}


@pytest.mark.slow
def test_frames_of_odd_size_without_truth_go_through_every_stage(tmp_path):
    rng = np.random.default_rng(0)
    splits = ("train", "train", "validation", "test")
    fields = tuple(Field(f"f{i}", s, rng.random((3, 50, 45), np.float32) + 1) for i, s in enumerate(splits))
    series = Series(fields, (1.0, 2.0, float("inf")), "px", (1.5,) * 3, (0.3,) * 3)
    save_series(series, tmp_path / "aside")
    store = Store(tmp_path / "results")
    store.publish("series/odd", {path.name: path for path in (tmp_path / "aside").iterdir()})
    configs = {
        "unet": {**BRIEF, "base": 4, "depth": 2},
        "nafnet": {**BRIEF, "width": 4, "depth": 2},
        "hdn": {**BRIEF, "width": 8, "num_samples": 2},
        "hvae": {**BRIEF, "width": 8},
        "restorer": {**BRIEF, "width": 8},
        "restorer_pixels": {**BRIEF, "width": 8, "domain": "pixels"},
        "degrader": {**BRIEF, "width": 8, "discriminator_width": 8, "latent_noise": 0.1},
        "pixels": {**BRIEF, "width": 8, "discriminator_width": 8, "domain": "pixels"},
        "iterative": {
            "configurations": [
                {"variant": "refine_both"},
                {"variant": "direct", "degrader": "pixels", "domain": "pixels", "name": "in pixels"},
            ],
            "split": "test",
            "full": True,
        },
    }
    made = {}
    for name, config in configs.items():
        kind = {"pixels": "degrader", "restorer_pixels": "restorer"}.get(name, name)
        module = stage_module(kind)
        roles = module.needs(from_mapping(module.Config, config, name))
        run = Execution(kind, config, "odd", 0, {role: made[role] for role in roles})
        execute(run, store)
        made[name] = run.address
    assert (store.folder(made["iterative"]) / "evaluation.parquet").is_file()
