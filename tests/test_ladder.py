"""What HVAE and HDN share: the same settings but for what is said here, and the same bounds."""

import pytest

from dehazing.stages import hdn, hvae
from dehazing.stages.compute import Compute
from dehazing.strict import to_mapping

SHARED = {
    "latent_channels": [4, 4, 8, 8],
    "width": 16,
    "lr": 2e-3,
    "weight_decay": 1e-4,
    "ema_decay": 0.99,
    "free_nats": 0.0,
    "kl_ramp": 0.0,
    "log_var_range": [-8.0, 4.0],
    "clip_norm": 1.0,
    "skip_norm": 0.0,
    "patch_px": 64,
    "batch_size": 8,
    "steps_per_epoch": 20,
    "fresh_every": 0,
    "compute": to_mapping(Compute()),
}


def test_each_has_its_own_defaults_beside_the_shared_ones():
    assert to_mapping(hvae.Config()) == {**SHARED, "beta": 0.01, "num_epochs": 12}
    own = {"beta": 0.02, "num_epochs": 18, "num_samples": 8, "share_at_T": 0.25, "clean_target": "frame"}
    assert to_mapping(hdn.Config()) == {**SHARED, **own}


@pytest.mark.parametrize("module", [hvae, hdn])
@pytest.mark.parametrize("setting", ["width", "lr", "clip_norm", "patch_px", "num_epochs", "steps_per_epoch"])
def test_what_must_be_positive_is_refused_at_0_by_both(module, setting):
    with pytest.raises(ValueError, match=f"`{setting} > 0` must hold, but got 0"):
        module.Config(**{setting: 0})


def test_an_hvae_needs_three_groups_and_hdn_one():
    assert hdn.Config(latent_channels=(4,)).latent_channels == (4,)
    with pytest.raises(ValueError, match=r"at least 3 groups of at least one channel each, but got \(4, 4\)"):
        hvae.Config(latent_channels=(4, 4))
    with pytest.raises(ValueError, match=r"at least 1 groups .* but got \(4, 0\)"):
        hdn.Config(latent_channels=(4, 0))


def test_what_hdn_has_alone_is_bounded_too():
    for setting, value in (("num_samples", 0), ("share_at_T", 1.5), ("clean_target", "clean")):
        with pytest.raises(ValueError, match=setting):
            hdn.Config(**{setting: value})
