"""Latents of another HVAE are refused before any work, although their channels agree."""

import json

import pytest
import tiny_series

from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from dehazing.stages import fields, weights
from dehazing.stages.lineage import require_latents_of
from dehazing.stages.loop_domain import LoopDomain

BRIEF = {"num_epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "patch_px": 32}
LADDER = {**BRIEF, "latent_channels": [2, 2, 2], "width": 8}
OPERATOR = {**BRIEF, "width": 8, "discriminator_width": 8}


def published(store, address, **upstreams):
    store.publish(address, {"config.json": json.dumps({"upstreams": upstreams}).encode()})
    return store.folder(address)


@pytest.fixture
def folders(tmp_path):
    """Two HVAEs, and what was trained on the first."""
    store = Store(tmp_path)
    return {
        "hvae": published(store, "hvae/aaaa"),
        "other": published(store, "hvae/bbbb"),
        "restorer": published(store, "restorer/1111", hvae="hvae/aaaa"),
        "degrader": published(store, "degrader/2222", hvae="hvae/aaaa", restorer="restorer/1111"),
        "pixels": published(store, "degrader/3333", unet="unet/4444"),
    }


def test_the_fingerprints_must_agree(folders):
    trained = {role: folders[role] for role in ("restorer", "degrader", "pixels")}
    require_latents_of(folders["hvae"], trained)
    require_latents_of(folders["other"], {"pixels": folders["pixels"]})
    sentence = r"^The {} must .* hvae/bbbb, but {} was trained on those of hvae/aaaa\.$"
    for role, name in (("restorer", "1111"), ("degrader", "2222")):
        with pytest.raises(ValueError, match=sentence.format(role, name)):
            require_latents_of(folders["other"], {role: folders[role]})


def test_what_is_not_published_is_no_hvae(folders, tmp_path):
    with pytest.raises(ValueError, match="must be a published HVAE, but has no complete manifest"):
        require_latents_of(tmp_path, {})
    (folders["hvae"] / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="must be a published HVAE"):
        require_latents_of(folders["hvae"], {})


def test_a_domain_is_refused_before_a_network_is_loaded(folders):
    upstreams = {"hvae": folders["other"], "restorer": folders["restorer"]}
    with pytest.raises(ValueError, match="The restorer must have been trained on the latents of the HVAE"):
        LoopDomain("latents", upstreams, "cpu", load=lambda *_: pytest.fail("loaded"))


@pytest.mark.slow
def test_stages_on_two_hvaes_fail_with_the_sentence_which_is_remembered(tmp_path, monkeypatch):
    store, made = tiny_series.publish(tmp_path), {}

    def run(name, kind, config, *roles, seed=0, **other):
        upstreams = {role: made[role] for role in roles} | {role: made[name] for role, name in other.items()}
        execution = Execution(kind, config, tiny_series.NAME, seed, upstreams)
        execute(execution, store)
        made[name] = execution.address

    run("hvae", "hvae", LADDER)
    run("other", "hvae", LADDER, seed=1)
    run("restorer", "restorer", {**BRIEF, "width": 8}, "hvae")
    run("others", "restorer", {**BRIEF, "width": 8}, hvae="other")
    run("degrader", "degrader", OPERATOR, "hvae", "restorer")
    run("unet", "unet", {**BRIEF, "base": 4, "depth": 2})
    run("nafnet", "nafnet", {**BRIEF, "width": 4, "depth": 2})
    run("hdn", "hdn", {**LADDER, "num_samples": 2})
    monkeypatch.setattr(LoopDomain, "encode", lambda *_: pytest.fail("encoded"))
    monkeypatch.setattr(weights, "load", lambda *_: pytest.fail("loaded"))
    fields.forget()
    wrong = {
        "The restorer must": ("degrader", OPERATOR, {"hvae": "other", "restorer": "restorer"}),
        "The degrader must": ("iterative", {}, {"hvae": "other", "restorer": "others"}),
    }
    for sentence, (kind, config, roles) in wrong.items():
        if kind == "iterative":
            roles = {**roles, "unet": "unet", "nafnet": "nafnet", "hdn": "hdn", "degrader": "degrader"}
        with pytest.raises(ValueError, match=f"{sentence} have been trained on the latents of the HVAE"):
            run("wrong", kind, config, **roles)
        execution = Execution(kind, config, tiny_series.NAME, 0, {role: made[name] for role, name in roles.items()})
        assert sentence in str(store.failure(execution.address)) and not store.has(execution.address)
