"""The stage `attribution` on trained networks: its tables sum up, and agree with those of the loop itself."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.attribution import knowable_rows, read_attribution, read_knowable, shares
from analysis.attribution_figures import growth_means
from dehazing.data.archive import load_series, save_series
from dehazing.data.series import Field, Series
from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.stage import Context
from dehazing.pipeline.store import Store
from dehazing.stages import attribution, fields
from dehazing.stages.attribution import ERRORS, WHOLE, Config
from dehazing.stages.configuration import Configuration
from dehazing.stages.loop_domain import LoopDomain

T = 3
BRIEF = {"num_epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "patch_px": 32}
OPERATOR = {**BRIEF, "width": 8, "discriminator_width": 8}
STAGES = {
    "hvae": ("hvae", {**BRIEF, "latent_channels": [2, 2, 2], "width": 8}, []),
    "restorer": ("restorer", {**BRIEF, "width": 8}, ["hvae"]),
    "restorer_pixels": ("restorer", {**BRIEF, "width": 8, "domain": "pixels"}, []),
    "degrader": ("degrader", OPERATOR, ["hvae", "restorer"]),
    "anchored": ("degrader", {**OPERATOR, "anchor": "z_t"}, ["hvae", "restorer"]),
    "pixels": ("degrader", {**OPERATOR, "domain": "pixels"}, ["restorer_pixels"]),
}
LOOPS = (
    Configuration("direct"),
    Configuration("direct", degrader="anchored", name="direct_anchored"),
    Configuration("direct", degrader="pixels", domain="pixels", name="direct_pixels"),
    Configuration("combine_z", {"kind": "constant", "value": 0.5}, match="moments"),
    Configuration("bridge"),
)


def series(has_truth=True):
    rng = np.random.default_rng(0)
    splits = ["train"] * 4 + ["validation"] * 2 + ["test"] * 3
    made = []
    for i, split in enumerate(splits):
        truth = rng.random((T + 1, 40, 45), np.float32).cumsum(0)
        frames = truth + rng.normal(0, 0.1, truth.shape).astype(np.float32)
        made.append(Field(f"f{i}", split, frames, truth if has_truth else None))
    return Series(tuple(made), (1.0, 2.0, 3.0, float("inf")), "px", (1.5,) * (T + 1), (0.5,) * (T + 1))


def published(store, has_truth=True, stages=STAGES):
    """role → address, of networks that are trained on the series that the store then has."""
    aside = store.root / "aside"
    aside.mkdir(parents=True)
    save_series(series(has_truth), aside)
    store.publish("series/random", {path.name: path for path in aside.iterdir()})
    made = {}
    for name, (kind, config, roles) in stages.items():
        one = Execution(kind, config, "random", 0, {role: made[role] for role in roles})
        made[name] = one.address
        execute(one, store)
    return made


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory):
    """(series, role → published folder)."""
    store = Store(tmp_path_factory.mktemp("results"))
    made = published(store)
    return load_series(store.folder("series/random")), {name: store.folder(address) for name, address in made.items()}


def tables(upstreams, config, seed=3):
    """attribution, growth, what is knowable, final metrics."""
    fields.forget()
    one_series, folders = upstreams
    stage = attribution.Stage(config, Context(one_series, folders, seed, "cpu"))
    stage.train_epoch()
    files = stage.finish()
    frames = (pd.read_parquet(io.BytesIO(files[f"{name}.parquet"])) for name in ("attribution", "growth"))
    return (*frames, json.loads(files["knowable.json"]), stage.final)


@pytest.fixture(scope="module")
def measured(upstreams):
    return tables(upstreams, Config(LOOPS))


def of(table, variant, what, module="", level=WHOLE):
    rows = table[(table["variant"] == variant) & (table["what"] == what)]
    return rows[(rows["module"] == module) & (rows["level"] == level)].set_index("field")[list(ERRORS)]


@pytest.mark.slow
def test_shares_sum_to_the_error_of_every_field_and_band(measured):
    table, _, _, final = measured
    for loop in LOOPS:
        whole = of(table, loop.label, "loop") - of(table, loop.label, "rest")
        rows = table[(table["variant"] == loop.label) & (table["what"] == "share")]
        for part in (rows[rows["level"] == WHOLE], rows[rows["level"] != WHOLE]):
            summed = part.groupby("field")[list(ERRORS)].sum()
            scale = of(table, loop.label, "loop")["error"].max()
            np.testing.assert_allclose(summed, whole, atol=1e-5 * scale)
        assert len(whole) == 3
    assert of(table, "direct", "rest")["error"].max() < 1e-8 < of(table, "bridge", "rest")["error"].min()
    assert final["test/error_above_ceiling"] == pytest.approx(of(table, "direct", "loop")["error"].mean())
    assert sum(final[f"test/share_{module}"] for module in "ERG") == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_what_is_substituted_is_what_the_loop_would_see(measured, upstreams):
    """The loop by hand, with an oracle for G of the kind `truth`: R on the true latent of level 1."""
    table, growth, _, _ = measured
    one_series, folders = upstreams
    kept = fields.fields_of(one_series, "test", "cpu")
    domain = LoopDomain("latents", folders, "cpu")
    with torch.no_grad():
        true = domain.encode(torch.from_numpy(one_series.truth("test")))
        z_0, z_1 = (tuple(group[:, t] for group in true) for t in (0, 1))
        ceiling = kept.images(domain, z_0)
        error = (kept.images(domain, domain.R(z_1, 1)) - ceiling).square().mean((1, 2))
        missed = (ceiling - kept.reference).square().mean((1, 2))
    assert of(table, "direct", "repaired", "G")["error"].tolist() == pytest.approx(error.tolist(), rel=1e-4)
    assert of(table, "direct", "repaired", "E+G")["error"].tolist() == pytest.approx(error.tolist(), rel=1e-4)
    assert of(table, "direct", "repaired", "R")["error"].max() == 0
    assert of(table, "direct", "ceiling")["error"].tolist() == pytest.approx(missed.tolist(), rel=1e-4)
    forced = growth[(growth["variant"] == "direct") & (growth["level"] == 1)]
    assert forced["forced"].tolist() == pytest.approx(error.tolist(), rel=1e-4)
    ends = growth[growth["level"] == 1].set_index(["variant", "field"])["free"]
    for loop in LOOPS:
        assert ends[loop.label].tolist() == pytest.approx(of(table, loop.label, "loop")["error"].tolist(), rel=1e-5)


@pytest.mark.slow
def test_growth_is_measured_where_there_is_something_to_measure(measured):
    _, growth, _, _ = measured
    assert len(growth) == len(LOOPS) * 3 * T
    in_latents = growth[growth["variant"] == "direct"]
    always = ["free", "forced", "gain_R_random", "gain_R_error", "manifold_free", "manifold_true", "drift_free"]
    assert (in_latents[always] > 0).all(axis=None), "the noise of x_T is an error at once"
    assert (in_latents["gain_step_random"].notna() == (in_latents["level"] > 1)).all()
    assert growth[growth["variant"] == "bridge"]["gain_step_random"].isna().all()
    assert (growth[growth["variant"] == "direct_pixels"]["manifold_true"] == 0).all(), "P is no projection there"


@pytest.mark.slow
def test_what_is_knowable_is_told_of_images_and_latents(measured):
    _, _, knowable, _ = measured
    assert set(knowable) == {"pixels", "latents"}
    for known in knowable.values():
        assert {f"filters of {seen}" for seen in ("z_0", "z_0 and z_t", "z_0 and z_T")} <= set(known)
        assert all(len(values) == T - 1 for values in known.values())
        # at s = T - 1 the level above is T
        assert known["gains of z_0 and z_t"][-1] == pytest.approx(known["gains of z_0 and z_T"][-1])
        assert not [name for name in known if name.startswith("trained")]


@pytest.mark.slow
def test_neither_the_chunks_of_fields_nor_other_loops_change_anything_but_rounding(measured, upstreams, monkeypatch):
    monkeypatch.setattr(attribution, "PIXELS_ON_CPU", 1)
    table, growth, _, _ = tables(upstreams, Config(LOOPS[:1]))
    keys = ["what", "module", "level", "field"]
    for alone, together, index in ((table, measured[0], keys), (growth, measured[1], ["level", "field"])):
        together = together[together["variant"] == "direct"].set_index(index).sort_index().drop(columns="variant")
        alone = alone.set_index(index).sort_index().drop(columns="variant")
        pd.testing.assert_frame_equal(alone, together[alone.columns], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_without_noise_free_images_the_encoder_has_no_share(upstreams):
    one_series, folders = upstreams
    real = replace(one_series, fields=tuple(replace(field, truth=None) for field in one_series.fields))
    table, growth, knowable, final = tables((real, folders), Config(LOOPS[:1]))
    assert final["test/share_E"] == 0 and (of(table, "direct", "share", "E", T) == 0).all(axis=None)
    at_T = growth[growth["level"] == T]
    assert (at_T["drift_free"] == 0).all() and at_T["gain_R_error"].isna().all()
    assert set(knowable) == {"pixels", "latents"}


@pytest.mark.slow
def test_an_execution_publishes_its_tables_and_is_known_by_what_it_builds_on(tmp_path):
    store = Store(tmp_path)
    made = published(store, stages={name: STAGES[name] for name in ("hvae", "restorer", "degrader")})
    one = Execution("attribution", {}, "random", 1, made)
    assert execute(one, store) == one.fingerprint and one.address.startswith("attribution/")
    assert {path.name for path in store.folder(one.address).iterdir()} >= {"attribution.parquet", "growth.parquet"}
    confirmation = {"stages": {"attribution": {"1": one.address}}}
    read = read_attribution(tmp_path, confirmation)
    of_modules = shares(read).set_index(["module", "level", "part"])["share"].xs((WHOLE, "error"), level=(1, 2))
    assert [*of_modules.index] == ["E", "R", "G"] and of_modules.sum() == pytest.approx(1, abs=1e-4)
    assert set(growth_means(read_attribution(tmp_path, confirmation, "growth"))["level"]) == {1, 2, 3}
    assert knowable_rows(read_knowable(tmp_path, confirmation))[0][:2] == ("pixels", "x₀ alone")
    with pytest.raises(ValueError, match=r"must build on \['degrader', 'hvae', 'restorer'\]"):
        Execution("attribution", {}, "random", 1, {"hvae": made["hvae"]})


def test_what_cannot_be_attributed_is_refused():
    with pytest.raises(ValueError, match=r"must not refine.* but got 'refine_G'"):
        Config((Configuration("refine_G"),))
    with pytest.raises(ValueError, match="must have a name of its own"):
        Config((Configuration(), Configuration()))
    with pytest.raises(ValueError, match=r"A loop must begin at T .*, but 'direct_from_2' may not"):
        Config((Configuration(start=2),))
    with pytest.raises(ValueError, match="`perturbation > 0`"):
        Config(perturbation=0.0)
    assert attribution.needs(Config(LOOPS[2:3])) == ("hvae", "restorer_pixels", "pixels")
