"""The two domains of the loop: what R and G need there, and that domain is all that they differ in."""

import pytest
import torch

from dehazing.data.dataset import read_dataset, with_scale
from dehazing.models.degrader import Operator, num_parameters, width_for
from dehazing.models.hvae import HVAE
from dehazing.models.restorer import LatentUNet
from dehazing.pipeline import manifest
from dehazing.stages import degrader, hvae, restorer, weights
from dehazing.stages.loop_domain import NEEDS, LoopDomain
from dehazing.stages.space import DOMAINS, PIXEL_CHANNELS, Space
from dehazing.strict import from_mapping
from studies.reading import FOLDER, read_studies
from studies.scale import read_scale, scale_names

SCALES = scale_names()
SOURCE_T = 7  # of the source's series, beside that of the shipped data set


def configs(scale):
    """The settings of HVAE, R and G as a scale has them, before anything is searched."""
    studies = read_studies(["degrader"], scale)
    stages = (hvae, restorer, degrader)
    return [
        from_mapping(stage.Config, studies[name].config, name)
        for name, stage in zip(("hvae", "restorer", "degrader"), stages, strict=True)
    ]


def levels(scale):
    of_scale = read_scale(scale).dataset.get("simulated", {})
    dataset = with_scale(read_dataset(FOLDER / "datasets" / "lines.yaml"), of_scale)
    return len(dataset.pinholes_au) - 1


def sizes(scale, domain, T, shared, anchored):
    """Parameters of R and of G, each with all its steps."""
    of_hvae, of_R, of_G = configs(scale)
    channels = PIXEL_CHANNELS if domain == "pixels" else of_hvae.latent_channels
    R = num_parameters(LatentUNet(channels, of_R.width, T))
    assert of_G.width == 0, "as large as R"
    return R, num_parameters(Operator(channels, width_for(R, channels, T, shared, anchored), T, shared, anchored))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("domain", DOMAINS)
def test_G_is_as_large_as_R_at_every_scale(scale, domain):
    ways = [(levels(scale), False, False), (levels(scale), True, False), (levels(scale), False, True)]
    for T, shared, anchored in [*ways, *([(SOURCE_T, False, False)] if scale != "smoke" else [])]:
        R, G = sizes(scale, domain, T, shared, anchored)
        assert abs(G / R - 1) <= (0.1 if domain == "pixels" else 0.125), f"{T=} {shared=} {anchored=}: {R} and {G}"


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_learned_in_pixels_is_as_large_as_what_is_learned_in_latents(scale):
    of_R, of_G = zip(*(sizes(scale, domain, levels(scale), False, False) for domain in DOMAINS), strict=True)
    assert abs(of_R[0] / of_R[1] - 1) <= 0.2 and abs(of_G[0] / of_G[1] - 1) <= 0.35, (of_R, of_G)


def test_the_width_is_the_nearest_by_number_of_parameters_or_a_fast_one_that_is_near():
    counted = {width: num_parameters(Operator((2, 3), width, 3, False, True)) for width in range(1, 30)}
    for num in (1, 5000, 20000, 50000, 77777, counted[15], counted[17], counted[23], counted[25]):
        fast = min((8, 16, 24), key=lambda width: abs(counted[width] - num))
        is_near = abs(counted[fast] - num) <= num / 8
        nearest = min(counted, key=lambda width: abs(counted[width] - num))
        assert width_for(num, (2, 3), 3, False, True) == (fast if is_near else nearest), num
    assert width_for(counted[17], (2, 3), 3, False, True) == 16 and width_for(counted[19], (2, 3), 3, False, True) == 19


def test_in_pixels_no_network_but_R_is_needed():
    assert restorer.needs(restorer.Config(domain="pixels")) == ()
    assert degrader.needs(degrader.Config(domain="pixels")) == NEEDS["pixels"] == ("restorer_pixels",)
    pixels = Space("pixels", {}, "cpu")
    x = torch.randn(2, 1, 21, 30)
    assert [tuple(group.shape) for group in pixels.E(x)] == [(2, 1, 24, 32)]
    assert torch.equal(pixels.Dec(pixels.E(x))[..., :21, :30], x)


def test_an_R_of_another_space_is_refused(tmp_path):
    for name, network, architecture in (
        ("hvae", HVAE((2, 2, 2), 4), {"latent_channels": [2, 2, 2], "width": 4}),
        ("restorer", LatentUNet((1, 0, 0, 0), 4, 2), {"channels": [1, 0, 0, 0], "width": 4, "T": 2}),
    ):
        (tmp_path / name).mkdir()
        for file, content in weights.pack(network, architecture).items():
            (tmp_path / name / file).write_bytes(content)
        (tmp_path / name / "config.json").write_text('{"upstreams": {}}')
        (tmp_path / name / manifest.NAME).write_bytes(manifest.content_of(f"{name}/0", {}))
    folders = {"hvae": tmp_path / "hvae", "restorer": tmp_path / "restorer", "restorer_pixels": tmp_path / "restorer"}
    with pytest.raises(ValueError, match=r"R must have been trained in these latents, with groups of \(2, 2, 2\)"):
        LoopDomain("latents", folders, "cpu")
    domain = LoopDomain("pixels", folders, "cpu")
    x = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(domain.R(domain.E(x), 2)[0], x)  # a new R is the identity
    assert domain.encoder == () and domain.folders == (tmp_path / "restorer",)
